"""Recipes on devices as a heat map. An `..._info` computes, a small function draws."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.devices.short_reasons import short_reason
from engine.figures.frontier import COLOUR_SCALE, GREEN, GREY
from engine.figures.recipe_families import family_names
from engine.figures.style import all_shortened
from engine.figures.table_twin import MOST_ROWS as MOST_LISTED
from engine.figures.table_twin import Twin
from engine.frontier.columns import Rows, Trials
from engine.frontier.front import front_rows
from engine.metrics import DEVICE_METRICS, METRICS, number_text, shown, text_of
from engine.trials.metric_values import metric_value
from engine.trials.text import is_estimated, metric_range
from engine.trials.trial import Trial

FITS = "fits"
CELL_KEYS = (FITS, *(key for key in METRICS if key in DEVICE_METRICS))
"""What a heat map can show: whether a recipe fits, or one of the metrics that are a device's."""
MOST_ROWS, LONGEST_NAME = 40, 22
ROW_PX, CELL_PX = 21, 19
_FEW_POWERS = 2.0
BY_FAMILY, AS_PLANNED = "by family", "as planned"
"""The orders of rows that every heat map has; the others are by the value on one of its devices."""


@dataclass(frozen=True)
class Cell:
    """One recipe on one device: the value in the unit shown, None where it does not fit or nothing is known; `hover` is escaped HTML."""

    value: float | None
    text: str
    fits: bool
    hover: str


@dataclass(frozen=True)
class HeatMapInfo:
    """Recipes down, devices across. `cells[i][j]` is trial i on device j; `title` says what the values are, with their unit.

    `names` are the recipes as their rows say them, shorter where `families`, one for each row, stand above them; all families are empty
    where rows are in another order or of one family. `left_out` counts the recipes beyond the most that are drawn, `front_left_out` those
    of them that are on some device's frontier.
    """

    key: str
    title: str
    trial_ids: tuple[str, ...]
    recipes: tuple[str, ...]
    devices: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    names: tuple[str, ...]
    families: tuple[str, ...]
    left_out: int = 0
    front_left_out: int = 0


def heat_map_info(
    seen: Sequence[Trial],
    devices: Sequence[str],
    key: str = "latency_ms",
    currency: str = "¤",
    order: str = BY_FAMILY,
) -> HeatMapInfo:
    """Everything that `heat_map_figure` draws of finished trials that carry what every device says of them; `key` is one of `CELL_KEYS`.

    Rows are in the `order` of families, as planned, or by the value on the device that is named, what does not fit there last.
    At most `MOST_ROWS` recipes: first those that are on some device's frontier of accuracy and the key, and of more than
    that a sample that is even in accuracy. Raises ValueError for another key.
    """
    if key not in CELL_KEYS:
        raise ValueError(f"{key!r} is not one of {', '.join(CELL_KEYS)}")
    table = Trials.of(seen)
    rows, front_left_out = _most_telling(table, devices, key)
    drawn, families, names = _ordered(list(table.take(rows)), key, order)
    metric = METRICS.get(key)
    unit = "" if metric is None or not metric.unit else f" ({metric.unit.replace('¤', currency)})"
    return HeatMapInfo(
        key=key,
        title="Fits the device" if metric is None else f"{metric.name}{unit}",
        trial_ids=tuple(t.id for t in drawn),
        recipes=tuple(t.label for t in drawn),
        devices=tuple(devices),
        cells=tuple(tuple(_cell(t, device, key, currency) for device in devices) for t in drawn),
        names=names,
        families=families,
        left_out=len(table) - len(drawn),
        front_left_out=front_left_out,
    )


