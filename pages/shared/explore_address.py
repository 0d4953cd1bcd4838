"""The address of Explore <-> a typed view. Whatever an address says, the result is a view that can be shown.

?sweep=ID&x=METRIC&y=METRIC&colour=METRIC&device=PROFILE&trial=ID&min_accuracy=0.9&max_size_bytes=100000
&option=KEY&imported=1&chart=SHAPE&z=METRIC&size=METRIC&metrics=METRIC,METRIC,METRIC&zoom=x~0.04~0.12~y~88~93
and what narrows the page down (`narrowing_address.py`)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from engine.figures.many_metrics_info import LEAST_METRICS, MOST_AXES
from engine.frontier.columns import Trials
from engine.frontier.recommendation import View
from engine.metrics import METRICS, is_score
from pages.shared import narrowing_address
from pages.shared.narrowing_address import Columns, Narrowing

LIMITED = ("accuracy", "size_bytes", "latency_ms", "energy_mj")
"""The metrics that always have a limit slider; any other gets one when it is limited."""


def limited(trials: Trials) -> tuple[str, ...]:
    """As `LIMITED`, of trials that may be judged by something else than accuracy."""
    return tuple(trials.judged_by if key == "accuracy" else key for key in LIMITED)


LONGEST = 200
"""Longer values in an address are not ours."""

SHAPES = {
    "frontier": "Frontier",
    "3d": "3-D",
    "parallel": "Parallel",
    "matrix": "Matrix",
    "map": "Map of steps",
    "progress": "Progress",
}
"""The charts of Explore, by their name in an address."""


@dataclass(frozen=True)
class Chart:
    """Which chart, and what only some of them show: a third axis, a metric for the size of marks, the metrics that share one picture.

    None and () are the defaults: `third_axis`, one size, and the metrics that every sweep has.
    """

    shape: str = "frontier"
    z: str | None = None
    size: str | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explore:
    """What the Explore page shows. `sweep` and `trial` are names from the address: they may not exist."""

    sweep: str | None = None
    trial: str | None = None
    view: View = field(default_factory=View)
    chart: Chart = Chart()
    zoom: Mapping[str, Any] = field(default_factory=dict)
    """How far in the chart is: axis of Plotly's -> its two ends, and `camera` -> eye, center and up of a view in space; see `zoom_of`."""
    option: str | None = None
    """The option whose recipes are lit (`Contrast.key`); it need not exist."""
    narrowing: Narrowing = field(default_factory=Narrowing)
    columns: Columns = field(default_factory=Columns)


def limit_name(key: str) -> str:
    """The name in the address of a metric's limit."""
    return f"{'min' if METRICS[key].maximise else 'max'}_{key}"


def _limit(key: str, text: str | None) -> float | None:
    """A finite number in base units, not negative unless the metric is a difference, or a sweep's own; None for anything else."""
    try:
        value = float(text) if text and len(text) <= LONGEST else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and (value >= 0 or METRICS[key].unit == "points" or is_score(key)) else None


_AXIS = re.compile(r"([xy])(?:axis)?([0-9]{0,3})")
_CAMERA = ("eye", "center", "up")
# Beyond any number that a chart shows; nan compares as False.
_FARTHEST = 1e15
# Two numbers for each axis of the largest matrix.
_LONGEST_ZOOM = 3 * LONGEST


def zoom_of(axes: object, camera: object) -> dict[str, Any]:
    """A zoom made of what came from a browser, which may be anything; what is no axis with two ends, or no camera, is left out."""
    found: dict[str, Any] = {
        f"{known[1]}axis{known[2]}": [float(v) for v in ends]
        for name, ends in (axes.items() if isinstance(axes, Mapping) else ())
        if isinstance(name, str) and (known := _AXIS.fullmatch(name)) and _numbers(ends, 2) and ends[0] != ends[1]
    }
    parts = {part: camera.get(part) for part in _CAMERA} if isinstance(camera, Mapping) else {}
    places: dict[str, list[Any]] = {
        part: [at.get(k) for k in "xyz"] for part, at in parts.items() if isinstance(at, Mapping)
    }
    if len(places) == len(_CAMERA) and all(_numbers(place, 3) for place in places.values()):
        found["camera"] = {part: dict(zip("xyz", map(float, place), strict=True)) for part, place in places.items()}
    return found


def _numbers(found: object, count: int) -> bool:
    return (
        isinstance(found, list | tuple)
        and len(found) == count
        and all(isinstance(v, int | float) and abs(v) <= _FARTHEST for v in found)
    )


