"""Sweeps side by side: two to six of them on one chart, the joint frontier, and who beats whom.

`?mode=sweeps&sweeps=ID,ID&x=METRIC&y=METRIC&device=PROFILE`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from engine.devices.profiles import profile_names
from engine.errors import SpecError
from engine.explain.several_sweeps import lot_of, named_apart, shared_metrics, usual_axes, who_beats_whom
from engine.figures.several import drawn_text, several_alt, several_figure, several_info
from engine.figures.style import all_shortened, style
from engine.frontier.several import LEAST, MOST, Lot, Several, several
from engine.metrics import METRICS, shown
from engine.store.rows import SweepRow
from pages.compare import modes
from pages.shared import address, live, pickers, plots, queries, share, shell, widths
from pages.shared.explore_address import LONGEST

PAGE = "compare sweeps"
_OWN = frozenset({"sweeps", "x", "y", "device"})
_PICKED, _X, _Y, _DEVICE = "compare sweeps picked", "compare sweeps x", "compare sweeps y", "compare sweeps device"
_CHART, _PLACE = "compare sweeps chart", "compare sweeps chart place"
LONGEST_NAME = 40
"""Of a sweep, in the sentences, the legend and the table: each says it many times."""


def parse_ids(text: str) -> list[str]:
    """The sweeps that an address names, at most six; nothing in it need exist."""
    return list(
        dict.fromkeys(i for i in text[: LONGEST * MOST].split(",") if 0 < len(i) <= LONGEST and i.isprintable())
    )[:MOST]


def show() -> None:
    """Draw the page's part."""
    rows = {r.id: r for r in queries.sweeps() if r.trials}
    params, news = address.read(PAGE, _OWN)
    if len(rows) < LEAST:
        st.info(
            "There is only one sweep with measured recipes. Run another, and both can share a chart.",
            icon=":material/info:",
        )
        return
    chosen = _pick(rows, params, news)
    if len(chosen) < LEAST:
        st.info(f"Choose at least {LEAST} sweeps above.", icon=":material/compare_arrows:")
        address.write(PAGE, {"sweeps": ",".join(r.id for r in chosen)} if chosen else {}, _OWN)
        return
    running = [(r, r.trials) for r in chosen if r.state == "running"]
    live.show(running, lambda: bool(_points()), "a mark is selected", is_alone=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        device = _device(chosen, params, news)
        lots = _lots(chosen, device)
        axes = _axes(lots, device, params, news)
    known = {"sweeps": ",".join(r.id for r in chosen)}
    if axes is not None:
        known |= {"x": axes[1], "y": axes[0]} | ({"device": device} if device != "host" else {})
        _compared(chosen, lots, axes, device)
    address.write(PAGE, known, _OWN)


def _pick(rows: dict[str, SweepRow], params: dict[str, str], news: bool) -> list[SweepRow]:
    if news or _PICKED not in st.session_state:
        asked = parse_ids(params.get("sweeps", ""))
        wanted = [i for i in asked if i in rows]
        if missing := [i for i in asked if i not in rows]:
            st.warning(
                f"There is no sweep {shell.plain(', '.join(missing))} with results here.", icon=":material/link_off:"
            )
        others = [i for i in rows if i not in wanted]
        st.session_state[_PICKED] = [*wanted, *others[: max(0, LEAST - len(wanted))]]
    st.session_state[_PICKED] = [i for i in st.session_state[_PICKED] if i in rows]
    ids = st.multiselect(
        "Sweeps",
        list(rows),
        format_func=lambda i: f"{pickers.sweep_name(rows[i])} · {rows[i].created[:10]}",
        key=_PICKED,
        max_selections=MOST,
        placeholder=f"Choose {LEAST} to {MOST}",
        help="Seeds, datasets, networks, last week and this week. What was measured on different data has no joint frontier.",
    )
    return [rows[i] for i in ids]


def _device(chosen: Sequence[SweepRow], params: dict[str, str], news: bool) -> str:
    names = list(dict.fromkeys([*(d for r in chosen for d in queries.columns(r).devices), *profile_names()]))
    if news or st.session_state.get(_DEVICE) not in names:
        asked = params.get("device", "host")
        st.session_state[_DEVICE] = asked if asked in names else "host"
    return st.selectbox(
        "Device",
        names,
        format_func=lambda d: "each sweep’s host" if d == "host" else d,
        key=_DEVICE,
        width=180,
        help="Times of unlike machines share no axis. A device profile projects the latency and energy of all of them.",
    )


def _lots(chosen: Sequence[SweepRow], device: str) -> list[Lot]:
    find = queries.artifacts().local
    lots = named_apart([lot_of(r.name, queries.columns_on(r, device), queries.spec(r), find) for r in chosen])
    names = all_shortened([lot.name for lot in lots], LONGEST_NAME)
    # Two that differ where they are cut keep their whole names.
    return [replace(lot, name=n) for lot, n in zip(lots, names, strict=True)] if len(set(names)) == len(lots) else lots


def _axes(lots: Sequence[Lot], device: str, params: dict[str, str], news: bool) -> tuple[str, str] | None:
    """The upright and the other axis; None where the sweeps share fewer than two numbers, which is said."""
    offered = list(shared_metrics(lots, device))
    usual = usual_axes(lots, device)
    if len(offered) < 2:
        st.info("These sweeps share fewer than two measured numbers.", icon=":material/info:")
        return None
    for key, name, place in ((_Y, "y", 0), (_X, "x", 1)):
        if news or st.session_state.get(key) not in offered:
            asked = params.get(name, "")
            st.session_state[key] = asked if asked in offered else usual[place] if usual else offered[place]

    def title(key: str) -> str:
        return METRICS[key].name

    x = st.selectbox("Across", offered, format_func=title, key=_X, width=180)
    y = st.selectbox("Up", offered, format_func=title, key=_Y, width=180)
    if x == y:
        st.info("Choose two different numbers.", icon=":material/tune:")
        return None
    return y, x


@st.cache_resource(max_entries=16, ttl=3600, show_spinner="Comparing the sweeps …")
def _found(key: tuple[object, ...], _lots: Sequence[Lot], axes: tuple[str, str], device: str) -> Several:
    return several(_lots, axes, device)


def _compared(chosen: Sequence[SweepRow], lots: Sequence[Lot], axes: tuple[str, str], device: str) -> None:
    at = (queries.address(), queries.profile_key(device), *((r.id, r.created, r.revision) for r in chosen))
    try:
        found = _found(at, lots, axes, device)
    except SpecError as error:
        st.warning(f"{shell.plain(str(error)[:1].upper() + str(error)[1:])}.", icon=":material/block:")
        _instead(lots)
        return
    for why in found.unlike:
        st.warning(
            f"{shell.plain(why)}: each sweep has its own frontier, and none is joint.", icon=":material/balance:"
        )
    if found.unlike:
        _chart(chosen, found)
    else:
        left, right = st.columns([3, 2], gap="medium")
        with left:
            _chart(chosen, found)
        with right:
            _words(found)
    _table(chosen, found)


def _chart(chosen: Sequence[SweepRow], found: Several) -> None:
    widths.chart_first(modes.KEY, _PLACE)
    info = several_info(found)
    figure = several_figure(info, [r.id for r in chosen])
    style(figure)
    figure.update_layout(clickmode="event+select", dragmode="pan")
    with st.container(key=_PLACE):
        plots.draw(
            figure, key=_CHART, config=share.picture_config(zoom=True), alt=several_alt(info), theme=None,
            on_select="rerun", selection_mode="points",
        )  # fmt: skip
        if said := drawn_text(info):
            st.caption(said)
        _clicked(chosen, found)


def _words(found: Several) -> None:
    st.subheader(
        "Who beats whom",
        anchor=False,
        help="Beaten: another recipe is at least as good on both axes and better on one. In brackets: between which values it lies in "
        f"95 % of {found.draws} redraws of the measurements; where sweeps answered the same samples, these are drawn together. What "
        "training again would change is not in it.",
    )
    st.markdown("\n".join(f"- {shell.plain(line)}" for line in who_beats_whom(found)))


def _instead(lots: Sequence[Lot]) -> None:
    """What can be looked at instead of times of two machines, one click away."""

    def take(key: str, value: str) -> None:
        st.session_state[key] = value

    projected = [d for d in profile_names() if d != "host"]
    profiles = [d for d in projected if all("latency_ms" in lot.trials.measured(d) for lot in lots)] or projected
    with st.container(horizontal=True):
        st.button("Take file size", on_click=take, args=(_X, "size_bytes"), icon=":material/save:")
        st.button(f"Project onto {profiles[0]}", on_click=take, args=(_DEVICE, profiles[0]), icon=":material/memory:")


def _points() -> list[dict[str, Any]]:
    """What is selected in the chart."""
    found: list[dict[str, Any]] = st.session_state.get(_CHART, {}).get("selection", {}).get("points", [])
    return found


def _clicked(chosen: Sequence[SweepRow], found: Several) -> None:
    """The recipe whose mark was clicked, and the way to it."""
    points = _points()
    told = points[0].get("customdata") if points else None
    place = {r.id: i for i, r in enumerate(chosen)}
    if not told or told[0] not in place or told[1] not in found.trials[place[told[0]]].place:
        st.caption("Click a mark to see which recipe it is.")
        return
    i = place[told[0]]
    label = found.trials[i].fact("label")[found.trials[i].place[told[1]]]
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{shell.plain(str(label))}** of {shell.plain(found.names[i])}")
        st.page_link(
            shell.pages()["explore"], label="Open", icon=":material/scatter_plot:",
            query_params={"sweep": chosen[i].id, "trial": told[1]},
        )  # fmt: skip


def _table(chosen: Sequence[SweepRow], found: Several) -> None:
    """The joint frontier, or every sweep's own, with the sweep of each recipe."""
    owners = found.joint or tuple((i, int(row)) for i, rows in enumerate(found.fronts) for row in rows)
    if not owners:
        return
    st.subheader("The joint frontier" if found.joint else "Each sweep’s frontier", anchor=False)
    names = {
        k: f"{METRICS[k].name} ({METRICS[k].unit})" if METRICS[k].unit else METRICS[k].name for k in found.objectives
    }
    records = []
    for i, row in owners:
        trials = found.trials[i]
        record: dict[str, object] = {"Sweep": found.names[i], "Recipe": str(trials.fact("label")[row])}
        for key, name in names.items():
            record[name] = shown(key, float(trials.numbers(key, found.device).value[row]))
        record["Open"] = f"explore?sweep={chosen[i].id}&trial={trials.ids[row]}"
        records.append(record)
    frame = pd.DataFrame(records)
    st.dataframe(
        frame, hide_index=True, key="compare sweeps table",
        column_config={
            "Open": st.column_config.LinkColumn("Open", display_text="Open", width="small"),
            **{name: st.column_config.NumberColumn(format="%.2f" if METRICS[key].unit == "%" else "%.4g") for key, name in names.items()},
        },
    )  # fmt: skip
    share.popover("sweeps-side-by-side", {"Frontier": lambda: _records(chosen, found, owners)})


def _records(chosen: Sequence[SweepRow], found: Several, owners: Sequence[tuple[int, int]]) -> list[dict[str, object]]:
    """The same in base units, to be taken away."""
    return [
        {
            "sweep": chosen[i].id,
            "trial": found.trials[i].ids[row],
            "recipe": str(found.trials[i].fact("label")[row]),
            **{k: float(found.trials[i].numbers(k, found.device).value[row]) for k in found.objectives},
        }
        for i, row in owners
    ]
