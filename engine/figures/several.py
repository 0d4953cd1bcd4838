"""Several sweeps on one chart: a colour and a symbol for each, its own frontier, and the joint one. A pure `..._info` computes."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREEN, ORANGE, PINK, VIOLET, _axis
from engine.figures.frontier_info import MOST_DRAWN, is_log, number_line, shown_all
from engine.frontier.several import Several
from engine.frontier.thinning import thin
from engine.metrics import METRICS, axis_title

STYLES = (
    (BLUE, "circle"), (ORANGE, "diamond"), (GREEN, "square"), (PINK, "triangle-up"), (VIOLET, "pentagon"), ("#8B6B3D", "star"),
)  # fmt: skip
"""Colour and symbol of each sweep, in their order; open where a recipe is beaten in its own sweep."""


@dataclass(frozen=True)
class Marks:
    """One sweep as it is drawn: marks (n,) with their ids and hover texts, `front` (n,) says which are on its own frontier.

    `total`: how many of it have both numbers, drawn or not.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    ids: tuple[str, ...]
    hover: tuple[str, ...]
    front: tuple[bool, ...]
    total: int


@dataclass(frozen=True)
class SeveralInfo:
    """What the chart draws, in shown units; `joint` is the joint frontier in the order of x, empty where there is none."""

    sweeps: tuple[Marks, ...]
    joint: tuple[tuple[float, float], ...]
    keys: tuple[str, str]
    titles: tuple[str, str]
    spans: tuple[tuple[float, float], tuple[float, float]]
    device: str


def several_info(found: Several) -> SeveralInfo:
    """Places, names and standings of the recipes, or of very many a sample that is even over the chart, with every frontier whole.

    The first objective is upright, the second across.
    """
    y, x = found.objectives[:2]
    places = [np.stack([shown_all(k, t.numbers(k, found.device).value) for k in (x, y)], axis=1) for t in found.trials]
    there = [np.flatnonzero(np.isfinite(p).all(axis=1)) for p in places]
    together = np.concatenate([p[rows] for p, rows in zip(places, there, strict=True)])
    spans = tuple((float(v.min()), float(v.max())) if len(v) else (1.0, 1.0) for v in together.T)
    sweeps = tuple(
        _marks(found, i, places[i], there[i], (x, y), spans, MOST_DRAWN // len(places)) for i in range(len(places))
    )
    joint = sorted((float(places[i][row, 0]), float(places[i][row, 1])) for i, row in found.joint)
    estimated = [any(t.numbers(k, found.device).estimated.any() for t in found.trials) for k in (x, y)]
    titles = axis_title(x, found.device, estimated[0]), axis_title(y, found.device, estimated[1])
    return SeveralInfo(sweeps, tuple(joint), (x, y), titles, (spans[0], spans[1]), found.device)


def _marks(
    found: Several,
    i: int,
    places: Any,
    there: Any,
    keys: tuple[str, str],
    spans: Sequence[tuple[float, float]],
    most: int,
) -> Marks:
    trials, name = found.trials[i], found.names[i]
    is_front = np.zeros(len(trials), np.bool_)
    is_front[found.fronts[i]] = True
    rows = there
    if len(there) > most:
        screen = np.stack(
            [np.log(v) if is_log(k, s) else v for k, s, v in zip(keys, spans, places[there].T, strict=True)], axis=1
        )
        rows = there[thin(screen, (~is_front[there]).astype(np.intp), most)]
    columns = [(k, trials.numbers(k, found.device).take(rows)) for k in dict.fromkeys(reversed(keys))]
    labels = trials.fact("label")[rows]
    lead = f"<b>{html.escape(name)}</b>"
    hover = [
        "<br>".join((lead, html.escape(str(labels[n])), *(number_line(k, c, n) for k, c in columns)))
        for n in range(len(rows))
    ]
    x, y = places[rows].T
    ids = tuple(trials.ids[row] for row in rows)
    return Marks(
        name, tuple(x.tolist()), tuple(y.tolist()), ids, tuple(hover), tuple(is_front[rows].tolist()), len(there)
    )


def several_figure(info: SeveralInfo, sweep_ids: Sequence[str], height: int = 480) -> go.Figure:
    """The scatter; every mark carries the sweep's id and the trial's as `customdata`."""
    traces: list[dict[str, Any]] = []
    shape = "vh" if METRICS[info.keys[0]].maximise else "hv"
    if info.joint:
        x, y = zip(*info.joint, strict=True)
        line = {"shape": shape, "width": 7, "color": "rgba(115, 123, 136, 0.35)"}
        traces.append(
            {
                "type": "scatter",
                "x": x,
                "y": y,
                "mode": "lines",
                "line": line,
                "name": "joint frontier",
                "hoverinfo": "skip",
            }
        )
    for (colour, symbol), sweep, sweep_id in zip(STYLES, info.sweeps, sweep_ids, strict=False):
        traces += _traces(sweep, sweep_id, colour, symbol, shape)
    layout = {
        "xaxis": _axis(info.titles[0], info.keys[0], info.spans[0]),
        "yaxis": _axis(info.titles[1], info.keys[1], info.spans[1]),
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 50, "b": 48},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "itemsizing": "constant"},
        "hovermode": "closest",
        "uirevision": f"several {info.keys} {info.device}",
    }
    return go.Figure(traces, layout)


