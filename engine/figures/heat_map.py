"""Recipes on devices as a heat map. An `..._info` computes, a small function draws."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import COLOUR_SCALE, GREEN, GREY
from engine.frontier.columns import Rows, Trials
from engine.frontier.front import front_rows
from engine.metrics import DEVICE_METRICS, METRICS, shown, text_of
from engine.trials.metric_values import metric_value
from engine.trials.text import is_estimated, metric_range
from engine.trials.trial import Trial

FITS = "fits"
CELL_KEYS = (FITS, *(key for key in METRICS if key in DEVICE_METRICS))
"""What a heat map can show: whether a recipe fits, or one of the metrics that are a device's."""
MOST_ROWS = 40
ROW_PX, CELL_PX = 42, 22


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

    `left_out` counts the recipes beyond the most that are drawn, `front_left_out` those of them that are on some device's frontier.
    """

    key: str
    title: str
    trial_ids: tuple[str, ...]
    recipes: tuple[str, ...]
    devices: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    left_out: int = 0
    front_left_out: int = 0


def heat_map_info(
    seen: Sequence[Trial], devices: Sequence[str], key: str = "latency_ms", currency: str = "¤"
) -> HeatMapInfo:
    """Everything that `heat_map_figure` draws of finished trials that carry what every device says of them; `key` is one of `CELL_KEYS`.

    At most `MOST_ROWS` recipes, in their order: first those that are on some device's frontier of accuracy and the key, and of more than
    that a sample that is even in accuracy. Raises ValueError for another key.
    """
    if key not in CELL_KEYS:
        raise ValueError(f"{key!r} is not one of {', '.join(CELL_KEYS)}")
    table = Trials.of(seen)
    rows, front_left_out = _most_telling(table, devices, key)
    drawn = list(table.take(rows))
    metric = METRICS.get(key)
    unit = "" if metric is None or not metric.unit else f" ({metric.unit.replace('¤', currency)})"
    return HeatMapInfo(
        key=key,
        title="Fits the device" if metric is None else f"{metric.name}{unit}",
        trial_ids=tuple(t.id for t in drawn),
        recipes=tuple(t.label for t in drawn),
        devices=tuple(devices),
        cells=tuple(tuple(_cell(t, device, key, currency) for device in devices) for t in drawn),
        left_out=len(table) - len(drawn),
        front_left_out=front_left_out,
    )


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
        return Cell(
            None, "–" if projection.fits else "does not fit", fits, f"{head}<br>{html.escape(projection.reason)}"
        )
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
    values = np.array([[np.nan if c.value is None else c.value for c in row] for row in info.cells], np.float64)
    values = values.reshape(len(info.recipes), len(info.devices))
    coloured = values if info.key == FITS else np.log10(np.where(values > 0, values, np.nan))
    figure = go.Figure()
    # What does not fit gets a flat grey below the colours: an empty cell would look like a value that is only missing.
    barred = np.array([[np.nan if c.fits else 0.0 for c in row] for row in info.cells]).reshape(values.shape)
    identity = [[[trial_id, device] for device in info.devices] for trial_id in info.trial_ids]
    common: dict[str, Any] = {
        "x": list(info.devices),
        "y": list(range(len(info.recipes))),
        "customdata": identity,
        "text": [[c.text for c in row] for row in info.cells],
        "hovertext": [[c.hover for c in row] for row in info.cells],
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
        height=height or 190 + ROW_PX * len(info.recipes),
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
        yaxis={"visible": False, "range": [len(info.recipes) - 0.45, -0.75]},
        # A recipe's name stands above its cells, so that these have the whole width, on a telephone too.
        annotations=[
            {
                "text": html.escape(name),
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": row - 0.5,
                "yanchor": "middle",
                "showarrow": False,
                "font": {"size": 12},
            }
            for row, name in enumerate(info.recipes)
        ],
    )
    return figure


def _log_ticks(coloured: Any, key: str) -> dict[str, Any]:
    finite = coloured[np.isfinite(coloured)]
    if key == FITS or not finite.size:
        return {}
    powers = range(math.floor(float(finite.min())), math.ceil(float(finite.max())) + 1)
    return {"tickvals": list(powers), "ticktext": [f"{10.0**p:,.10g}" for p in powers]}


def heat_map_alt(info: HeatMapInfo) -> str:
    """The heat map in two sentences, for those who cannot see it."""
    cells = [c for row in info.cells for c in row]
    barred = sum(not c.fits for c in cells)
    return (
        f"Heat map of {info.title.lower()}: {len(info.recipes)} recipes on {len(info.devices)} devices. "
        f"{barred} of {len(cells)} pairs do not fit; pointing at one says why."
    )
