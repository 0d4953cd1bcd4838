"""Deleting a sweep: a button for editors, and the question whether it is meant."""

from __future__ import annotations

import streamlit as st

from engine.store import SweepRow
from engine.words import duration
from pages.ui import access, runner, shell


def button(row: SweepRow, where: str, label: str = "Delete") -> None:
    """The button that asks; nothing for who may not, for what still runs, and for the shipped example, which would come back."""
    if row.example or row.state == "running" or not access.may("editor"):
        return
    asked = st.button(
        label,
        key=f"delete {where} {row.id}",
        icon=":material/delete:",
        type="tertiary",
        help="Asks first. Its recipes and their figures go from every list.",
    )
    if asked:
        _ask(row)


@st.dialog("Delete this sweep?")
def _ask(row: SweepRow) -> None:
    # A dialog runs without its page, so it looks at access and mistakes by itself.
    if not access.may("editor"):
        st.rerun()
    st.markdown(
        f"**{shell.plain(row.name)}** with its {row.trials} measured recipes, the work of {duration(row.elapsed_s)}, goes from "
        "every list, for everybody."
    )
    st.caption(
        "Finished files stay on the disk, since other sweeps may share them: running the same spec again finds them and takes seconds."
    )
    with st.container(horizontal=True), shell.one_line_errors():
        if st.button("Delete it", type="primary", icon=":material/delete:", key="delete for good"):
            runner.delete(row.id)
            if st.query_params.get("run") == row.id:
                del st.query_params["run"]
            st.rerun()
        if st.button("Keep it", key="delete not"):
            st.rerun()
