"""The controls above the chart: sweep, axes, colour, size, device, metrics. They show what the address says, and it what they show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import streamlit as st

from engine.devices.profiles import profile_names
from engine.errors import NotFoundError
from engine.figures.many_metrics_info import MOST_AXES, MOST_PAIRED
from engine.frontier.columns import Trials
from engine.frontier.dominance import Bools
from engine.frontier.front import front_rows
from engine.frontier.recommendation import View, usual_view
from engine.metrics import METRICS
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import address, device_picker, queries, shell
from pages.shared.explore_address import Chart, limited, third_axis

MOST_OFFERED = 500
"""Every name that a box offers goes to the browser with every change; of more recipes it offers some, and a search finds the others."""
_NONE = "none"
_SIZED, _COLOURED = {"frontier", "3d", "map"}, {"frontier", "3d", "map", "parallel", "matrix"}


def _seed(name: str, value: str, options: Sequence[str], news: bool) -> None:
    """Put a picker where the address says, when that is news or the picker is new or its choice has gone."""
    if news or st.session_state.get(name) not in options:
        st.session_state[name] = value if value in options else options[0]
    else:
        # Said again: a browser that was still loading in the first run shows the first option otherwise (seen on a busy machine).
        st.session_state[name] = st.session_state[name]


def sweep_name(row: SweepRow) -> str:
    """A sweep's name for a list, which says of a shipped one that it is an example, once."""
    return f"{row.name} (example)" if row.example and "example" not in row.name.casefold() else row.name


def sweep_box(rows: Sequence[SweepRow], key: str, width: Literal["stretch"] | int = 260) -> SweepRow:
    """The box that every page has to choose a sweep with."""
    by_id = {r.id: r for r in rows}
    chosen = st.selectbox(
        "Sweep",
        list(by_id),
        format_func=lambda i: sweep_name(by_id[i]),
        key=key,
        width=width,
        help="A sweep is one model and one dataset, compressed by many recipes.",
    )
    return by_id[chosen]


def find_sweep(rows: Sequence[SweepRow], ref: str) -> SweepRow:
    """The sweep that an address names: by its id among those that are listed, otherwise as the store finds it; raises NotFoundError."""
    return next((r for r in rows if r.id == ref), None) or queries.store().sweep(ref)


def pick_sweep(
    rows: Sequence[SweepRow], asked: str | None, news: bool, key: str, width: Literal["stretch"] | int = 260
) -> SweepRow:
    """Draw the sweep picker; where that is news, or the picker is new, it is put where the address asks, the newest if nowhere."""
    ids = [r.id for r in rows]
    if news or st.session_state.get(key) not in ids:
        wanted = _known(rows, asked)
        st.session_state[key] = wanted if wanted in ids else ids[0]
    else:
        st.session_state[key] = st.session_state[key]
    return sweep_box(rows, key, width)


def _swap(changed: str, other: str) -> None:
    """An axis that was given the other's metric hands over its own."""
    if st.session_state[changed] == st.session_state[other]:
        st.session_state[other] = st.session_state[f"last {changed}"]


def wanted_device(view: View, news: bool) -> str:
    """The device that the picker will show."""
    return view.device if news else str(st.session_state.get("pick device", view.device))


def pick_view(view: View, chart: Chart, trials: Trials, news: bool) -> tuple[View, Chart]:
    """Draw the pickers for axes, colour, size and device, as far as the chart has them; what is chosen, the rest as it was."""
    view = usual_view(view, trials)
    # What no trial has is offered only where the address asks for it.
    offered = {view.x, view.y, *trials.measured(view.device)}
    names = [k for k in dict.fromkeys((*trials.metrics, *METRICS, view.x, view.y)) if k in offered]
    _seed("pick x", view.x, names, news)
    _seed("pick y", view.y, names, news)
    devices_offered = list(dict.fromkeys([*trials.devices, *profile_names()]))
    _seed("pick device", view.device, devices_offered, news)

    def name(key: str) -> str:
        return METRICS[key].name

    x = st.selectbox(
        "Across", names, format_func=name, key="pick x", width=175, on_change=_swap, args=("pick x", "pick y")
    )
    y = st.selectbox("Up", names, format_func=name, key="pick y", width=175, on_change=_swap, args=("pick y", "pick x"))
    st.session_state["last pick x"], st.session_state["last pick y"] = x, y
    chosen = View(x, y, view.colour, view.device, view.limits, view.imported)
    if chart.shape == "3d":
        usual = third_axis(chosen, trials.measured(view.device))
        deep = [usual, *(k for k in names if k not in (x, y, usual))]
        _seed("pick z", chart.z or usual, deep, news)
        z = st.selectbox("Third axis", deep, format_func=name, key="pick z", width=175)
        chart = replace(chart, z=None if z == usual else z)
    if chart.shape in _COLOURED:
        chosen = replace(chosen, colour=_pick_or_none("Colour", "pick colour", view.colour, names, "standing", news))
    if chart.shape in _SIZED:
        usual_size = "file size" if chart.shape == "map" else "all the same"
        chart = replace(chart, size=_pick_or_none("Size", "pick size", chart.size, names, usual_size, news))
    device = device_picker.pick_one(
        devices_offered,
        "pick device",
        "Latency and energy are those of this device. On the host and on your own boards latency is measured; on others both are "
        "estimated. The page Devices says how far to trust each.",
    )
    return replace(chosen, device=device), chart


