"""Trials and device profiles -> plotly figures and table rows. As in `figures.py`, an `..._info` computes and a small function draws."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.cost import Scenario, under
from engine.devices import Check, ErrorLine, with_projections
from engine.figures import BLUE, COLOUR_SCALE, GREEN, GREY, ORANGE, PINK
from engine.record import DEVICE_METRICS, METRICS, Trial, metric_value
from engine.selection import best_under
from engine.words import is_estimated, metric_range, shown, text_of

FITS = "fits"
CELL_KEYS = (FITS, *(key for key in METRICS if key in DEVICE_METRICS))
"""What a heat map can show: whether a recipe fits, or one of the metrics that are a device's."""
_CLASS_COLOURS = {"microcontroller": BLUE, "accelerator": ORANGE, "application": GREEN}
_CLASS_SYMBOLS = {"microcontroller": "circle", "accelerator": "diamond", "application": "square"}


@dataclass(frozen=True)
class Cell:
    """One recipe on one device: the value in the unit shown, None where it does not fit or nothing is known; `hover` is escaped HTML."""

    value: float | None
    text: str
    fits: bool
    hover: str


@dataclass(frozen=True)
class HeatMapInfo:
    """Recipes down, devices across. `cells[i][j]` is trial i on device j; `title` says what the values are, with their unit."""

    key: str
    title: str
    trial_ids: tuple[str, ...]
    recipes: tuple[str, ...]
    devices: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]


def on_devices(trials: Sequence[Trial], devices: Sequence[str], scenario: Scenario | None = None) -> tuple[Trial, ...]:
    """Finished trials with what every device says of them and, under a scenario, what a million inferences on each take.

    Trials that do not say what they ask of a device keep the projections that they have.
    """
    made = with_projections([t for t in trials if t.state == "done"], devices)
    for device in devices if scenario else ():
        made = under(_on(scenario, device), made)
    return made


def _on(scenario: Scenario | None, device: str) -> Scenario:
    assert scenario is not None, "only called under a scenario"
    return Scenario(**{**vars(scenario), "device": device})


def heat_map_info(
    trials: Sequence[Trial], devices: Sequence[str], key: str = "latency_ms", scenario: Scenario | None = None
) -> HeatMapInfo:
    """Everything that `heat_map_figure` draws; `key` is one of `CELL_KEYS`. Raises ValueError for another."""
    if key not in CELL_KEYS:
        raise ValueError(f"{key!r} is not one of {', '.join(CELL_KEYS)}")
    seen = on_devices(trials, devices, scenario)
    metric = METRICS.get(key)
    unit = "" if metric is None or not metric.unit else f" ({_unit(metric.unit, scenario)})"
    return HeatMapInfo(
        key=key,
        title="Fits the device" if metric is None else f"{metric.name}{unit}",
        trial_ids=tuple(t.id for t in seen),
        recipes=tuple(t.label for t in seen),
        devices=tuple(devices),
        cells=tuple(tuple(_cell(t, device, key, scenario) for device in devices) for t in seen),
    )


def _unit(unit: str, scenario: Scenario | None) -> str:
    return unit.replace("¤", scenario.currency) if scenario else unit


def _cell(trial: Trial, device: str, key: str, scenario: Scenario | None) -> Cell:
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
        lines.append(f"{METRICS[name].name}: {_unit(text_of(name, value), scenario)}{between}{told}")
    hover = "<br>".join(lines)
    if key == FITS:
        return Cell(1.0, "fits", True, hover)
    value = metric_value(trial, key, device)
    # A roofline says how much at least.
    bound = "≥ " if projection and projection.source == "datasheet" and value is not None else ""
    text = f"{bound}{_unit(text_of(key, value), scenario)}"
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
        "ygap": 2,
    }
    figure.add_trace(go.Heatmap(z=barred, colorscale=[[0, GREY], [1, GREY]], showscale=False, opacity=0.45, **common))
    bar = {"title": {"text": info.title, "side": "right"}, "thickness": 12, **_log_ticks(coloured, info.key)}
    scale = [[0, GREEN], [1, GREEN]] if info.key == FITS else COLOUR_SCALE
    figure.add_trace(
        go.Heatmap(
            z=coloured,
            colorscale=scale,
            colorbar=bar,
            showscale=info.key != FITS,
            texttemplate="%{text}" if len(info.devices) <= 12 else None,
            **common,
        )
    )
    figure.update_layout(
        height=height or 140 + 26 * len(info.recipes),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        xaxis={"automargin": True, "side": "top", "tickangle": -40},
        # Two recipes may bear one label, so rows are numbered and the labels are their ticks.
        yaxis={
            "automargin": True,
            "autorange": "reversed",
            "tickvals": list(range(len(info.recipes))),
            "ticktext": list(info.recipes),
        },
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
        f"{barred} of {len(cells)} pairs do not fit; the table says why."
    )


