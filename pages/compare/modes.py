"""What Compare compares: recipes of one sweep, several sweeps on one chart, or two runs of the same recipes. `?mode=` in the address."""

from __future__ import annotations

import streamlit as st

from pages.shared import address

RECIPES, SWEEPS, RUNS = "recipes", "sweeps", "runs"
MODES = {RECIPES: "Recipes of a sweep", SWEEPS: "Sweeps side by side", RUNS: "What changed"}
KEY = "compare mode"
"""Of the choice, as a widget and in the styles of the page."""
_OWN = frozenset({"mode"})


def pick() -> str:
    """Draw the choice, put where the address asks when that is news, and keep it in the address."""
    params, news = address.read(KEY, _OWN)
    if news or st.session_state.get(KEY) not in MODES:
        asked = params.get("mode", RECIPES)
        st.session_state[KEY] = asked if asked in MODES else RECIPES
    st.segmented_control(
        "Compare", list(MODES), format_func=MODES.__getitem__, key=KEY, label_visibility="collapsed", required=True
    )
    chosen = str(st.session_state[KEY])
    address.write(KEY, {} if chosen == RECIPES else {"mode": chosen}, _OWN)
    return chosen
