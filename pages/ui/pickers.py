"""The controls above the chart: sweep, axes, colour, device. What they show comes from the address, and goes back into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import streamlit as st

from engine.choice import View
from engine.columns import Trials
from engine.errors import NotFoundError
from engine.record import METRICS, Trial
from engine.store import SweepRow
from pages.ui import address, queries

_NONE = "none"


def _seed(name: str, value: str, options: Sequence[str], news: bool) -> None:
    """Put a picker where the address says, when that is news or the picker is new or its choice has gone."""
    if news or st.session_state.get(name) not in options:
        st.session_state[name] = value if value in options else options[0]


def sweep_box(rows: Sequence[SweepRow], key: str, width: Literal["stretch"] | int = 260) -> SweepRow:
    """The box that every page has to choose a sweep with."""
    by_id = {r.id: r for r in rows}
    chosen = st.selectbox(
        "Sweep",
        list(by_id),
        format_func=lambda i: f"{by_id[i].name}{' (example)' if by_id[i].example else ''}",
        key=key,
        width=width,
        help="A sweep is one model and one dataset, compressed by many recipes.",
    )
    return by_id[chosen]


def pick_sweep(rows: Sequence[SweepRow], wanted: SweepRow, news: bool) -> SweepRow:
    """Draw the sweep picker; the chosen sweep."""
    _seed("pick sweep", wanted.id, [r.id for r in rows], news)
    return sweep_box(rows, "pick sweep")


def _swap(changed: str, other: str) -> None:
    """An axis that was given the other's metric hands over its own."""
    if st.session_state[changed] == st.session_state[other]:
        st.session_state[other] = st.session_state[f"last {changed}"]


def devices(trials: Sequence[Trial]) -> list[str]:
    """The host, and every profile that some trial was projected onto."""
    return list(Trials.of(trials).devices)


def pick_view(view: View, trials: Trials, news: bool) -> View:
    """Draw the pickers for axes, colour and device; the chosen view, limits as they were."""
    # What no trial has is offered only where the address asks for it.
    offered = {view.x, view.y, View.x, View.y, *trials.measured(view.device)}
    names = [k for k in METRICS if k in offered]
    _seed("pick x", view.x, names, news)
    _seed("pick y", view.y, names, news)
    _seed("pick colour", view.colour or _NONE, [_NONE, *names], news)
    _seed("pick device", view.device, trials.devices, news)

    def name(key: str) -> str:
        return METRICS[key].name if key in METRICS else "standing"

    x = st.selectbox(
        "Across", names, format_func=name, key="pick x", width=170, on_change=_swap, args=("pick x", "pick y")
    )
    y = st.selectbox("Up", names, format_func=name, key="pick y", width=170, on_change=_swap, args=("pick y", "pick x"))
    colour = st.selectbox("Colour", [_NONE, *names], format_func=name, key="pick colour", width=170)
    device = st.selectbox(
        "Device",
        trials.devices,
        format_func=lambda d: "this sweep’s host" if d == "host" else d,
        key="pick device",
        width=190,
        help="Latency and energy are those of this device. On the host latency is measured; on others both are estimated.",
    )
    st.session_state["last pick x"], st.session_state["last pick y"] = x, y
    return View(x, y, None if colour == _NONE else colour, device, view.limits)


def pick_one(page: str, rows: Sequence[SweepRow]) -> tuple[SweepRow, str | None, bool]:
    """The sweep picker of a page that shows one sweep and perhaps one trial of it.

    The chosen sweep, what the address asks for as the trial, and whether the address is news. `keep_one` writes it.
    """
    asked, news = address.read(page, ONE)
    key = f"{page} sweep"
    _seed(key, _known(rows, asked.get("sweep")), [r.id for r in rows], news)
    row = sweep_box(rows, key)
    return row, asked.get("trial"), news


def _known(rows: Sequence[SweepRow], ref: str | None) -> str:
    """The id of the sweep that an address names by id or name; the newest where it names none that is here."""
    if ref is None:
        return rows[0].id
    try:
        return queries.store().sweep(ref).id
    except NotFoundError:
        st.warning(f"There is no sweep {ref!r} here; this is {rows[0].name!r}.", icon=":material/link_off:")
        return rows[0].id


def pick_trial(page: str, trials: Sequence[Trial], asked: str | None, news: bool) -> Trial | None:
    """The picker of one recipe: what the address asks for at first, or the first; None when there is nothing to pick."""
    if not trials:
        return None
    by_id, key = {t.id: t for t in trials}, f"{page} trial"
    if news and asked is not None and asked not in by_id:
        st.warning(f"This sweep has no measured trial {asked!r}.", icon=":material/link_off:")
    _seed(key, asked or "", list(by_id), news)
    chosen = st.selectbox("Recipe", list(by_id), format_func=lambda i: by_id[i].label, key=key, width=420)
    return by_id[chosen]


def keep_one(page: str, row: SweepRow, trial: Trial | None = None) -> None:
    """Make the address of such a page say what it shows."""
    address.write(page, {"sweep": row.id} | ({"trial": trial.id} if trial else {}), ONE)


ONE = frozenset({"sweep", "trial"})