def _traces(sweep: Marks, sweep_id: str, colour: str, symbol: str, shape: str) -> list[dict[str, Any]]:
    """Its frontier as a line, and its marks: filled on the frontier, open and faint elsewhere; one entry in the legend for all."""
    on = [i for i, front in enumerate(sweep.front) if front]
    stairs = sorted(on, key=lambda i: (sweep.x[i], sweep.y[i]))
    group = {"legendgroup": sweep_id}
    found: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "x": [sweep.x[i] for i in stairs],
            "y": [sweep.y[i] for i in stairs],
            "mode": "lines",
            "line": {"shape": shape, "width": 2, "color": colour},
            "hoverinfo": "skip",
            "showlegend": False,
            **group,
        }
    ]
    rest = [i for i, front in enumerate(sweep.front) if not front]
    for rows, drawn, size, opacity in ((rest, f"{symbol}-open", 7, 0.55), (on, symbol, 11, 1.0)):
        found.append(
            {
                "type": "scatter",
                "x": [sweep.x[i] for i in rows],
                "y": [sweep.y[i] for i in rows],
                "mode": "markers",
                "name": html.escape(sweep.name),
                "showlegend": drawn == symbol,
                "marker": {"symbol": drawn, "size": size, "color": colour, "line": {"width": 1.5, "color": colour}},
                "opacity": opacity,
                "customdata": [[sweep_id, sweep.ids[i]] for i in rows],
                "hovertext": [sweep.hover[i] for i in rows],
                "hovertemplate": "%{hovertext}<extra></extra>",
                **group,
            }
        )
    return found


def several_alt(info: SeveralInfo) -> str:
    """The chart in two sentences."""
    each = ", ".join(f"{s.name} ({s.total} recipes, {sum(s.front)} on its frontier)" for s in info.sweeps)
    joint = f" {len(info.joint)} recipes are on the joint frontier." if info.joint else " There is no joint frontier."
    return f"Scatter chart of {info.titles[1]} against {info.titles[0]} of several sweeps: {each}.{joint}"


def drawn_text(info: SeveralInfo) -> str:
    """Which of very many recipes are drawn, in words; empty where all are."""
    drawn, total = sum(len(s.x) for s in info.sweeps), sum(s.total for s in info.sweeps)
    if drawn == total:
        return ""
    return f"{drawn:,} of {total:,} recipes are drawn, every frontier whole; all count for the comparison."
