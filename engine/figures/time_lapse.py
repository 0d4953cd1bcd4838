"""The frontier as it grew while recipes were measured, to be played: a pure `..._info` computes, a small function draws.

Frames are of as many recipes each, so that every one has something new; the slider says when that was. What is beaten is a sample where
there are very many; the frontier of every frame is that of all recipes finished by then, and is whole.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREY, _axis
from engine.figures.frontier_info import MOST_DRAWN, is_log, shown_all
from engine.figures.style import TEXT
from engine.frontier import dominance
from engine.frontier.columns import Trials
from engine.frontier.dominance import Floats
from engine.frontier.front import check_one_machine
from engine.frontier.recommendation import View
from engine.frontier.thinning import thin
from engine.metrics import METRICS, axis_title
from engine.trials.text import duration
from engine.trials.trial import Trial

MOST_FRAMES = 60
_FRAME_MS = 150
_LINE = "rgba(140, 149, 163, 0.5)"


@dataclass(frozen=True)
class Frame:
    """When `recipes` were measured, after `seconds` of running: `drawn` of the cloud are there, and the rows of the frontier, by x."""

    seconds: float
    recipes: int
    drawn: int
    front: tuple[int, ...]


@dataclass(frozen=True)
class TimeLapseInfo:
    """`places` (n, 2) of all timed recipes in the order in which they were finished, x and y in shown units, with their names; `cloud`:
    which of them are drawn where they are beaten. `untimed` finished trials have no finish time, and are not in it.
    """

    view: View
    places: Floats
    labels: tuple[str, ...]
    cloud: tuple[int, ...]
    frames: tuple[Frame, ...]
    titles: tuple[str, str]
    untimed: int


def time_lapse_info(trials: Sequence[Trial], view: View) -> TimeLapseInfo:
    """The frames of the view's two axes; limits are no part of it. Raises SpecError where two machines' times would come onto one axis."""
    done = Trials.of(trials).done
    keys = (view.x, view.y)
    check_one_machine(done, keys, view.device)
    points = done.points(keys, view.device)
    seconds = np.array([math.nan if s is None else s for s in done.fact("finished_s")], np.float64)
    complete = np.isfinite(points).all(axis=1)
    rows = np.flatnonzero(complete & np.isfinite(seconds))
    rows = rows[np.argsort(seconds[rows], kind="stable")]
    places = np.stack([shown_all(k, points[rows, i]) for i, k in enumerate(keys)], axis=1)
    screen = places
    if len(rows):
        logs = [is_log(k, (float(v.min()), float(v.max()))) for k, v in zip(keys, places.T, strict=True)]
        screen = np.stack([np.log(v) if log else v for log, v in zip(logs, places.T, strict=True)], axis=1)
    cloud = np.flatnonzero(thin(screen, np.zeros(len(rows), np.intp), MOST_DRAWN, all_of=0)) if len(rows) else rows
    return TimeLapseInfo(
        view=view,
        places=places,
        labels=tuple(str(name) for name in done.fact("label")[rows]),
        cloud=tuple(cloud.tolist()),
        frames=tuple(_frames(seconds[rows], points[rows], cloud, [METRICS[k].maximise for k in keys])),
        titles=(axis_title(view.x, view.device), axis_title(view.y, view.device)),
        untimed=int(complete.sum()) - len(rows),
    )


def _frames(seconds: Floats, points: Floats, cloud: Any, up: Sequence[bool]) -> list[Frame]:
    count = min(MOST_FRAMES, len(points))
    found, front = [], np.empty(0, np.intp)
    last = 0
    for number in range(1, count + 1):
        end = number * len(points) // count
        # Who was beaten stays beaten: only the frontier before and what is new can be on it.
        candidates = np.concatenate([front, np.arange(last, end)])
        front = candidates[dominance.non_dominated(points[candidates], up)]
        front = front[np.argsort(points[front, 0], kind="stable")]
        drawn = int(np.searchsorted(cloud, end))
        found.append(Frame(float(seconds[end - 1]), end, drawn, tuple(front.tolist())))
        last = end
    return found


def time_lapse_figure(info: TimeLapseInfo, height: int = 500) -> go.Figure:
    """The last frame, with a slider and buttons to play and to stop; the axes are those of the whole from the beginning."""
    view = info.view
    spans = [(float(v.min()), float(v.max())) if len(v) else (1.0, 1.0) for v in info.places.T]
    axes = [
        _axis(t, k, s) | {"range": _range(k, s)} for t, k, s in zip(info.titles, (view.x, view.y), spans, strict=True)
    ]
    frames = [
        {"name": str(i), "traces": [0, 1, 2], "data": _traces(info, frame)} for i, frame in enumerate(info.frames)
    ]
    return go.Figure(
        data=_traces(info, info.frames[-1]) if info.frames else [],
        frames=frames,
        layout={
            "xaxis": axes[0],
            "yaxis": axes[1],
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 20, "b": 170},
            "hovermode": "closest",
            "showlegend": False,
            "updatemenus": [_buttons()],
            "sliders": [_slider(info)],
        },
    )


def _traces(info: TimeLapseInfo, frame: Frame) -> list[dict[str, Any]]:
    # Single precision is enough for a screen, and goes to the browser as bytes.
    cloud = info.places[list(info.cloud[: frame.drawn])].astype(np.float32)
    front = info.places[list(frame.front)]
    shape = "vh" if METRICS[info.view.x].maximise else "hv"
    marks = {"symbol": "circle-open", "size": 6, "color": GREY, "line": {"width": 1, "color": GREY}}
    return [
        {"type": "scatter", "x": cloud[:, 0], "y": cloud[:, 1], "mode": "markers", "marker": marks, "hoverinfo": "skip"},
        {
            "type": "scatter", "x": front[:, 0], "y": front[:, 1], "mode": "lines", "hoverinfo": "skip",
            "line": {"shape": shape, "width": 2, "color": BLUE},
        },
        {
            "type": "scatter", "x": front[:, 0], "y": front[:, 1], "mode": "markers", "marker": {"size": 10, "color": BLUE},
            "hovertext": [html.escape(info.labels[i]) for i in frame.front],
            "hovertemplate": "%{hovertext}<extra></extra>",
        },
    ]  # fmt: skip


def _range(key: str, span: tuple[float, float]) -> tuple[float, float]:
    """A little more than the whole."""
    low, high = (math.log10(v) for v in span) if is_log(key, span) else span
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _buttons() -> dict[str, Any]:
    # No redraw and no transition: marks appear where they are, and do not travel.
    play = {"frame": {"duration": _FRAME_MS, "redraw": False}, "transition": {"duration": 0}, "fromcurrent": False}
    stop = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate", "transition": {"duration": 0}}
    return {
        "type": "buttons", "direction": "left", "showactive": False, "x": 0, "xanchor": "left", "y": -0.24, "yanchor": "top",
        "pad": {"t": 0, "r": 8}, "bgcolor": "rgba(0, 0, 0, 0)", "bordercolor": _LINE, "font": {"color": TEXT},
        "buttons": [
            {"label": "▶ Play", "method": "animate", "args": [None, play]},
            {"label": "❚❚ Pause", "method": "animate", "args": [[None], stop]},
        ],
    }  # fmt: skip


def _slider(info: TimeLapseInfo) -> dict[str, Any]:
    jump = {"frame": {"duration": 0, "redraw": False}, "mode": "immediate", "transition": {"duration": 0}}
    return {
        "active": max(0, len(info.frames) - 1), "x": 0, "len": 1, "y": -0.42, "yanchor": "top", "pad": {"t": 0},
        "currentvalue": {"prefix": "", "visible": True, "xanchor": "left", "offset": 6, "font": {"color": TEXT, "size": 12}},
        "bgcolor": _LINE, "activebgcolor": BLUE, "bordercolor": _LINE, "tickcolor": _LINE, "font": {"color": "rgba(0, 0, 0, 0)", "size": 1},
        "ticklen": 0, "minorticklen": 0,
        "steps": [
            {"label": frame_text(frame), "method": "animate", "args": [[str(i)], jump]} for i, frame in enumerate(info.frames)
        ],
    }  # fmt: skip


def frame_text(frame: Frame) -> str:
    """When a frame is, and what there is by then."""
    return f"{duration(frame.seconds)}: {frame.recipes:,} measured, {len(frame.front)} on the frontier"


def time_lapse_text(info: TimeLapseInfo) -> str:
    """What is not drawn, in words; empty where all is."""
    texts = []
    if len(info.cloud) < len(info.labels):
        texts.append(
            f"{len(info.cloud):,} of {len(info.labels):,} recipes are drawn as marks; the frontier of every moment is that of all."
        )
    if info.untimed:
        texts.append(f"{info.untimed:,} more have no finish time and are not in it.")
    return " ".join(texts)


def time_lapse_alt(info: TimeLapseInfo) -> str:
    """The animation in two sentences."""
    if not info.frames:
        return "Time-lapse of the frontier: nothing to play yet."
    first, last = info.frames[0], info.frames[-1]
    return (
        f"Time-lapse of {info.titles[1]} against {info.titles[0]} in {len(info.frames)} frames. The frontier has {len(first.front)} "
        f"recipes after {duration(first.seconds)} and {len(last.front)} of {last.recipes:,} after {duration(last.seconds)}."
    )
