"""What a search has come to, in two lines: how much of the frontier is found, and how far off the target is where no recipe keeps it."""

from __future__ import annotations

import streamlit as st

from engine.frontier.verdict import Verdict, missed_target
from engine.search.found import MOST, found_text, share_found
from engine.store.rows import SweepRow
from pages.shared import queries, recommended, shell


@st.cache_resource(max_entries=64, ttl=3600, show_spinner=False)
def _found(address: tuple[str, str], at: tuple[str, str, int], _row: SweepRow) -> str:
    sweep, trials = queries.spec(_row), queries.columns(_row)
    # Of more recipes nothing is said, and reading each of them whole to say nothing takes half a minute of 100,000.
    if sweep.search.method == "grid" or len(trials) > MOST:
        return ""
    found = share_found(sweep, trials)
    return "" if found is None else found_text(found, _row.recipes - int((trials.fact("state") != "pending").sum()))


@st.cache_resource(max_entries=64, ttl=3600, show_spinner=False)
def _missed(address: tuple[str, str], at: tuple[str, str, int], _row: SweepRow) -> Verdict | None:
    target = recommended.target(_row)
    if target is None or not target.limits:
        return None
    return missed_target(target, queries.columns_on(_row, target.device))


def found(row: SweepRow) -> None:
    """One line about how much of the frontier a search has found; none of a sweep that is measured whole, or in the order of its plan."""
    if text := _found(queries.address(), (row.id, row.created, row.revision), row):
        st.caption(f":material/travel_explore: {text[0].upper()}{text[1:]}.")


def missed(row: SweepRow) -> None:
    """One line about which recipe comes nearest to the sweep's target where none keeps it, and by how much each limit is missed."""
    if told := _missed(queries.address(), (row.id, row.created, row.revision), row):
        st.warning(shell.plain(told.sentence), icon=":material/block:")
