"""Where the bytes of a recipe's file are: by type, by layer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from engine.figures.trial_bars import Bar, bars_alt, parts_figure, size_by_layer, size_types
from engine.metrics import text_of
from engine.trials.trial import Trial
from pages.shared import plots


def show(trial: Trial) -> None:
    """Draw it; nothing where it is not known."""
    types, held = size_types(trial), size_by_layer(trial)
    if not types or trial.size_bytes is None:
        return
    st.subheader("Where the bytes are", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("###### By type")
        _bars("trial types", "Bytes by type", types)
        parts = " + ".join(f"{n:,}" for n in (trial.size_parts or {}).values() if n)
        st.caption(f"{parts} = {trial.size_bytes:,} bytes: the whole file{_zipped(trial)}.")
    with right:
        st.markdown("###### By layer")
        if not held:
            st.caption("No layer of this file holds weights.")
            return
        _bars("trial size layers", "Bytes by layer", held)
        own = sum((trial.size_layers or {}).values())
        st.caption(
            f"Weights, scales and biases of the layers, {own:,} bytes, and {trial.size_bytes - own:,} that are no layer’s own "
            f"(graph, constants, scales of what flows between layers) = {trial.size_bytes:,} bytes: the whole file."
        )
        if trial.layer_bits:
            with st.expander("Bits chosen for each layer’s weights", icon=":material/layers:"):
                st.table(pd.DataFrame({"Bits": trial.layer_bits}), border="horizontal")


def _zipped(trial: Trial) -> str:
    return f"; zipped {text_of('size_zipped_bytes', trial.size_zipped_bytes)}" if trial.size_zipped_bytes else ""


def _bars(key: str, what: str, bars: Sequence[Bar]) -> None:
    plots.draw(parts_figure(bars), key=key, alt=bars_alt(what, bars))
