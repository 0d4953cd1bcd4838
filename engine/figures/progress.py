"""How the frontier grew while recipes were measured: its hypervolume over time. A pure `..._info` computes, a small function draws.

The hypervolume is the area between the frontier and a reference point: whatever lies in it is beaten by a recipe that is there. It
grows when a recipe moves the frontier, and never shrinks (Zitzler and Thiele 1998, PPSN V).
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import BLUE
from engine.frontier import dominance
from engine.frontier.columns import Trials
from engine.frontier.front import objective_points
from engine.frontier.recommendation import View
from engine.metrics import METRICS, axis_title, shown, text_of
from engine.trials.text import duration
from engine.trials.trial import Trial

MOST_STEPS = 200
"""A sweep of more recipes is drawn in this many steps, of about as many recipes each."""


@dataclass(frozen=True)
class ProgressStep:
    """After `recipes` measured ones, at `seconds` of running: `share` of the box is dominated, in [0, 1], which is `area` in the product
    of the shown units of the axes. `trial_id` is the recipe of the step where it is one alone, `label` its name.
    """

    seconds: float
    recipes: int
    share: float
    area: float
    trial_id: str | None
    label: str


@dataclass(frozen=True)
class ProgressInfo:
    """What the chart draws. `reference` and `ideal` are the worst and the best measured value of (x, y), as people read them.

    `untimed` counts finished trials of which it was not kept when they were; they are not drawn.
    """

    view: View
    steps: tuple[ProgressStep, ...]
    titles: tuple[str, str]
    reference: tuple[str, str]
    ideal: tuple[str, str]
    unit: str
    untimed: int


def progress_info(trials: Sequence[Trial], view: View) -> ProgressInfo:
    """The hypervolume of the frontier of the view's two axes after each finished trial that has both, in the order they were finished.

    The reference point is the worst value measured so far on each axis, and shares are of the box from there to the best, as in
    `selection.Front`. Limits are no part of it. Raises SpecError where times of two machines would come onto one axis.
    """
    keys = (view.x, view.y)
    done = Trials.of(trials).done
    points = objective_points(done, keys, view.device)
    seconds = np.array([math.nan if s is None else s for s in done.fact("finished_s")], np.float64)
    complete = np.isfinite(points).all(axis=1)
    timed = np.flatnonzero(complete & np.isfinite(seconds))
    timed = timed[np.argsort(seconds[timed], kind="stable")]
    maximise = [METRICS[k].maximise for k in keys]
    worst = dominance.worst_corner(points[timed], maximise)
    best = dominance.worst_corner(points[timed], [not up for up in maximise])
    scale = [shown(k, 1.0) for k in keys]
    return ProgressInfo(
        view=view,
        steps=tuple(
            _steps(done.take(timed), seconds[timed], points[timed], worst, best, maximise, scale[0] * scale[1])
        ),
        titles=tuple(axis_title(k, view.device, bool(done.numbers(k, view.device).estimated.any())) for k in keys),  # type: ignore[arg-type]
        reference=(text_of(keys[0], float(worst[0])), text_of(keys[1], float(worst[1]))),
        ideal=(text_of(keys[0], float(best[0])), text_of(keys[1], float(best[1]))),
        unit=" × ".join(
            {"%": "points", "": METRICS[k].name.lower()}.get(METRICS[k].unit, METRICS[k].unit) for k in keys
        ),
        untimed=int(complete.sum()) - len(timed),
    )


def _steps(
    trials: Trials,
    seconds: dominance.Floats,
    points: dominance.Floats,
    worst: dominance.Floats,
    best: dominance.Floats,
    maximise: Sequence[bool],
    unit: float,
) -> list[ProgressStep]:
    """`points` (n, 2) in the order of time; `unit` is the product of the axes' units shown, in base units."""
    span = np.abs(best - worst)
    # An axis on which nothing differs yet is not divided by, as in `engine/frontier/front.py`.
    box = np.where(span > 0, span, 1.0)
    scaled = np.where(maximise, points - worst, worst - points) / box
    group = -(-len(trials) // MOST_STEPS)
    steps: list[ProgressStep] = []
    front = np.empty((0, 2))
    for start in range(0, len(trials), group or 1):
        end = min(len(trials), start + group)
        front = np.vstack([front, scaled[start:end]])
        front = front[dominance.non_dominated(front, [True, True])]
        share = dominance.hypervolume(front, [True, True], [0.0, 0.0])
        steps.append(
            ProgressStep(
                seconds=float(seconds[end - 1]),
                recipes=end,
                share=share,
                area=share * float(box[0] * box[1]) * unit,
                trial_id=trials.ids[end - 1] if group == 1 else None,
                label=str(trials.fact("label")[end - 1]) if group == 1 else f"{end - start} recipes",
            )
        )
    return steps


def progress_figure(info: ProgressInfo, height: int = 300) -> go.Figure:
    """Steps over the time that the sweep had been running; a mark is a recipe that was finished then."""
    most = max((s.seconds for s in info.steps), default=0.0)
    unit, name = (3600.0, "h") if most > 3 * 3600 else (60.0, "min") if most > 180 else (1.0, "s")
    figure = go.Figure(
        go.Scatter(
            x=[s.seconds / unit for s in info.steps],
            y=[100 * s.share for s in info.steps],
            mode="lines+markers",
            line={"shape": "hv", "width": 2, "color": BLUE},
            marker={"size": 7},
            name="hypervolume",
            customdata=[[s.trial_id] if s.trial_id else [] for s in info.steps],
            hovertext=[
                f"<b>{html.escape(s.label)}</b><br>after {duration(s.seconds)}, {s.recipes} measured<br>"
                f"{100 * s.share:.2f} % of the box, {s.area:,.4g} {info.unit}"
                for s in info.steps
            ],
            hovertemplate="%{hovertext}<extra></extra>",
        )
    )
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        xaxis={
            "title": {"text": f"Running time ({name})"},
            "automargin": True,
            "zeroline": False,
            "rangemode": "tozero",
        },
        yaxis={"title": {"text": "Hypervolume (%), better →"}, "automargin": True, "rangemode": "tozero"},
        hovermode="closest",
        showlegend=False,
        uirevision=f"progress {info.view.x} {info.view.y} {info.view.device}",
    )
    return figure


def progress_text(info: ProgressInfo) -> str:
    """Reference point and unit of the chart, in words."""
    left = f" {info.untimed} more have no finish time and are not in it." if info.untimed else ""
    return (
        f"100 % is the box from the worst values so far ({info.reference[0]}, {info.reference[1]}: the reference point) to the best "
        f"({info.ideal[0]}, {info.ideal[1]}) of {info.titles[0]} and {info.titles[1]}.{left}"
    )


HELP = (
    "How much of the plane the frontier covers: everything worse, on both axes, than some recipe that was measured. It rises when a "
    "recipe pushes the frontier out; when it stays flat for long, further recipes of this kind bring little. A new worst or best "
    "value changes the box, and the whole line with it."
)
"""What the chart means, in plain words."""


def progress_alt(info: ProgressInfo) -> str:
    """The chart in two sentences."""
    if not info.steps:
        return "Hypervolume of the frontier over time: nothing to draw yet."
    last = info.steps[-1]
    return (
        f"Line chart of the hypervolume of the frontier over the time that the sweep ran: {100 * info.steps[0].share:.1f} % of the box "
        f"after the first step, {100 * last.share:.1f} % after {last.recipes} recipes and {duration(last.seconds)}."
    )
