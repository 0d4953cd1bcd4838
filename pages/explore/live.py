"""Explore while a sweep runs: what is being measured now, and points, frontier and recommendation that move as recipes are finished.

A chart that was zoomed in, or in which a recipe was selected, is not taken from under the pointer: it says how many recipes are new, and
shows them when asked, with its zoom and a ring around the selected recipe.
"""

from __future__ import annotations

import streamlit as st

from engine.store.rows import SweepRow
from pages.shared import address, progress, shell

POLL_S = 2.0
FOLLOW = "explore follow"


def show(row: SweepRow, shown: int, selected: str | None) -> None:
    """Draw the line above the chart and keep it up to date; `shown` recipes are drawn."""
    st.session_state.setdefault(FOLLOW, True)

    @shell.fragment(run_every=POLL_S)
    def poll() -> None:
        now = progress.find(row.id)
        if now is None or now.state != "running":
            address.rerun()
        new = now.trials - shown
        zoomed = bool(st.query_params.get("zoom"))
        follows = bool(st.session_state.get(FOLLOW, True))
        if new > 0 and follows and not zoomed and selected is None:
            address.rerun()
        doing = progress.doing_text(now)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(
                f"This sweep is still running{f': now {doing}' if doing else '; what is measured so far is shown'}."
            )
            if new > 0:
                name = "1 new recipe: show it" if new == 1 else f"{new:,} new recipes: show them"
                if st.button(name, icon=":material/refresh:", type="primary", key="show new recipes"):
                    address.rerun()
            st.toggle(
                "Follow",
                key=FOLLOW,
                help="New recipes are drawn as they are finished. While you are zoomed in or have a recipe selected the chart stays as it "
                "is, and a button shows what is new.",
            )
            st.page_link(shell.pages()["new-sweep"], label="Follow its progress", query_params={"run": row.id})

    poll()
