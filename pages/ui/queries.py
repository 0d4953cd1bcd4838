"""Cached reads of the store. Keys hold the store's address and the sweep's revision, so nothing stale is shown."""

from __future__ import annotations

import os

import streamlit as st

from engine.artifacts import Artifacts
from engine.certainty import Certainty, certainty
from engine.choice import View
from engine.figures import FrontierInfo, frontier_info
from engine.record import Trial
from engine.store import Store, SweepRow


def _address() -> tuple[str, str]:
    return os.environ.get("PARETOSCOPE_HOME", ""), os.environ.get("PARETOSCOPE_STORE", "")


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(address: tuple[str, str]) -> Store:
    return Store.open()


def store() -> Store:
    """The store of this home; safe to share between sessions."""
    return _store(_address())


def artifacts() -> Artifacts:
    """The artifacts of this home."""
    return Artifacts.open()


def sweeps() -> list[SweepRow]:
    """Every sweep, newest first. Not cached: one short query, and states change with time alone."""
    return store().sweeps()


# Trials are frozen, so all sessions may share one copy; `cache_data` would pickle them on every read.
@st.cache_resource(max_entries=32, ttl=3600, show_spinner=False)
def _trials(address: tuple[str, str], sweep_id: str, revision: int) -> tuple[Trial, ...]:
    return tuple(_store(address).trials(sweep_id))


def trials(row: SweepRow) -> tuple[Trial, ...]:
    """Every recipe of a sweep, in the order of the plan."""
    return _trials(_address(), row.id, row.revision)


@st.cache_resource(max_entries=64, ttl=3600, show_spinner=False)
def _certainty(
    address: tuple[str, str],
    sweep_id: str,
    revision: int,
    axes: tuple[str, str, str],
    limits: tuple[tuple[str, float], ...],
) -> Certainty:
    x, y, device = axes
    return certainty(_trials(address, sweep_id, revision), (x, y), dict(limits), device, artifacts().local)


def info(row: SweepRow, view: View) -> FrontierInfo:
    """What the frontier chart of a sweep shows, and how sure that is."""
    limits = tuple(sorted(view.limits.items()))
    sure = _certainty(_address(), row.id, row.revision, (view.x, view.y, view.device), limits)
    return frontier_info(trials(row), view, sure)
