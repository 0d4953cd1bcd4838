"""The recipes of a sweep that a filter, and what was kept and left out of a chart, leave to look at."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from engine.errors import SpecError
from engine.frontier.brush import left_by
from engine.frontier.columns import Trials
from engine.frontier.matching import match
from engine.store.rows import SweepRow
from pages.shared import queries
from pages.shared.narrowing_address import Narrowing


@dataclass(frozen=True)
class Narrowed:
    """The finished `trials` that are left; `key` says by what, empty where all are. `lacking`: how many lack what the filter asks for."""

    trials: Trials
    total: int
    key: str = ""
    lacking: str = ""
    mistake: str = ""
    """Why the filter cannot be used, in one line; it leaves nothing out then."""


# Found anew at 100,000 recipes it takes longer than the rest of a change.
@st.cache_resource(max_entries=16, ttl=3600, show_spinner=False)
def _narrowed(
    address: tuple[str, str],
    at: tuple[str, str, int],
    device: str,
    profile: str,
    key: str,
    _known: Trials,
    _by: Narrowing,
) -> Narrowed:
    # What is not in the key follows from what is.
    kept, lacking, mistake = left_by(_known, _by.cuts, device), "", ""
    if _by.where:
        try:
            found = match(_known, _by.where, device)
            kept, lacking = kept & found.rows, found.lacking_text()
        except SpecError as error:
            mistake = str(error)
    # All of them stay the very object, with the columns that were worked out already.
    return Narrowed(_known if kept.all() else _known.take(kept), len(_known), key, lacking, mistake)


def narrowed(row: SweepRow, device: str, done: Trials, by: Narrowing) -> Narrowed:
    """What is left of the finished trials of a sweep, as it is seen on a device, imported points among them."""
    if not (by.where or by.cuts):
        return Narrowed(done, len(done))
    at = (row.id, row.created, row.revision)
    return _narrowed(queries.address(), at, device, queries.profile_key(device), by.key, done, by)
