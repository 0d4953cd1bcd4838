"""The lineage map: recipes as a tree of steps from the baseline, each branch a choice, each mark a network that was measured.

As in Apple's Compress and Compare (Boggust et al. 2024, arXiv:2408.03274): what a step bought is seen along its branch.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import plotly.graph_objects as go

from engine.figures.frontier import COLOUR_SCALE, GREY, PINK, legend_entry
from engine.frontier.columns import Trials
from engine.frontier.recommendation import Choice
from engine.metrics import METRICS, axis_title, shown, text_of
from engine.spec.labels import step_label
from engine.spec.steps import Step
from engine.trials.metric_values import judged_by, metric_value
from engine.trials.text import is_estimated
from engine.trials.trial import Trial

MOST_NODES = 600
"""More marks than this cannot be told apart; the frontier's branches come first."""
_MOST_LABELS = 70
_SMALLEST, _LARGEST = 9.0, 30.0


@dataclass(frozen=True)
class LineageNode:
    """One prefix of recipes. `parent` is a position among the nodes; `x` its number of steps, `y` its row, both from 0.

    `trial_id` is None where no measured recipe of the sweep ends here. `colour` and `size` are in the units shown, None where not
    measured. `hover` is escaped HTML.
    """

    trial_id: str | None
    parent: int | None
    x: int
    y: float
    label: str
    colour: float | None
    size: float | None
    on_front: bool
    within_limits: bool
    hover: str
    is_leaf: bool = True


@dataclass(frozen=True)
class LineageInfo:
    """What the map draws; `left_out` counts measured recipes that are not on it."""

    nodes: tuple[LineageNode, ...]
    colour_title: str
    size_title: str
    left_out: int


def lineage_info(trials: Sequence[Trial], choice: Choice, colour: str, size: str) -> LineageInfo:
    """The tree of the finished trials' steps, coloured and sized by two metrics (keys of METRICS) on the view's device."""
    device = choice.view.device
    done = Trials.of(trials).done
    front = set(choice.front)
    # Marks that matter most get a place first.
    ids = done.ids
    order = sorted(range(len(done)), key=lambda i: (ids[i] not in front, ids[i] not in choice.kept, i))
    wanted: set[tuple[Step, ...]] = set()
    drawn: list[int] = []
    # Whole trials are read a few hundred at a time, as far as there is room.
    for i, trial in zip(order, done.take(np.array(order, np.intp)), strict=True):
        prefixes = {trial.recipe.steps[:k] for k in range(len(trial.recipe.steps) + 1)}
        if len(wanted | prefixes) > MOST_NODES:
            break
        wanted |= prefixes
        drawn.append(i)

    by_steps = {done[i].recipe.steps: done[i] for i in drawn}
    nodes: list[LineageNode] = []
    position: dict[tuple[Step, ...], int] = {}
    for i in sorted(drawn):
        steps = done[i].recipe.steps
        for k in range(len(steps) + 1):
            if steps[:k] not in position:
                position[steps[:k]] = len(nodes)
                parent = position[steps[: k - 1]] if k else None
                nodes.append(_node(steps[:k], parent, by_steps.get(steps[:k]), choice, colour, size))
    estimated = [bool(done.numbers(key, device).estimated.any()) for key in (colour, size)]
    return LineageInfo(
        nodes=tuple(_with_rows(nodes)),
        colour_title=axis_title(colour, device, estimated[0]),
        size_title=axis_title(size, device, estimated[1]),
        left_out=len(done) - len(drawn),
    )


def _node(
    steps: tuple[Step, ...], parent: int | None, trial: Trial | None, choice: Choice, colour: str, size: str
) -> LineageNode:
    label = step_label(steps[-1]) if steps else "baseline"
    if trial is None:
        hover = f"<b>{html.escape(label)}</b><br>on the way, not a recipe of its own"
        return LineageNode(None, parent, len(steps), 0.0, label, None, None, False, True, hover)
    device = choice.view.device
    values = {key: metric_value(trial, key, device) for key in (colour, size)}
    lines = [f"<b>{html.escape(trial.label)}</b>"]
    for key in dict.fromkeys((judged_by(trial), "size_bytes", "latency_ms", colour, size)):
        note = " estimated" if is_estimated(trial, key, device) else ""
        lines.append(f"{METRICS[key].name}: {text_of(key, metric_value(trial, key, device))}{note}")
    kept = trial.id in choice.kept
    return LineageNode(
        trial_id=trial.id,
        parent=parent,
        x=len(steps),
        y=0.0,
        label=label,
        colour=None if values[colour] is None else shown(colour, values[colour] or 0.0),
        size=None if values[size] is None else shown(size, values[size] or 0.0),
        on_front=trial.id in choice.front,
        within_limits=kept,
        hover="<br>".join(lines if kept else [*lines, "outside your limits"]),
    )


