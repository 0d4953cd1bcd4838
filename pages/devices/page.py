"""Devices and cost: the recipes of a sweep on chips that are not at hand, what that costs, and how far to trust it.

?sweep=ID&scenario=NAME&devices=a,b&show=METRIC&min_accuracy=0.9&max_size_bytes=100000
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from engine.devices.cost import Scenario
from engine.devices.fleet import fleet_view
from engine.devices.profiles import Profile, all_profiles
from engine.devices.projected import MOST_FILES, unread
from engine.export import tables as table_export
from engine.figures.devices import best_rows, error_rows, validation_alt, validation_figure, validation_info
from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import drawn_text, frontier_info
from engine.figures.heat_map import (
    AS_PLANNED,
    BY_FAMILY,
    CELL_KEYS,
    FITS,
    HeatMapInfo,
    heat_map_alt,
    heat_map_figure,
    heat_map_info,
    heat_map_twin,
)
from engine.frontier.recommendation import View
from engine.metrics import METRICS, SCENARIO_METRICS, in_a_sentence, limits_text
from engine.store.rows import SweepRow
from pages.devices import device_editor
from pages.shared import address, device_picker, pickers, plots, queries, share, shell, widths
from pages.shared import explore_address as state

NO_SCENARIO = "none"
MOST_DEVICES = 12
_FIRST_DEVICES = ("stm32h7a3-xcubeai", "stm32l4r5-xcubeai")
_BASIS = {
    "measured": ("green", "timed on the device itself"),
    "fitted": ("blue", "fitted to published measurements; the error is known"),
    "datasheet": ("orange", "from a datasheet: a bound that nobody validated"),
    "design": ("violet", "a chip that does not exist: a projection"),
}
_ORDER = "devices order"
_WHY_NOT = (
    "Grey: does not fit. **float**, **16 bits**: the device does not compute in that; **flash** or **RAM 1.4×**: the network needs so many "
    "times what there is; **no** …: an operator that its runtime lacks. Pointing at a cell says it in full."
)
_SCENARIO, _DEVICES, _SHOW, _LIMITS, _ONE, _FLEET, _TRUST = (
    "devices scenario",
    "devices shown",
    "devices key",
    "devices limits",
    "devices one",
    "devices fleet",
    "devices trust was asked for",
)


def render() -> None:
    """Draw the page."""
    rows = [r for r in queries.sweeps() if r.trials]
    if not rows:
        st.info("Nothing has been measured yet. Start a sweep, and it can be seen on other devices here.")
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    scenarios, profiles = queries.scenarios(), all_profiles()
    params, news = address.read("devices")
    if news or _SCENARIO not in st.session_state:
        _take(params, scenarios, profiles)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = pickers.pick_sweep(rows, params.get("sweep"), news, "devices sweep")
        name = st.selectbox(
            "Scenario",
            [NO_SCENARIO, *scenarios],
            format_func=lambda n: scenarios[n].title if n in scenarios else "no scenario",
            key=_SCENARIO,
            width=260,
            on_change=_set_scenario,
            args=(scenarios, profiles),
            help="A ready use: it sets device, limits and prices in one go. Every figure in it is an assumption.",
        )
    scenario = scenarios.get(name)
    if scenario:
        st.caption(f"Assumed: {'; '.join(scenario.assumptions)}.")
    _limits(row)
    widths.chart_first("devices map place", "devices frontier place")
    recipes, one, known, own = st.tabs(
        ["Recipes on devices", "Frontier on one device", "How far to trust it", "Your own device"],
        key="devices tab",
        on_change="rerun",
    )
    with recipes:
        _recipes(row, scenario, profiles)
    with one:
        _one_device(row, scenario)
    # Fitting everything anew without each network takes seconds, once in a server's life: paid by who asks for it.
    if known.open or _TRUST in st.session_state:
        st.session_state[_TRUST] = True
        with known:
            _validation()
    with own:
        device_editor.show()
    _write(row)


def _take(params: Mapping[str, str], scenarios: Mapping[str, Scenario], profiles: Mapping[str, Profile]) -> None:
    """What an address asks for, into the controls; what it does not say is as the scenario says, and otherwise the default."""
    name = params.get("scenario", NO_SCENARIO)
    st.session_state[_SCENARIO] = name if name in scenarios else NO_SCENARIO
    _set_scenario(scenarios, profiles)
    wanted = [d for d in params.get("devices", "").split(",") if d in profiles][:MOST_DEVICES]
    if wanted:
        st.session_state[_DEVICES] = wanted
    if limits := state.parse(params).view.limits:
        st.session_state[_LIMITS] = dict(limits)
    if params.get("show") in CELL_KEYS:
        st.session_state[_SHOW] = params["show"]


def _set_scenario(scenarios: Mapping[str, Scenario], profiles: Mapping[str, Profile]) -> None:
    """Devices and limits as the chosen scenario has them; the usual devices and no limits without one."""
    scenario = scenarios.get(st.session_state[_SCENARIO])
    first = [d for d in ((scenario.device,) if scenario else ()) + _FIRST_DEVICES if d in profiles]
    others = [d for d, p in profiles.items() if p.basis != "fitted" and d not in first][:3]
    st.session_state[_DEVICES] = list(dict.fromkeys([*first, *others]))
    st.session_state[_LIMITS] = dict(scenario.limits) if scenario else {}
    st.session_state[_ONE] = st.session_state[_DEVICES][0]


def _write(row: SweepRow) -> None:
    view = View(limits=st.session_state[_LIMITS])
    params = state.to_params(state.Explore(row.id, None, view)) | {"devices": ",".join(st.session_state[_DEVICES])}
    if st.session_state[_SCENARIO] != NO_SCENARIO:
        params["scenario"] = st.session_state[_SCENARIO]
    if st.session_state[_SHOW] != CELL_KEYS[1]:
        params["show"] = st.session_state[_SHOW]
    address.write("devices", params)


def _limits(row: SweepRow) -> None:
    """The limits that hold, and where they are changed."""
    limits: dict[str, float] = st.session_state[_LIMITS]
    device = st.session_state.get(_ONE, View.device)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**Limits**: {limits_text(limits) or 'none'}", width="content")
        if limits:
            st.button("Drop them", type="tertiary", on_click=lambda: st.session_state.update({_LIMITS: {}}))
        st.page_link(
            shell.pages()["explore"],
            label="Set limits on Explore",
            icon=":material/tune:",
            query_params=state.to_params(state.Explore(row.id, None, View(device=device, limits=limits))),
        )


def _recipes(row: SweepRow, scenario: Scenario | None, profiles: Mapping[str, Profile]) -> None:
    keys = [k for k in CELL_KEYS if scenario or k not in SCENARIO_METRICS]
    if st.session_state.get(_SHOW) not in keys:
        st.session_state[_SHOW] = CELL_KEYS[1]
    st.session_state[_DEVICES] = [d for d in st.session_state[_DEVICES] if d in profiles]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        devices = device_picker.pick_several(profiles, _DEVICES, MOST_DEVICES)
        key = st.selectbox(
            "Show",
            keys,
            format_func=lambda k: "Does it fit?" if k == FITS else METRICS[k].name,
            key=_SHOW,
            width=170,
        )
        orders = [BY_FAMILY, AS_PLANNED, *devices]
        if st.session_state.get(_ORDER) not in orders:
            st.session_state[_ORDER] = BY_FAMILY
        order = st.selectbox(
            "Order of recipes",
            orders,
            format_func=lambda o: o if o in (BY_FAMILY, AS_PLANNED) else f"best first on {o}",
            key=_ORDER,
            width=200,
            help="A family is what was pruned or trained in the same way. On a device: by what is shown; what does not fit comes last.",
        )
    if not devices:
        st.info("Choose a device above.", icon=":material/memory:")
        return
    _bases([profiles[d] for d in devices])
    seen = queries.on_devices(row, tuple(devices), scenario)
    info = heat_map_info(seen, devices, key, scenario.currency if scenario else "¤", order)
    with st.container(key="devices map place"):
        plots.draw(heat_map_figure(info), key="devices heat map", alt=heat_map_alt(info), twin=heat_map_twin(info))
        if any(not c.fits for row in info.cells for c in row):
            st.caption(_WHY_NOT)
        if info.left_out:
            st.caption(_left_out(info))
    if silent := unread(seen):
        st.caption(
            f"Nothing is known of {silent:,} recipes on these devices: they are of before that was kept, and no more than {MOST_FILES:,} "
            "files are opened to read it off them. Run the sweep again to have them all."
        )
    st.subheader("Best recipe for each device", anchor=False)
    judged = queries.columns(row).done.judged_by
    best = f"The {'highest' if METRICS[judged].maximise else 'lowest'} {in_a_sentence(judged)}"
    st.caption(f"{best} that fits{' and keeps the limits' if st.session_state[_LIMITS] else ''}.")
    rows = pd.DataFrame(best_rows(seen, devices, st.session_state[_LIMITS]))
    cost = METRICS[key].name if key in METRICS and METRICS[key].name in rows else METRICS["latency_ms"].name
    few = widths.fewer(rows, ("Device", "Best recipe", METRICS[judged].name, cost))
    st.dataframe(rows, hide_index=True, column_order=few)
    if scenario:
        _fleet(row, scenario)
    tables = {
        "Recipes on devices": lambda: table_export.device_rows(seen, devices),
        "Errors of the profiles": lambda: table_export.records(queries.device_errors()),
    }
    share.popover(row.id, tables)


def _left_out(info: HeatMapInfo) -> str:
    """What a heat map of many recipes does not draw."""
    if info.front_left_out:
        return (
            f"{len(info.recipes)} recipes are drawn: the baseline and, evenly in accuracy, some of those on a device’s frontier. "
            f"{info.front_left_out:,} more of these and {info.left_out - info.front_left_out:,} others are not; the best for each device, "
            "below, is of all."
        )
    return f"{info.left_out:,} more recipes are not drawn; those on some device’s frontier are."


def _one_device(row: SweepRow, scenario: Scenario | None) -> None:
    """The frontier as it is on one of the chosen devices."""
    devices = st.session_state[_DEVICES]
    if not devices:
        st.info("Choose a device in the first tab.", icon=":material/memory:")
        return
    keys = ["latency_ms", "energy_mj", *(SCENARIO_METRICS if scenario else ())]
    if st.session_state.get(_ONE) not in devices:
        st.session_state[_ONE] = devices[0]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        device = st.selectbox("Device", devices, key=_ONE, width=260)
        x = st.selectbox(
            "Across", keys, format_func=lambda k: METRICS[k].name, key=f"{_ONE} {bool(scenario)}", width=220
        )
    seen = queries.on_devices(row, (device,), scenario)
    fitting = seen.take(seen.fits(device))
    info = frontier_info(fitting, View(x=x, device=device, limits=st.session_state[_LIMITS]))
    if not info.points:
        st.info(
            f"No recipe of this sweep has {METRICS[x].name.lower()} on {device}: none fits, or the profile does not say.",
            icon=":material/info:",
        )
        return
    if scenario:
        info = replace(
            info,
            x_title=info.x_title.replace("¤", scenario.currency),
            points=tuple(replace(p, hover=p.hover.replace("¤", scenario.currency)) for p in info.points),
        )
    with st.container(key="devices frontier place"):
        plots.draw(frontier_figure(info, height=420), key="devices frontier", alt=frontier_alt(info))
    if drawn := drawn_text(info):
        st.caption(drawn)
    if len(fitting) < len(seen):
        st.caption(
            f"{len(seen) - len(fitting):,} of {len(seen):,} recipes do not fit {device}; the first tab says why."
        )


def _bases(profiles: Sequence[Profile]) -> None:
    """How each device is known, before any number of it is read."""
    with st.container(horizontal=True, gap="small"):
        for profile in profiles:
            colour, meaning = _BASIS[profile.basis]
            st.badge(f"{profile.name}: {profile.basis}", color=colour, help=meaning)  # type: ignore[arg-type]


def _fleet(row: SweepRow, scenario: Scenario) -> None:
    """All devices of the scenario over all its years."""
    done = queries.on_devices(row, (scenario.device,), scenario)
    others = done.take(~done.fact("is_baseline").astype(np.bool_))
    if not len(others):
        return
    st.subheader("The whole fleet", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = pickers.recipe_box(_FLEET, others, st.session_state.get(_FLEET))
    found = fleet_view(scenario, chosen, queries.baseline(done), row.elapsed_s)
    units = (("kwh", "Energy (kWh)"), ("cost", f"Electricity ({found['currency']})"), ("co2e_kg", "CO2e (kg)"))
    sides = {"This recipe": found["trial"], "Baseline": found["baseline"]}
    table = {
        side: {title: "–" if not of or of[key] is None else f"{of[key]:,.3g}" for key, title in units}
        for side, of in sides.items()
    }
    st.table(pd.DataFrame(table), border="horizontal")
    st.caption(found["basis"])
    if found["payback_inferences"] is not None:
        st.caption(
            f"The sweep itself used about {found['sweep_kwh']:.2g} kWh; {found['payback_inferences']:,} inferences of this recipe "
            "instead of the baseline repay it."
        )


def _validation() -> None:
    """Predicted against published, left out one network at a time."""
    st.caption(
        "Every published MLPerf Tiny result is predicted by a fit that has not seen it. Upper half of the table: the network was left "
        "out of its own device's rows. Lower half, “all devices”: it was left out everywhere, which is what a network of yours meets."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        quantity = st.segmented_control(
            "Quantity",
            ["latency_ms", "energy_mj"],
            format_func=lambda k: METRICS[k].name,
            default="latency_ms",
            key="devices quantity",
            required=True,
        )
        unseen = st.toggle("Network left out of all devices", key="devices unseen")
    info = validation_info(queries.device_checks(unseen), quantity)
    left, right = st.columns(2, gap="large")
    with left:
        plots.draw(validation_figure(info), key="devices validation", alt=validation_alt(info))
    with right:
        errors = pd.DataFrame(error_rows(queries.device_errors()))
        few = widths.fewer(errors, ("Devices", "Quantity", "Mean error (%)", "In the 90 % range (%)"))
        st.dataframe(errors, hide_index=True, column_order=few)
        st.caption(
            "The layer kinds and priors of the fit were chosen while looking at these errors; they are somewhat optimistic."
        )


with shell.one_line_errors():
    shell.guard()
    render()
