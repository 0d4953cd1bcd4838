"""How far device profiles are to be trusted, as a figure and a table, and the best recipe for each device.

As in `frontier.py`, an `..._info` computes and a small function draws.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.devices.validation import Check, ErrorLine
from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE, PINK
from engine.frontier.columns import Trials
from engine.frontier.front import best_under
from engine.metrics import DEVICE_METRICS, METRICS, text_of
from engine.trials.metric_values import metric_value
from engine.trials.text import is_estimated
from engine.trials.trial import Trial

_CLASS_COLOURS = {"microcontroller": BLUE, "accelerator": ORANGE, "application": GREEN}
_CLASS_SYMBOLS = {"microcontroller": "circle", "accelerator": "diamond", "application": "square"}


def best_rows(seen: Sequence[Trial], devices: Sequence[str], limits: Mapping[str, float]) -> list[dict[str, str]]:
    """The most accurate recipe that fits each device under the limits (metric -> least or most, base units), as text.

    `seen` are finished trials that carry what every device says of them.
    """
    rows, table = [], Trials.of(seen)
    for device in devices:
        fitting = table.take(table.fits(device))
        best = best_under(fitting, limits, device)
        row = {"Device": device, "Best recipe": best.label if best else "none measured keeps the limits"}
        if not len(fitting):
            row["Best recipe"] = "none fits"
        for key in (table.judged_by, "size_bytes", "latency_ms", "energy_mj"):
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