def _pick_or_none(label: str, key: str, wanted: str | None, names: Sequence[str], none: str, news: bool) -> str | None:
    """A picker of a metric or of none, which is then called `none`."""
    _seed(key, wanted or _NONE, [_NONE, *names], news)
    found = st.selectbox(
        label, [_NONE, *names], format_func=lambda k: METRICS[k].name if k in METRICS else none, key=key, width=140
    )
    return None if found == _NONE else found


def usual_metrics(trials: Trials, device: str) -> list[str]:
    """The metrics that share one picture where none are chosen: those with a limit slider, as far as they are measured."""
    measured = trials.measured(device)
    first = limited(trials)
    return [*(k for k in measured if k in first), *(k for k in measured if k not in first)][: len(first)]


def pick_metrics(device: str, chart: Chart, trials: Trials, news: bool) -> Chart:
    """Draw the picker of the metrics that share one picture, in the charts that have it; the chart with what is chosen."""
    if chart.shape not in {"parallel", "matrix"}:
        return chart
    measured, usual = trials.measured(device), usual_metrics(trials, device)
    if news or "pick metrics" not in st.session_state:
        st.session_state["pick metrics"] = list(chart.metrics or usual)
    st.session_state["pick metrics"] = [k for k in st.session_state["pick metrics"] if k in measured]
    chosen = st.multiselect(
        "Metrics",
        measured,
        format_func=lambda k: METRICS[k].name,
        key="pick metrics",
        max_selections=MOST_AXES,
        placeholder="None chosen: the usual ones",
        help=f"Each is an axis, up to {MOST_AXES}. The matrix takes the first {MOST_PAIRED}.",
    )
    return replace(chart, metrics=() if chosen == usual else tuple(chosen))


def pick_one(page: str, rows: Sequence[SweepRow]) -> tuple[SweepRow, str | None, bool]:
    """The sweep picker of a page that shows one sweep and perhaps one trial of it.

    The chosen sweep, what the address asks for as the trial, and whether the address is news. `keep_one` writes it.
    """
    asked, news = address.read(page, ONE)
    row = pick_sweep(rows, asked.get("sweep"), news, f"{page} sweep")
    return row, asked.get("trial"), news


def _known(rows: Sequence[SweepRow], ref: str | None) -> str:
    """The id of the sweep that an address names by id or name; the newest where it names none that is here."""
    if ref is None:
        return rows[0].id
    try:
        return find_sweep(rows, ref).id
    except NotFoundError:
        st.warning(
            f"There is no sweep {shell.plain(repr(ref))} here; this is {shell.plain(repr(rows[0].name))}.",
            icon=":material/link_off:",
        )
        return rows[0].id


def pick_trial(
    page: str, trials: Trials, asked: str | None, news: bool, usual: Callable[[], str | None] = lambda: None
) -> Trial | None:
    """The picker of one recipe: what the address asks for at first, else the `usual` one, else the first; None where there is none."""
    if not len(trials):
        return None
    key = f"{page} trial"
    if news and asked is not None and asked not in trials.place:
        st.warning(f"This sweep has no measured trial {shell.plain(repr(asked))}.", icon=":material/link_off:")
    chosen = asked if news else st.session_state.get(key)
    if chosen not in trials.place:
        # Another sweep has other recipes.
        chosen = usual()
    return recipe_box(key, trials, chosen)


