"""A page while sweeps run: what is being measured now, and charts that move as recipes are finished.

A chart that is being looked at closely is not taken from under the pointer: the page says how many recipes are new, and shows them when
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from engine.store.rows import SweepRow
from pages.shared import address, progress, shell

POLL_S = 2.0
FOLLOW = "follow new recipes"


def show(
    running: Sequence[tuple[SweepRow, int]], is_held: Callable[[], bool], held_while: str, is_alone: bool = True
) -> None:
    """Draw a line for each running sweep, of which so many recipes are drawn, and run the page again as there are more.

    While `is_held()`, which the text `held_while` describes, a button shows them instead. Nothing where nothing runs.
    `is_alone`: the page is of this sweep and need not name it.
    """
    if not running:
        return
    st.session_state.setdefault(FOLLOW, True)

    @shell.fragment(run_every=POLL_S)
    def poll() -> None:
        now = [(progress.find(row.id), shown) for row, shown in running]
        if any(row is None or row.state != "running" for row, _ in now):
            address.rerun()
        new = sum(max(0, row.trials - shown) for row, shown in now if row is not None)
        if new and st.session_state.get(FOLLOW, True) and not is_held():
            address.rerun()
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info("  \n".join(_said(row, is_alone) for row, _ in now if row is not None))
            if new:
                name = "1 new recipe: show it" if new == 1 else f"{new:,} new recipes: show them"
                if st.button(name, icon=":material/refresh:", type="primary", key="show new recipes"):
                    address.rerun()
            st.toggle(
                "Follow",
                key=FOLLOW,
                help=f"New recipes are drawn as they are finished. While {held_while} the chart stays as it is, and a button shows "
                "what is new.",
            )
            for row, _ in running:
                st.page_link(
                    shell.pages()["new-sweep"],
                    label="Follow its progress" if is_alone else f"Progress of {shell.plain(row.name)}",
                    query_params={"run": row.id},
                )

    poll()


def _said(row: SweepRow, is_alone: bool) -> str:
    doing = progress.doing_text(row)
    what = "This sweep" if is_alone else shell.plain(row.name)
    return f"{what} is still running{f': now {doing}' if doing else '; what is measured so far is shown'}."