def _ordered(drawn: list[Trial], key: str, order: str) -> tuple[list[Trial], tuple[str, ...], tuple[str, ...]]:
    """The trials in their order, and for each its family, if that is drawn, and its name."""
    plain = ("",) * len(drawn)
    if order == BY_FAMILY:
        named = family_names(drawn)
        first = {family: place for place, (family, _) in reversed(list(enumerate(named)))}
        places = sorted(range(len(drawn)), key=lambda i: first[named[i][0]])
        drawn, named = [drawn[i] for i in places], [named[i] for i in places]
        if len(first) > 1:
            return drawn, tuple(f for f, _ in named), tuple(n for _, n in named)
    elif order != AS_PLANNED:
        sign = -1 if key in METRICS and METRICS[key].maximise else 1

        def worth(trial: Trial) -> tuple[bool, bool, float]:
            projection = trial.projections.get(order)
            fits = projection is None or projection.fits
            value = None if key == FITS else metric_value(trial, key, order)
            return not fits, value is None, sign * (value or 0.0)

        drawn = sorted(drawn, key=worth)
    return drawn, plain, tuple(t.label for t in drawn)


def _most_telling(seen: Trials, devices: Sequence[str], key: str) -> tuple[Rows, int]:
    """The rows that are drawn, in their order, and how many of a frontier are not among them."""
    if len(seen) <= MOST_ROWS:
        return np.arange(len(seen)), 0
    against = "latency_ms" if key == FITS else key
    on_front = np.zeros(len(seen), np.bool_)
    for device in devices:
        on_front[front_rows(seen, (seen.judged_by, against), device)[0]] = True
    baseline = np.flatnonzero(seen.fact("is_baseline"))[:1]
    on_front[baseline] = False
    front, room = np.flatnonzero(on_front), MOST_ROWS - len(baseline)
    if len(front) > room:
        by_merit = front[np.argsort(seen.merit()[front], kind="stable")]
        kept = by_merit[np.linspace(0, len(front) - 1, room).astype(np.intp)]
    else:
        others = np.setdiff1d(np.flatnonzero(~on_front), baseline)
        kept = np.concatenate([front, others[: room - len(front)]])
    return np.sort(np.concatenate([baseline, kept])), max(0, len(front) - room)


def _cell(trial: Trial, device: str, key: str, currency: str) -> Cell:
    projection = trial.projections.get(device)
    known = projection is not None or device == "host"
    fits = projection.fits if projection else True
    head = f"<b>{html.escape(trial.label)}</b><br>{html.escape(device)}"
    if projection and projection.reason:
        text = "–" if projection.fits else short_reason(projection.reason)
        return Cell(None, text, fits, f"{head}<br>{html.escape(projection.reason)}")
    if not known:
        return Cell(
            None, "–", True, f"{head}<br>not known: this recipe was measured before devices were projected from it"
        )
    lines = [head]
    for name in (k for k in CELL_KEYS if k != FITS):
        value = metric_value(trial, name, device)
        if value is None:
            continue
        ends = metric_range(trial, name, device)
        between = f" ({text_of(name, ends[0], unit=False)} to {text_of(name, ends[1], unit=False)})" if ends else ""
        told = " estimated" if is_estimated(trial, name, device) else " measured"
        lines.append(f"{METRICS[name].name}: {text_of(name, value).replace('¤', currency)}{between}{told}")
    hover = "<br>".join(lines)
    if key == FITS:
        return Cell(1.0, "fits", True, hover)
    value = metric_value(trial, key, device)
    # A roofline says how much at least.
    bound = "≥ " if projection and projection.source == "datasheet" and value is not None else ""
    text = f"{bound}{text_of(key, value, unit=False)}"
    return Cell(None if value is None else shown(key, value), text, True, hover)


