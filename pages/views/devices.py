"""Devices and cost: the recipes of a sweep on chips that are not at hand, what that costs, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st
import yaml

from engine.cost import Scenario
from engine.device_figures import (
    CELL_KEYS,
    FITS,
    best_rows,
    error_rows,
    heat_map_alt,
    heat_map_figure,
    heat_map_info,
    on_devices,
    validation_alt,
    validation_figure,
    validation_info,
)
from engine.devices import Profile, all_profiles, keep_profile, paper_chip
from engine.errors import InputError
from engine.fleet import fleet_view
from engine.record import METRICS, SCENARIO_METRICS, Trial
from engine.store import SweepRow
from engine.words import text_of
from pages.ui import access, pickers, queries, shell

NO_SCENARIO = "none"
_FIRST_DEVICES = ("stm32h7a3-xcubeai", "stm32l4r5-xcubeai")
_CHART = {"displaylogo": False, "displayModeBar": False}
_BASIS = {
    "measured": ("green", "timed on the device itself"),
    "fitted": ("blue", "fitted to published measurements; the error is known"),
    "datasheet": ("orange", "from a datasheet: a bound that nobody validated"),
    "design": ("violet", "a chip that does not exist: a projection"),
}


def render() -> None:
    """Draw the page."""
    rows = [r for r in queries.sweeps() if r.trials]
    if not rows:
        st.info("Nothing has been measured yet. Start a sweep, and it can be seen on other devices here.")
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    scenarios = queries.scenarios()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row, _, _ = pickers.pick_one("devices", rows)
        pickers.keep_one("devices", row)
        name = st.selectbox(
            "Scenario",
            [NO_SCENARIO, *scenarios],
            format_func=lambda n: scenarios[n].title if n in scenarios else "no scenario",
            key="devices scenario",
            width=260,
            help="A ready use: it sets device, limits and prices. Every figure in it is an assumption.",
        )
    scenario = scenarios.get(name)
    if scenario:
        st.caption(f"Assumed: {'; '.join(scenario.assumptions)}.")
    trials = queries.with_demands(row)
    recipes, known, own = st.tabs(["Recipes on devices", "How far to trust it", "Your own device"])
    with recipes:
        _recipes(row, trials, scenario)
    with known:
        _validation()
    with own:
        _own_device()


def _recipes(row: SweepRow, trials: Sequence[Trial], scenario: Scenario | None) -> None:
    profiles = all_profiles()
    first = [d for d in ((scenario.device,) if scenario else ()) + _FIRST_DEVICES if d in profiles]
    others = [d for d, p in profiles.items() if p.basis != "fitted" and d not in first][:3]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        devices = st.multiselect(
            "Devices",
            list(profiles),
            default=list(dict.fromkeys([*first, *others])),
            max_selections=12,
            key=f"devices shown {scenario.name if scenario else ''}",
        )
        keys = [k for k in CELL_KEYS if scenario or k not in SCENARIO_METRICS]
        key = st.selectbox(
            "Show",
            keys,
            index=keys.index("latency_ms"),
            format_func=lambda k: "Does it fit?" if k == FITS else METRICS[k].name,
            key=f"devices key {bool(scenario)}",
            width=230,
        )
    if not devices:
        st.info("Choose a device above.", icon=":material/memory:")
        return
    _bases([profiles[d] for d in devices])
    info = heat_map_info(trials, devices, key, scenario)
    st.plotly_chart(heat_map_figure(info), key="devices heat map", config=_CHART, alt=heat_map_alt(info))
    st.subheader("Best recipe for each device", anchor=False)
    limits = dict(scenario.limits) if scenario else {}
    told = ", ".join(
        f"{METRICS[k].name.lower()} {'≥' if METRICS[k].maximise else '≤'} {text_of(k, v)}" for k, v in limits.items()
    )
    st.caption(f"The highest accuracy that fits{f' and keeps the limits of the scenario: {told}' if told else ''}.")
    st.dataframe(pd.DataFrame(best_rows(trials, devices, limits, scenario)), hide_index=True)
    if scenario:
        _fleet(row, trials, scenario)


def _bases(profiles: Sequence[Profile]) -> None:
    """How each device is known, before any number of it is read."""
    with st.container(horizontal=True, gap="small"):
        for profile in profiles:
            colour, meaning = _BASIS[profile.basis]
            st.badge(f"{profile.name}: {profile.basis}", color=colour, help=meaning)  # type: ignore[arg-type]


def _fleet(row: SweepRow, trials: Sequence[Trial], scenario: Scenario) -> None:
    """All devices of the scenario over all its years."""
    done = list(on_devices(trials, [scenario.device], scenario))
    by_id = {t.id: t for t in done if t.recipe.steps}
    if not by_id:
        return
    st.subheader("The whole fleet", anchor=False)
    chosen = st.selectbox("Recipe", list(by_id), format_func=lambda i: by_id[i].label, key="devices fleet", width=420)
    baseline = next((t for t in done if not t.recipe.steps), None)
    found = fleet_view(scenario, by_id[chosen], baseline, row.elapsed_s)
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
        st.plotly_chart(validation_figure(info), key="devices validation", config=_CHART, alt=validation_alt(info))
    with right:
        st.dataframe(pd.DataFrame(error_rows(queries.device_errors())), hide_index=True)
        st.caption(
            "The layer kinds and priors of the fit were chosen while looking at these errors; they are somewhat optimistic."
        )


def _own_device() -> None:
    """Take a profile in: one that the program of `paretoscope profile-device` wrote, or a chip on paper."""
    st.markdown(
        "Time your device with one file that needs onnxruntime and numpy only: `paretoscope profile-device --script` writes it, "
        "`python profile_device.py --name NAME -o NAME.json` runs it there. Or describe a chip that does not exist yet below; its "
        "figures are then labelled a projection."
    )
    if not access.may("editor"):
        st.caption("Adding a profile takes the role editor.")
        return
    uploaded = st.file_uploader("A profile file", type=["json", "yaml"], key="devices upload", max_upload_size=1)
    start = uploaded.getvalue().decode("utf-8", errors="replace") if uploaded else paper_chip()
    text = st.text_area("Profile", start, height=320, key=f"devices text {uploaded.name if uploaded else ''}")
    if not st.button("Check and keep it", icon=":material/save:"):
        return
    access.require("editor")
    try:
        path = keep_profile(yaml.safe_load(text))
    except (InputError, yaml.YAMLError) as error:
        st.error(" ".join(str(error).split()), icon=":material/error:")
        return
    st.success(f"{path.stem} is kept; choose it in the first tab.", icon=":material/check:")


with shell.one_line_errors():
    shell.guard()
    render()
