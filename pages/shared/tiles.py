"""A number as a tile with its change below: a minus sign, an arrow, and a colour that says whether the change is good."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from engine.trials.text import is_nothing, with_minus, without_idle_sign


def tile(
    label: str,
    value: str,
    change: str | None,
    *,
    higher_is_better: bool,
    is_tied: bool = False,
    help: str | None = None,
    width: int = 158,
) -> None:
    """Draw it; `change` is a text that begins with its sign. What is tied is grey: it may be chance."""
    value = with_minus(value)
    if change is None:
        st.metric(label, value, help=help, border=True, width=width)
        return
    falls = change.startswith("-")
    colour: Literal["gray", "green", "red"] = "red" if falls == higher_is_better else "green"
    arrow: Literal["off", "down", "up"] = "down" if falls else "up"
    # What rounds to nothing is not said to be nothing: a file may be a third of a per cent smaller.
    if is_nothing(change):
        arrow = "off"
    # Streamlit knows a hyphen alone for a minus, so arrow and colour are said.
    st.metric(
        label,
        value,
        with_minus(without_idle_sign(change)),
        delta_color="gray" if is_tied or arrow == "off" else colour,
        delta_arrow=arrow,
        help=help,
        border=True,
        width=width,
    )
