"""The filter of Explore, typed in plain form, and what it leaves."""

from __future__ import annotations

import streamlit as st

from engine.frontier.filter import LONGEST
from pages.explore import brush
from pages.shared import shell
from pages.shared.narrowed import Narrowed

_BOX = "explore where"
_HELP = (
    "Metrics with their units, options of the steps, names: `accuracy > 92 and size < 50 kB`, `weight_bits <= 4`, `student = ds_cnn`, "
    "`label ~ int8`, `step = quantize`; with `and`, `or`, `not` and brackets. What does not match is left out of charts, frontier and "
    "table. A recipe that lacks what is asked for is not matched. The same line works as `paretoscope trials SWEEP --where '…'`."
)


def box() -> None:
    """Draw the box with what is asked for now."""
    now = brush.now().where
    if _BOX not in st.session_state or st.session_state[_BOX].strip() != now:
        st.session_state[_BOX] = now

    def typed() -> None:
        brush.change(where=str(st.session_state[_BOX]).strip())

    st.text_input(
        "Filter",
        key=_BOX,
        max_chars=LONGEST,
        placeholder="accuracy > 92 and size < 50 kB",
        on_change=typed,
        help=_HELP,
        icon=":material/filter_alt:",
    )


def said(only: Narrowed) -> None:
    """Say how much the filter leaves, or what is wrong with it."""
    now = brush.now().where
    if only.mistake:
        st.error(shell.plain(f"{only.mistake.rstrip('?.')}. Nothing is left out."), icon=":material/error:")
    elif now:
        lacking = f"; {only.lacking}, and are not matched" if only.lacking else ""
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            after = " after it and the brushes" if brush.now().cuts else ""
            st.caption(
                shell.plain(f"{len(only.trials):,} of {only.total:,} recipes are left{after}{lacking}."),
                width="content",
            )
            st.button(
                "Clear the filter",
                type="tertiary",
                key="explore where clear",
                on_click=brush.change,
                kwargs={"where": ""},
            )


def nothing_left(only: Narrowed) -> None:
    """Say that no recipe is left to draw, and give the way back."""
    by = [name for name, used in (("the filter", brush.now().where), ("the brushes", brush.now().cuts)) if used]
    st.info(
        f"None of the {only.total:,} measured recipes is left by {' and '.join(by)}.",
        icon=":material/filter_alt_off:",
    )
    st.button(
        "Show all", key="explore show all", on_click=brush.change, kwargs={"where": "", "cuts": (), "brush": None}
    )
