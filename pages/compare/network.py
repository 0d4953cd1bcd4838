"""The networks of two recipes as one graph, coloured by what became of each layer."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from engine.figures.graph_changes import difference_info
from engine.graph.graph_difference import IN_SHORT, difference_rows, summary
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import network_view, shell


def show(row: SweepRow, named: Mapping[str, Trial]) -> None:
    """A switch, and behind it the difference of two of these recipes' networks."""
    st.subheader("The networks, and their difference", anchor=False)
    if not st.toggle("Draw both as one graph", key="compare networks"):
        return
    with shell.one_line_errors():
        _difference(row, named)


def _difference(row: SweepRow, named: Mapping[str, Trial]) -> None:
    letters = list(named)
    pair = letters[:2]
    if len(letters) > 2:
        with st.container(horizontal=True):
            pair = [_pick("From", letters, 0, row), _pick("To", letters, 1, row)]
    if pair[0] == pair[1]:
        st.caption("Choose two different recipes.")
        return
    first, second = (named[letter] for letter in pair)
    found = network_view.difference_of(row, first, second)
    if found is None:
        st.caption("The file of one of them is gone; run the sweep again to read it.")
        return
    said = summary(found)
    st.markdown(f"From **{pair[0]}** to **{pair[1]}**: {shell.plain(said)}.")
    for note in dict.fromkeys((*found.first.notes, *found.second.notes)):
        st.caption(shell.plain(f"{note[:1].upper()}{note[1:]}."))
    network_view.draw("compare network", difference_info(found, said, (pair[0], pair[1])))
    network_view.table(f"{row.id}-{first.id}-{second.id}-difference", lambda: difference_rows(found), IN_SHORT)


def _pick(label: str, letters: list[str], index: int, row: SweepRow) -> str:
    key = f"compare network {label}"
    # The recipes beside each other may have changed since.
    if st.session_state.get(key) not in letters:
        st.session_state[key] = letters[index]
    chosen: str = st.selectbox(label, letters, key=key, width=120)
    return chosen
