"""Trials beside each other as bars: what each costs as a share of the baseline, and how accurate it is. Pure `..._info`, then drawing."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from engine.frontier.columns import Trials
from engine.metrics import METRICS, axis_title, based, shown, text_of
from engine.trials.metric_values import metric_value
from engine.trials.text import is_estimated, metric_range
from engine.trials.trial import Trial

COSTS = ("size_bytes", "size_zipped_bytes", "latency_ms", "energy_mj", "nonzero_params", "macs")
"""Metrics of which less is better, and a share of the baseline's says something."""
# After Okabe and Ito, as in `frontier.py`; each trial has a hatching and a mark of its own besides.
COLOURS = ("#1F83C6", "#E08A00", "#009E73", "#CC79A7", "#D55E00", "#8C95A3")
HATCHES = ("", "/", ".", "x", "-", "+")
MARKS = ("circle", "square", "diamond", "triangle-up", "x", "star")
MOST = len(COLOURS)
"""More trials than this are not told apart."""
REFERENCE = "#8C95A3"
_CLEAR, _CLEAR_PERCENT = "\u2002", 2.5
"""A number stands clear of its bar's whisker, and of the baseline's line; about so much of the axis is one such space."""
_CLEAR_PERCENT_WIDE, _MOST_CLEAR = 1.2, 12
"""On a wide screen it is less of the axis, so that a whisker takes more of them; no more than some, whatever the whisker."""
_NUMBER_PERCENT = 15.0
"""What a number takes behind its bar, on the axis."""
_ROOM = 1.2
"""The axis is so much longer than the longest bar, for the number behind it."""


@dataclass(frozen=True)
class Bar:
    """One bar: `percent` of the baseline's value, with its interval where there is one; `text` is the number itself, escaped HTML."""

    metric: str
    percent: float
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class CostsInfo:
    """`bars` by trial name, in the order given; `metrics` are the titles of those that the baseline has.

    `places` are the trials' places among all that are compared, the baseline included, so that a trial looks the same in every figure.
    """

    metrics: tuple[str, ...]
    bars: dict[str, tuple[Bar, ...]]
    places: dict[str, int]


def costs_info(named: Mapping[str, Trial], baseline: Trial, device: str = "host") -> CostsInfo:
    """What each trial costs as a percentage of the baseline; the baseline itself, 100 everywhere, is left out.

    `named` is by the short name that the legend shows.
    """
    kept = [key for key in COSTS if metric_value(baseline, key, device)]
    others = {name: trial for name, trial in named.items() if trial.id != baseline.id}
    titles = {key: _title([baseline, *others.values()], key, device) for key in kept}
    bars = {
        name: tuple(bar for key in kept if (bar := _bar(trial, baseline, key, titles[key], device)))
        for name, trial in others.items()
    }
    return CostsInfo(tuple(titles.values()), bars, {name: place for place, name in enumerate(named)})


def _title(trials: Sequence[Trial], key: str, device: str) -> str:
    return METRICS[key].name + (" (est.)" if any(is_estimated(t, key, device) for t in trials) else "")


def _bar(trial: Trial, baseline: Trial, key: str, title: str, device: str) -> Bar | None:
    value, before = metric_value(trial, key, device), metric_value(baseline, key, device)
    if value is None or not before:
        return None
    low = high = None
    # Other intervals share most of their error with the baseline's; the ratio's is of the ratio.
    if key == "latency_ms" and device == "host" and trial.latency_ratio:
        low, high = trial.latency_ratio.low * 100, trial.latency_ratio.high * 100
    percent = value / before * 100
    return Bar(title, percent, low, high, html.escape(f"{text_of(key, value)}, baseline {text_of(key, before)}"))


def _clear(bar: Bar) -> str:
    """What goes before the number of a bar, so that no line crosses it."""
    whisker = 0.0 if bar.high is None else max(0.0, bar.high - bar.percent)
    spaces = 0 if bar.high is None else 1 + min(_MOST_CLEAR, math.ceil(whisker / _CLEAR_PERCENT_WIDE))
    short = 100.0 - bar.percent
    if short > 0.0 and short - spaces * _CLEAR_PERCENT < _NUMBER_PERCENT:
        spaces = max(spaces, 2 + math.floor(short / _CLEAR_PERCENT))
    return _CLEAR * spaces