def best_rows(
    trials: Sequence[Trial], devices: Sequence[str], limits: Mapping[str, float], scenario: Scenario | None = None
) -> list[dict[str, str]]:
    """The most accurate recipe that fits each device under the limits (metric -> least or most, base units), as text."""
    seen = on_devices(trials, devices, scenario)
    rows = []
    for device in devices:
        fitting = [t for t in seen if device not in t.projections or t.projections[device].fits]
        best = best_under(fitting, limits, device)
        row = {"Device": device, "Best recipe": best.label if best else "none keeps the limits"}
        if not fitting:
            row["Best recipe"] = "none fits"
        for key in ("accuracy", "size_bytes", "latency_ms", "energy_mj"):
            text = text_of(key, metric_value(best, key, device)) if best else "–"
            projection = best.projections.get(device) if best else None
            if key in DEVICE_METRICS and text != "–" and projection and projection.source == "datasheet":
                row[METRICS[key].name] = f"≥ {text}, a bound"
                continue
            row[METRICS[key].name] = (
                f"{text}, estimated" if best and text != "–" and is_estimated(best, key, device) else text
            )
        rows.append(row)
    return rows


@dataclass(frozen=True)
class ValidationInfo:
    """Left-out values: what a fit that had not seen them said, against what was published. `quantity` is latency_ms or energy_mj."""

    quantity: str
    checks: tuple[Check, ...]

    @property
    def within_20_percent(self) -> float:
        """Share of values that were predicted to within a fifth."""
        return float(np.mean([abs(math.expm1(c.log_error)) <= 0.2 for c in self.checks])) if self.checks else math.nan


def validation_info(checks: Sequence[Check], quantity: str = "latency_ms") -> ValidationInfo:
    """The checks of one quantity."""
    return ValidationInfo(quantity, tuple(c for c in checks if c.quantity == quantity))


def validation_figure(info: ValidationInfo, height: int = 480) -> go.Figure:
    """Predicted against published, both in logarithms, with the line of no error and a band of 20 %."""
    metric = METRICS[info.quantity]
    ends = [
        min(min(c.predicted, c.published) for c in info.checks),
        max(max(c.predicted, c.published) for c in info.checks),
    ]
    line = [ends[0] / 1.5, ends[1] * 1.5]
    figure = go.Figure()
    for factor, name in ((1.2, "20 % over"), (1 / 1.2, "20 % under"), (1.0, "no error")):
        style = {"color": GREY, "width": 1.5, "dash": "solid" if factor == 1 else "dot"}
        figure.add_trace(
            go.Scatter(
                x=line,
                y=[v * factor for v in line],
                mode="lines",
                line=style,
                name=name,
                hoverinfo="skip",
                showlegend=False,
            )
        )
    for device_class in dict.fromkeys(c.row.device_class for c in info.checks):
        of = [c for c in info.checks if c.row.device_class == device_class]
        figure.add_trace(
            go.Scatter(
                x=[c.published for c in of],
                y=[c.predicted for c in of],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [c.high - c.predicted for c in of],
                    "arrayminus": [c.predicted - c.low for c in of],
                    "thickness": 0.8,
                    "width": 0,
                },
                mode="markers",
                name=device_class,
                marker={
                    "color": _CLASS_COLOURS.get(device_class, PINK),
                    "symbol": _CLASS_SYMBOLS.get(device_class, "x"),
                    "size": 8,
                },
                hovertext=[_check_hover(c) for c in of],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    axis = {"type": "log", "automargin": True, "zeroline": False}
    figure.update_layout(
        xaxis={**axis, "title": {"text": f"published {metric.name.lower()} ({metric.unit})"}},
        yaxis={**axis, "title": {"text": f"predicted {metric.name.lower()} ({metric.unit}), 90 % range"}},
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hovermode="closest",
    )
    return figure


def _check_hover(check: Check) -> str:
    row = check.row
    key = check.quantity
    predicted, low, high, published = (
        text_of(key, v, unit=False) for v in (check.predicted, check.low, check.high, check.published)
    )
    return (
        f"<b>{html.escape(row.board)}</b>, {html.escape(row.framework or 'own runtime')}<br>{html.escape(row.model)}, {row.precision}<br>"
        f"published {published}, predicted {predicted} ({low} to {high}) {METRICS[key].unit}, {math.expm1(check.log_error):+.0%}"
    )


def validation_alt(info: ValidationInfo) -> str:
    """The scatter chart in one sentence."""
    return (
        f"Predicted against published {METRICS[info.quantity].name.lower()} of {len(info.checks)} left-out values; "
        f"{info.within_20_percent:.0%} lie within 20 %."
    )


def error_rows(lines: Sequence[ErrorLine]) -> list[dict[str, Any]]:
    """The error table for people; shares as percentages."""
    names = {"own": "this device", "everywhere": "all devices"}
    quantities = {"latency_ms": "latency", "energy_mj": "energy"}
    rows = []
    for line in lines:
        found = asdict(line)
        rows.append(
            {
                "Devices": line.device_class,
                "Quantity": quantities[line.quantity],
                "Network left out of": names[line.left_out],
                "Values": line.values,
                **{
                    title: round(found[key] * 100, 1)
                    for title, key in (
                        ("Mean error (%)", "mape"),
                        ("Median error (%)", "median"),
                        ("In the 90 % range (%)", "coverage"),
                    )
                },
            }
        )
    return rows