def heat_map_figure(info: HeatMapInfo, height: int | None = None) -> go.Figure:
    """The heat map, colours in logarithms; every cell carries its trial's id and device as `customdata`."""
    headed = [i for i, family in enumerate(info.families) if family and family != ("", *info.families)[i]]
    # Before the first of a family lies an empty row, for its name.
    before = [sum(place <= i for place in headed) for i in range(len(info.recipes))]
    places = [i + n for i, n in enumerate(before)]
    total = len(info.recipes) + len(headed)
    blank = Cell(None, "", True, "")
    rows: list[Sequence[Cell]] = [[blank] * len(info.devices)] * total
    identity: list[list[list[str]]] = [[["", device] for device in info.devices]] * total
    for i, place in enumerate(places):
        rows[place] = info.cells[i]
        identity[place] = [[info.trial_ids[i], device] for device in info.devices]
    values = np.array([[np.nan if c.value is None else c.value for c in row] for row in rows], np.float64)
    values = values.reshape(total, len(info.devices))
    coloured = values if info.key == FITS else np.log10(np.where(values > 0, values, np.nan))
    figure = go.Figure()
    # What does not fit gets a flat grey below the colours: an empty cell would look like a value that is only missing.
    barred = np.array([[np.nan if c.fits else 0.0 for c in row] for row in rows]).reshape(values.shape)
    common: dict[str, Any] = {
        "x": list(info.devices),
        "y": list(range(total)),
        "customdata": identity,
        "text": [[c.text for c in row] for row in rows],
        "hovertext": [[c.hover for c in row] for row in rows],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "xgap": 2,
        "ygap": ROW_PX - CELL_PX,
    }
    figure.add_trace(go.Heatmap(z=barred, colorscale=[[0, GREY], [1, GREY]], showscale=False, opacity=0.45, **common))
    bar = {
        "title": {"text": info.title, "side": "top"},
        "orientation": "h",
        "thickness": 12,
        "y": 0,
        "yanchor": "top",
        "len": 0.9,
        **_log_ticks(coloured, info.key),
    }
    scale = [[0, GREEN], [1, GREEN]] if info.key == FITS else COLOUR_SCALE
    figure.add_trace(
        go.Heatmap(
            z=coloured,
            colorscale=scale,
            colorbar=bar,
            showscale=info.key != FITS,
            texttemplate="%{text}",
            textfont={"size": 11},
            **common,
        )
    )
    figure.update_layout(
        height=height or 190 + ROW_PX * total,
        margin={"l": 0, "r": 0, "t": 10, "b": 10},
        # Every device is named, however narrow the columns.
        xaxis={
            "automargin": True,
            "side": "top",
            "tickangle": -40,
            "tickmode": "array",
            "tickvals": list(info.devices),
            "showgrid": False,
        },
        yaxis={
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "tickvals": places,
            "ticktext": [html.escape(name) for name in all_shortened(info.names, LONGEST_NAME)],
            "range": [total - 0.45, -0.55],
        },
        # A family's name stands above its rows, so that these need only what tells them apart, on a telephone too.
        annotations=[
            {
                "text": f"<b>{html.escape(info.families[i])}</b>",
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": places[i] - 1,
                "yanchor": "middle",
                "showarrow": False,
                "font": {"size": 12},
            }
            for i in headed
        ],
    )
    return figure


def _log_ticks(coloured: Any, key: str) -> dict[str, Any]:
    finite = coloured[np.isfinite(coloured)]
    if key == FITS or not finite.size:
        return {}
    low, high = float(finite.min()), float(finite.max())
    powers = range(math.floor(low), math.ceil(high) + 1)
    # Within one or two powers of ten there would be a tick, or none.
    steps = (1, 2, 5) if high - low < _FEW_POWERS else (1,)
    ticks = [m * 10.0**p for p in powers for m in steps]
    return {"tickvals": [math.log10(t) for t in ticks], "ticktext": [number_text(t) for t in ticks]}


def heat_map_twin(info: HeatMapInfo) -> Twin:
    """The cells as a table, each recipe by its whole name."""
    rows = tuple(
        (name, *(c.text for c in row)) for name, row in list(zip(info.recipes, info.cells, strict=True))[:MOST_LISTED]
    )
    return Twin(("Recipe", *info.devices), rows, len(info.recipes) - len(rows))


def heat_map_alt(info: HeatMapInfo) -> str:
    """The heat map in two sentences, for those who cannot see it."""
    cells = [c for row in info.cells for c in row]
    barred = sum(not c.fits for c in cells)
    return (
        f"Heat map of {info.title.lower()}: {len(info.recipes)} recipes on {len(info.devices)} devices. "
        f"{barred} of {len(cells)} pairs do not fit; pointing at one says why."
    )
