"""Slices of the test samples, drawn: what each is told by, and how that changed against the baseline. Pure `..._info`, then drawing."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from engine.figures.frontier import BLUE, GREEN, GREY, ORANGE
from engine.figures.style import named_places
from engine.metrics import METRICS, shown
from engine.trials.evidence import Interval
from engine.trials.slice_texts import change_text, figure_text
from engine.trials.slices import SliceFigure, Slices

MOST_DRAWN, MOST_LETTERS = 40, 20


@dataclass(frozen=True)
class Mark:
    """One slice in the unit shown: a number with the ends of its interval, in words, and how many samples it is of.

    `before` is the baseline's number of a level; `worse` and `is_certain` say of a change which way it went and whether it is more than
    chance.
    """

    name: str
    n: int
    value: float
    low: float
    high: float
    text: str
    before: float | None = None
    worse: bool = False
    is_certain: bool = False


def levels_info(slices: Slices, baseline: Slices | None) -> tuple[Mark, ...]:
    """What slices are told by, the worst first; those without a number are left out."""
    key, others = slices.key, {(p.array, p.value): p for p in baseline.parts} if baseline else {}
    found = []
    for part in slices.parts:
        figure: SliceFigure | None = getattr(part, slices.figure)
        if figure is None:
            continue
        other = others.get((part.array, part.value))
        before: SliceFigure | None = getattr(other, slices.figure) if other else None
        value, low, high = (shown(key, v) for v in (figure.value, figure.low, figure.high))
        found.append(
            Mark(
                part.name,
                part.n,
                value,
                low,
                high,
                figure_text(part, slices.figure, key),
                None if before is None else shown(key, before.value),
            )
        )
    return tuple(sorted(found, key=lambda m: m.value if METRICS[key].maximise else -m.value))


def changes_info(slices: Slices) -> tuple[Mark, ...]:
    """How what slices are told by changed against the baseline, the greatest loss first; nothing where nothing was compared."""
    key, sign = slices.key, 1 if METRICS[slices.key].maximise else -1
    found = []
    for part in slices.parts:
        figure: SliceFigure | None = getattr(part, slices.figure)
        change: Interval | None = figure.vs_baseline if figure else None
        if figure is None or change is None:
            continue
        value, low, high = (shown(key, v) for v in (change.value, change.low, change.high))
        text = f"{change_text(part, slices.figure, key)}, to {figure_text(part, slices.figure, key)}"
        found.append(
            Mark(part.name, part.n, value, low, high, text, worse=sign * change.value < 0, is_certain=figure.is_certain)
        )
    return tuple(sorted(found, key=lambda m: sign * m.value))


def changes_figure(marks: Sequence[Mark], key: str) -> go.Figure:
    """Bars of the change with its 95 % interval, the greatest loss on top; filled where it is more than chance."""
    kept = list(marks[:MOST_DRAWN])
    colours = [ORANGE if m.worse else GREEN for m in kept]
    figure = go.Figure(
        go.Bar(
            x=[m.value for m in kept],
            y=list(range(len(kept))),
            orientation="h",
            marker={
                "color": [c if m.is_certain else "rgba(0, 0, 0, 0)" for c, m in zip(colours, kept, strict=True)],
                "line": {"width": 1.5, "color": colours},
            },
            error_x=_errors(kept, GREY),
            customdata=_words(kept),
            hovertemplate=_HOVER + "<extra></extra>",
        )
    )
    unit = "points" if METRICS[key].unit == "%" else METRICS[key].unit
    return _named(figure, kept, f"Change of {METRICS[key].name}", unit)


def levels_figure(marks: Sequence[Mark], key: str) -> go.Figure:
    """A mark and its 95 % interval for each slice, the baseline's as a hollow square; the worst on top."""
    kept = list(marks[:MOST_DRAWN])
    known = [(place, m) for place, m in enumerate(kept) if m.before is not None]
    figure = go.Figure(
        go.Scatter(
            x=[m.before for _, m in known],
            y=[place for place, _ in known],
            customdata=[[html.escape(m.name)] for _, m in known],
            mode="markers",
            name="baseline",
            marker={"symbol": "square-open", "size": 10, "color": GREY, "line": {"width": 2}},
            hovertemplate="%{customdata[0]}: %{x:.4g}<extra>baseline</extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[m.value for m in kept],
            y=list(range(len(kept))),
            mode="markers",
            name="this recipe",
            marker={"size": 8, "color": BLUE},
            error_x={**_errors(kept, BLUE), "thickness": 1.5, "width": 4},
            customdata=_words(kept),
            hovertemplate=_HOVER + "<extra>this recipe</extra>",
        )
    )
    figure.update_layout(legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0})
    return _named(figure, kept, METRICS[key].name, METRICS[key].unit, legend=bool(known))


def _short(name: str) -> str:
    """A long name by its beginning, which says of which array it is."""
    return name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"


_HOVER = "<b>%{customdata[0]}</b>, %{customdata[1]:,} samples<br>%{customdata[2]}"


def _words(kept: Sequence[Mark]) -> list[list[str | int]]:
    return [[html.escape(m.name), m.n, html.escape(m.text)] for m in kept]


def _errors(kept: Sequence[Mark], colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [m.high - m.value for m in kept],
        "arrayminus": [m.value - m.low for m in kept],
        "color": colour,
        "thickness": 1,
        "width": 3,
    }


def _named(figure: go.Figure, kept: Sequence[Mark], title: str, unit: str, legend: bool = False) -> go.Figure:
    figure.update_layout(
        height=max(180, 90 + 28 * len(kept)),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        xaxis={
            "title": {"text": f"{title} ({unit})" if unit else title},
            "automargin": True,
            "zeroline": not legend,
            "zerolinecolor": GREY,
        },
        yaxis=named_places([f"{_short(m.name)} ({m.n:,})" for m in kept], 34),
        showlegend=legend,
    )
    return figure


def slices_alt(what: str, marks: Sequence[Mark]) -> str:
    """The marks in words."""
    told = "; ".join(f"{m.name} {m.text}" for m in marks[:5])
    return f"{what} of {len(marks)} slices with 95 % intervals, the worst first: {told}."