def costs_figure(info: CostsInfo, height: int | None = None) -> go.Figure:
    """Grouped horizontal bars, one group a metric, with the baseline as a line at 100 %."""
    figure = go.Figure()
    for name, bars in info.bars.items():
        number = info.places[name]
        intervals = [(b.percent, b.low, b.high) for b in bars]
        figure.add_trace(
            go.Bar(
                orientation="h",
                name=html.escape(name),
                y=[b.metric for b in bars],
                x=[b.percent for b in bars],
                text=[_clear(b) + f"{b.percent:.0f} %" for b in bars],
                textposition="outside",
                cliponaxis=False,
                hovertext=[
                    f"<b>{html.escape(name)}</b><br>{b.metric}: {b.percent:.1f} % of the baseline<br>{b.text}"
                    for b in bars
                ],
                hovertemplate="%{hovertext}<extra></extra>",
                marker={
                    "color": COLOURS[number % MOST],
                    "pattern": {"shape": HATCHES[number % MOST], "solidity": 0.3, "fillmode": "overlay"},
                },
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [0 if high is None else max(0.0, high - p) for p, _, high in intervals],
                    "arrayminus": [0 if low is None else max(0.0, p - low) for p, low, _ in intervals],
                    "thickness": 1.2,
                    "width": 3,
                    "color": REFERENCE,
                },
            )
        )
    figure.add_vline(x=100, line={"width": 2, "dash": "dash", "color": REFERENCE})
    rows = len(info.metrics) * max(1, len(info.bars))
    longest = max((max(b.percent, b.high or 0.0) for bars in info.bars.values() for b in bars), default=100.0)
    figure.update_layout(
        barmode="group",
        height=height or max(240, 90 + 22 * rows),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        xaxis={
            "title": {"text": "← better, share of the baseline (%)"},
            "automargin": True,
            "range": [0.0, _ROOM * max(100.0, longest)],
        },
        yaxis={
            "autorange": "reversed",
            "automargin": True,
            "categoryorder": "array",
            "categoryarray": list(info.metrics),
        },
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )
    return figure


def costs_alt(info: CostsInfo) -> str:
    """The bars in words."""
    told = [f"{name}: {', '.join(f'{b.metric} {b.percent:.0f} %' for b in bars)}" for name, bars in info.bars.items()]
    return f"Bars of cost as a share of the baseline. {'; '.join(told)}."


@dataclass(frozen=True)
class AccuracyInfo:
    """(name, value, low, high) of what trials are judged by, in the unit shown, of those that have it; `baseline` is the sweep's."""

    key: str
    values: tuple[tuple[str, float, float, float], ...]
    baseline: float | None


def accuracy_info(named: Mapping[str, Trial], baseline: Trial | None) -> AccuracyInfo:
    """What the trials are judged by, with their intervals."""
    key = Trials.of(list(named.values())).judged_by
    values: list[tuple[str, float, float, float]] = []
    for name, trial in named.items():
        value, ends = metric_value(trial, key), metric_range(trial, key)
        if value is not None and ends:
            low, high = (shown(key, v) for v in ends)
            values.append((name, shown(key, value), low, high))
    reference = metric_value(baseline, key) if baseline else None
    return AccuracyInfo(key, tuple(values), None if reference is None else shown(key, reference))


def accuracy_figure(info: AccuracyInfo) -> go.Figure:
    """A mark and its 95 % interval for each trial, with the baseline as a line."""
    figure = go.Figure()
    for number, (name, value, low, high) in enumerate(info.values):
        figure.add_trace(
            go.Scatter(
                x=[value],
                y=[html.escape(name)],
                mode="markers",
                name=html.escape(name),
                marker={"size": 11, "color": COLOURS[number % MOST], "symbol": MARKS[number % MOST]},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - value],
                    "arrayminus": [value - low],
                    "width": 6,
                },
                hovertemplate=f"{html.escape(name)}: {_told(info.key, value, low, high)}<extra></extra>",
            )
        )
    if info.baseline is not None:
        figure.add_vline(x=info.baseline, line={"width": 2, "dash": "dash", "color": REFERENCE})
    better = "better →" if METRICS[info.key].maximise else "← better"
    figure.update_layout(
        height=130 + 34 * len(info.values),
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        showlegend=False,
        xaxis={"title": {"text": f"{axis_title(info.key)}, {better}"}, "automargin": True, "zeroline": False},
        yaxis={"autorange": "reversed", "automargin": True, "type": "category"},
    )
    return figure


def accuracy_alt(info: AccuracyInfo) -> str:
    """The marks in words."""
    told = [f"{name} {_told(info.key, value, low, high)}" for name, value, low, high in info.values]
    own = "" if info.baseline is None else text_of(info.key, based(info.key, info.baseline))
    baseline = f" The baseline has {own}." if own else ""
    return f"{METRICS[info.key].name} with 95 % intervals: {'; '.join(told)}.{baseline}"


def _told(key: str, value: float, low: float, high: float) -> str:
    """From the unit shown."""
    ends = (text_of(key, based(key, end), unit=False) for end in (low, high))
    return f"{text_of(key, based(key, value))} ({' to '.join(ends)})"