def _with_rows(nodes: Sequence[LineageNode]) -> list[LineageNode]:
    """Leaves on rows of their own in the order of the recipes, a parent in the middle of its children."""
    children: dict[int, list[int]] = {i: [] for i in range(len(nodes))}
    for i, node in enumerate(nodes):
        if node.parent is not None:
            children[node.parent].append(i)
    rows: dict[int, float] = {}
    waiting, row = [0] if nodes else [], 0
    # Depth first, without recursion: recipes may be long.
    while waiting:
        i = waiting[-1]
        missing = [c for c in children[i] if c not in rows]
        if missing:
            waiting.append(missing[0])
            continue
        if children[i]:
            rows[i] = sum(rows[c] for c in children[i]) / len(children[i])
        else:
            rows[i], row = float(row), row + 1
        waiting.pop()
    return [replace(node, y=rows[i], is_leaf=not children[i]) for i, node in enumerate(nodes)]


def lineage_figure(info: LineageInfo, height: int | None = None) -> go.Figure:
    """The map; every mark that is a trial carries its id as `customdata`."""
    leaves = round(max((n.y for n in info.nodes), default=0)) + 1
    figure = go.Figure(_branches(info.nodes))
    between = [n for n in info.nodes if n.trial_id is None]
    if between:
        figure.add_trace(_marks(between, "on the way", {"symbol": "circle-open", "size": 6, "color": GREY}, info))
    largest = max((n.size for n in info.nodes if n.size is not None), default=1.0)
    for name, symbol, chosen in (
        ("outside your limits", "x-thin-open", [n for n in info.nodes if n.trial_id and not n.within_limits]),
        ("beaten by another", "circle", [n for n in info.nodes if n.trial_id and n.within_limits and not n.on_front]),
        ("frontier", "diamond", [n for n in info.nodes if n.trial_id and n.within_limits and n.on_front]),
    ):
        if chosen:
            marker = {
                "symbol": symbol,
                "size": [_diameter(n.size, largest) for n in chosen],
                "color": [n.colour for n in chosen],
                "coloraxis": "coloraxis",
                "line": {"width": 2, "color": PINK} if name == "frontier" else {"width": 1, "color": GREY},
            }
            figure.add_trace(_marks(chosen, name, marker, info).update(showlegend=False))
            figure.add_trace(legend_entry(name, {"symbol": symbol, "size": 10, "line": marker["line"]}))
    depth = max((n.x for n in info.nodes), default=0)
    figure.update_layout(
        height=height or max(360, 120 + 26 * min(leaves, 60)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "itemsizing": "constant"},
        # Room to the right of the last mark for its label.
        xaxis={"visible": False, "range": [-0.4, depth + 0.9]},
        yaxis={"visible": False, "range": [leaves - 0.3, -0.8]},
        hovermode="closest",
        coloraxis={
            "colorscale": COLOUR_SCALE,
            # Below, where it takes nothing off the width that narrow screens need.
            "colorbar": {
                "title": {"text": info.colour_title, "side": "top"},
                "orientation": "h",
                "thickness": 10,
                "y": 0,
                "yanchor": "top",
            },
        },
        uirevision=f"{info.colour_title} {info.size_title}",
    )
    return figure


def _diameter(size: float | None, largest: float) -> float:
    """The mark's area grows with the metric."""
    if size is None or largest <= 0:
        return _SMALLEST
    return _SMALLEST + (_LARGEST - _SMALLEST) * math.sqrt(max(size, 0.0) / largest)


def _branches(nodes: Sequence[LineageNode]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    for node in nodes:
        if node.parent is not None:
            parent = nodes[node.parent]
            bend = parent.x + 0.35
            x += [parent.x, bend, bend, node.x, None]
            y += [parent.y, parent.y, node.y, node.y, None]
    line = {"width": 1.2, "color": "rgba(140, 149, 163, 0.7)"}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="steps")


def _marks(nodes: Sequence[LineageNode], name: str, marker: Mapping[str, object], info: LineageInfo) -> go.Scatter:
    labelled = len(info.nodes) <= _MOST_LABELS
    return go.Scatter(
        x=[n.x for n in nodes],
        y=[n.y for n in nodes],
        mode="markers+text" if labelled else "markers",
        # Beside a leaf there is room; the branches of others start there, so their labels stand above the line.
        text=[f"{'  ' if n.is_leaf else ''}{html.escape(n.label)}" for n in nodes] if labelled else None,
        textposition=["middle right" if n.is_leaf else "top center" for n in nodes],
        textfont={"size": 11},
        name=name,
        marker={**marker, "opacity": 1},
        customdata=[[n.trial_id] if n.trial_id else [] for n in nodes],
        hovertext=[n.hover for n in nodes],
        hovertemplate="%{hovertext}<extra></extra>",
        unselected={"marker": {"opacity": 0.5}},
    )


def lineage_alt(info: LineageInfo) -> str:
    """The map in two sentences, for those who cannot see it."""
    measured = sum(n.trial_id is not None for n in info.nodes)
    deepest = max((n.x for n in info.nodes), default=0)
    return (
        f"Tree of compression steps from the baseline, up to {deepest} steps long, with {measured} measured recipes, coloured by "
        f"{info.colour_title} and sized by {info.size_title}. The table lists them all."
    )