def recipe_box(key: str, trials: Trials, wanted: str | None) -> Trial:
    """The box of one recipe, put at the `wanted` one or, where that is not among these, the first; of many, with a box to search them."""
    text = find_box(key, trials)
    chosen = [wanted] if wanted in trials.place and wanted else []
    ids, said = offered(trials, text, chosen)
    st.session_state[key] = chosen[0] if chosen else ids[0]
    found = st.selectbox(f"Recipe{said}", ids, format_func=name_of(trials), key=key, width=520)
    if len(ids) > 1:
        _neighbours(key, ids, ids.index(found))
    return trials[trials.place[found]]


def _neighbours(key: str, ids: Sequence[str], place: int) -> None:
    """The ways to the recipe before and after the chosen one of a box; `k` and `j` press them."""

    def go(to: str) -> None:
        st.session_state[key] = to

    with st.container(horizontal=True, gap="xxsmall", width="content"):
        for step, name, icon in ((-1, "previous", "chevron_left"), (1, "next", "chevron_right")):
            to = ids[(place + step) % len(ids)]
            text = f"The {name} recipe (key {'k' if step < 0 else 'j'})"
            st.button(
                f":material/{icon}:", key=f"{key} {name}-recipe", help=text, on_click=go, args=(to,), type="tertiary"
            )


def name_of(trials: Trials) -> Callable[[str], str]:
    """Id -> the name of a recipe, with its id where others among these have the same name: a box tells its options apart by their names."""
    labels = trials.fact("label")
    times = Counter(labels.tolist())

    def name(trial_id: str) -> str:
        found = str(labels[trials.place[trial_id]])
        return f"{found} ({trial_id})" if times[found] > 1 else found

    return name


def find_box(key: str, trials: Trials) -> str:
    """Draw the box that searches more recipes than a picker offers; what is written there, nothing where all are offered."""
    if len(trials) <= MOST_OFFERED:
        return ""
    return st.text_input(
        "Find a recipe",
        key=f"{key} find",
        placeholder="words of its name",
        max_chars=200,
        width=200,
        help=f"All these words, in any order, or the beginning of its id. The box beside it offers {MOST_OFFERED}: the baseline, the "
        "frontier of accuracy and file size, and the most accurate, of those that are found or, without words, of all.",
    )


def offered(trials: Trials, text: str, chosen: Sequence[str]) -> tuple[list[str], str]:
    """The ids that a picker offers, those `chosen` among them, and in words how many of how many that is; no words where it is all.

    Of more than `MOST_OFFERED` it is those that the words of `text` find, the baseline and the frontier of accuracy and file size first,
    then the most accurate.
    """
    if len(trials) <= MOST_OFFERED:
        return list(trials.ids), ""
    hits = _found(trials, text) if text.strip() else None
    found = trials if hits is None or not hits.any() else trials.take(hits)
    # Not latency: two machines may have measured it, which has no frontier.
    front, _ = front_rows(found, (found.judged_by, "size_bytes"))
    accurate = np.argsort(-found.merit(), kind="stable")[:MOST_OFFERED]
    first = [] if found.baseline is None else [found.baseline]
    rows = list(dict.fromkeys([*first, *front.tolist(), *accurate.tolist()]))[:MOST_OFFERED]
    ids = list(dict.fromkeys([*chosen, *(found.ids[i] for i in rows)]))
    many = f"{len(rows):,} of {len(found):,}"
    if hits is None:
        return ids, f" ({many} offered)"
    return ids, f" ({many} found)" if hits.any() else f" (nothing found, {many} offered)"


def _found(trials: Trials, text: str) -> Bools:
    words = _searched(text).split()
    names = (_searched(str(name)) for name in trials.fact("label"))
    begun = (name.startswith(text.strip()) for name in trials.ids)
    return np.array(
        [begins or all(w in name for w in words) for begins, name in zip(begun, names, strict=True)], np.bool_
    )


def _searched(text: str) -> str:
    # Names have a minus and a hyphen that do not break where a keyboard has one sign for both.
    return text.lower().replace("\u2212", "-").replace("\u2011", "-")


def keep_one(page: str, row: SweepRow, trial: Trial | None = None) -> None:
    """Make the address of such a page say what it shows."""
    address.write(page, {"sweep": row.id} | ({"trial": trial.id} if trial else {}), ONE)


ONE = frozenset({"sweep", "trial"})
