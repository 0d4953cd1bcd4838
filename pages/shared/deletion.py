"""Deleting a sweep: a button for editors, and the question whether it is meant."""

from __future__ import annotations

import streamlit as st

from engine.errors import InputError
from engine.store.rows import SweepRow
from engine.trials.text import duration
from pages.shared import access, runner, shell

_REFUSED = "delete refused"


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


def _delete(sweep_id: str) -> None:
    try:
        runner.delete(sweep_id)
    except InputError as error:
        st.session_state[_REFUSED] = str(error)
        return
    # The page may follow the sweep by its name, or by the start of its id.
    st.query_params.pop("run", None)


@st.dialog("Delete this sweep?")
def _ask(row: SweepRow) -> None:
    # A dialog runs without its page, so it looks at access by itself.
    if not access.may("editor"):
        st.rerun()
    st.markdown(
        f"**{shell.plain(row.name)}** with its {row.trials} measured recipes, the work of {duration(row.elapsed_s)}, goes from "
        "every list, for everybody."
    )
    st.caption(
        "Finished files stay on the disk, since other sweeps may share them: running the same spec again finds them and takes seconds."
    )
    with st.container(horizontal=True):
        if st.session_state.get(_REFUSED):
            st.error(st.session_state.pop(_REFUSED), icon=":material/error:")
        elif st.button(
            "Delete it",
            type="primary",
            icon=":material/delete:",
            key="delete for good",
            on_click=_delete,
            args=(row.id,),
        ):
            st.rerun()
        if st.button("Keep it", key="delete not"):
            st.rerun()