def zoom_text(zoom: Mapping[str, Any]) -> str:
    """A zoom in an address: each axis, or part of a camera, followed by its numbers; empty for none, and for one that is too long."""
    parts: dict[str, list[float]] = {}
    for name, value in zoom.items():
        if name == "camera":
            parts |= {part: [value[part][k] for k in "xyz"] for part in _CAMERA}
        else:
            parts[name.replace("axis", "")] = value
    text = "~".join(f"{name}~{'~'.join(f'{v:.9g}' for v in values)}" for name, values in parts.items())
    return text if len(text) <= _LONGEST_ZOOM else ""


def _zoom(text: str | None) -> dict[str, Any]:
    """The inverse of `zoom_text`."""
    words = text.split("~") if text and len(text) <= _LONGEST_ZOOM else []
    starts = [i for i, word in enumerate(words) if word in _CAMERA or _AXIS.fullmatch(word)]
    try:
        parts = {words[a]: [float(w) for w in words[a + 1 : b]] for a, b in pairwise([*starts, len(words)])}
    except ValueError:
        return {}
    camera = {part: dict(zip("xyz", parts.pop(part), strict=False)) for part in _CAMERA if part in parts}
    return zoom_of(parts, camera)


def third_axis(view: View, measured: Sequence[str] = ()) -> str:
    """The metric of the third axis where none is chosen: of those `measured`, where that is known and there is another."""
    usual = [k for k in ("size_bytes", "latency_ms", "accuracy") if k not in (view.x, view.y)]
    there = [k for k in measured if k not in (view.x, view.y)]
    return next((k for k in [*usual, "params", "macs"] if k in there), next(iter(there), usual[0]))


def _chart(params: Mapping[str, str], view: View) -> Chart:
    def metric(key: str) -> str | None:
        value = params.get(key)
        return value if value in METRICS else None

    shape, z = params.get("chart", ""), metric("z")
    asked = params.get("metrics", "")
    # Split only as far as it can be ours.
    names = asked.split(",", MOST_AXES)[:MOST_AXES] if len(asked) <= 2 * LONGEST else []
    metrics = tuple(k for k in dict.fromkeys(names) if k in METRICS)
    return Chart(
        shape=shape if shape in SHAPES else Chart.shape,
        z=None if z in (view.x, view.y, third_axis(view)) else z,
        size=metric("size"),
        metrics=metrics if len(metrics) >= LEAST_METRICS else (),
    )


def parse(params: Mapping[str, str]) -> Explore:
    """An address's parameters -> view state; what is unknown or impossible in them is left out."""

    def name(key: str) -> str | None:
        value = params.get(key)
        return value if value and len(value) <= LONGEST and value.isprintable() else None

    def metric(key: str, default: str) -> str:
        return value if (value := name(key)) in METRICS and value is not None else default

    own = [key for name in params if len(name) <= LONGEST and is_score(key := name.partition("_")[2])]
    limits = {key: _limit(key, params.get(limit_name(key))) for key in (*METRICS, *own)}
    x, y = metric("x", View.x), metric("y", View.y)
    colour = name("colour")
    view = View(
        x=x,
        # A metric against itself is a line; the other default says more.
        y=y if y != x else (View.y if x != View.y else View.x),
        colour=colour if colour in METRICS else None,
        device=name("device") or View.device,
        limits={key: value for key, value in limits.items() if value is not None},
        imported=params.get("imported") == "1",
    )
    narrowing, columns = narrowing_address.parse(params)
    return Explore(
        sweep=name("sweep"),
        trial=name("trial"),
        view=view,
        chart=_chart(params, view),
        zoom=_zoom(params.get("zoom")),
        option=found if (found := params.get("option")) and _OPTION.fullmatch(found) else None,
        narrowing=narrowing,
        columns=columns,
    )


_OPTION = re.compile(r"[0-9a-f]{8}")


def to_params(state: Explore) -> dict[str, str]:
    """The inverse of `parse`; defaults are left out so that links stay short."""
    view, default, chart = state.view, View(), state.chart
    pairs: dict[str, str | None] = {
        "sweep": state.sweep,
        "x": view.x if view.x != default.x else None,
        "y": view.y if view.y != default.y else None,
        "colour": view.colour,
        "device": view.device if view.device != default.device else None,
        "chart": chart.shape if chart.shape != Chart.shape else None,
        "z": chart.z,
        "size": chart.size,
        "metrics": ",".join(chart.metrics) or None,
        "zoom": zoom_text(state.zoom) or None,
        "imported": "1" if view.imported else None,
        "trial": state.trial,
        "option": state.option,
        **{limit_name(key): f"{limit:.9g}" for key, limit in view.limits.items()},
        **narrowing_address.to_params(state.narrowing, state.columns),
    }
    return {key: value for key, value in pairs.items() if value is not None}
