"""A number as a tile with its change below: a minus sign, an arrow, and a colour that says whether the change is good."""

from __future__ import annotations

from typing import Literal

import streamlit as st

from engine.trials.text import with_minus


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
    if change is None:
        st.metric(label, with_minus(value), help=help, border=True, width=width)
        return
    # Streamlit knows a hyphen alone for a minus, so arrow and colour are said.
    change = with_minus(change)
    told = change.strip("+\u2212")
    # What rounds to nothing is not said to be nothing: a file may be a third of a per cent smaller.
    if not told.partition(" ")[0].strip("0.,"):
        st.metric(
            label,
            with_minus(value),
            told,
            delta_color="gray",
            delta_arrow="off",
            help=help,
            border=True,
            width=width,
        )
        return
    falls = change.startswith("\u2212")
    colour: Literal["gray", "green", "red"] = "gray" if is_tied else "red" if falls == higher_is_better else "green"
    st.metric(
        label,
        with_minus(value),
        change,
        delta_color=colour,
        delta_arrow="down" if falls else "up",
        help=help,
        border=True,
        width=width,
    )
