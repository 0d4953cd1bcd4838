"""The brush of Explore: what was dragged on a chart becomes a mark that all charts and the table show, then limits, or what is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from engine.figures.many_metrics_info import Axis
from engine.frontier.brush import MOST_CUTS, Brush, Cut, box, brush_text, brush_words, inside, limits_of, loop
from engine.frontier.columns import Trials
from engine.frontier.dominance import Bools
from engine.metrics import METRICS, based, shown
from pages.explore import brush_events
from pages.shared import shell
from pages.shared.narrowed import Narrowed
from pages.shared.narrowing_address import Narrowing

_NOW, _OF, _LIMITS = "explore narrowing", "explore narrowing of", "explore limits of a brush"
# The logarithm of anything that is measured lies well within.
_FARTHEST, _FARTHEST_LOG = 1e15, 300.0


@dataclass(frozen=True)
class Pane:
    """A pane of a chart: the metrics across and up, and whether each axis is logarithmic."""

    x: str
    y: str
    log_x: bool
    log_y: bool

    @classmethod
    def of(cls, figure: go.Figure, subplot: str, x: str, y: str) -> Pane:
        """The pane of a figure that Plotly calls so, `xy` or `x3y3`."""
        number = subplot.partition("y")[2]
        kinds = [figure.layout[f"{name}axis{number}"].type == "log" for name in "xy"]
        return cls(x, y, *kinds)


@dataclass(frozen=True)
class Marked:
    """A brush, and the recipes in it by row and by id, all None without one; `key`: what else is shown follows from this.

    `still`: the chart is drawn alone, and nobody can drag on it yet.
    """

    brush: Brush | None
    rows: Bools | None
    ids: frozenset[str] | None
    key: str
    still: bool = False


def seed(asked: Narrowing, sweep: str, news: bool) -> Narrowing:
    """What narrows the page: what the address asks for where that is news, else what was done here. Another sweep has other marks."""
    if news or _NOW not in st.session_state:
        st.session_state[_NOW] = asked
    elif st.session_state.get(_OF) != sweep:
        st.session_state[_NOW] = Narrowing(where=st.session_state[_NOW].where)
    st.session_state[_OF] = sweep
    return now()


def now() -> Narrowing:
    """What narrows the page at the moment."""
    found: Narrowing = st.session_state[_NOW]
    return found


def change(**parts: Any) -> None:
    """Put other parts in place of those that narrow the page."""
    st.session_state[_NOW] = replace(now(), **parts)


def limits(present: Mapping[str, float]) -> tuple[Mapping[str, float], bool]:
    """The limits with those that a brush was just made into, and whether there are any such."""
    new: Mapping[str, float] = st.session_state.pop(_LIMITS, {})
    return {**present, **new}, bool(new)


def marked(only: Narrowed, device: str, still: bool = False) -> Marked:
    """What the brush marks among the recipes that are left."""
    brush = now().brush
    if brush is None:
        return Marked(None, None, None, only.key, still)
    rows = inside(only.trials, brush, device)
    ids = frozenset(only.trials.fact("id")[rows].tolist())
    return Marked(brush, rows, ids, only.key, still)


def listed(only: Narrowed, found: Marked) -> Trials:
    """The recipes that the table lists: of those that are left the marked ones, all without a brush."""
    return only.trials if found.rows is None else only.trials.take(found.rows)


def signature(found: Marked, shape: str) -> str:
    """What a chart's figure depends on. A brush is in no figure but the one in space, in which the browser can fade no marks."""
    return found.key + (f"\n{brush_text(found.brush)}" if found.brush and shape == "3d" else "")


def follow(
    chart: str,
    figure: go.Figure,
    panes: Mapping[str, Pane],
    axes: Sequence[Axis],
    found: Marked,
    select: Callable[[str], None],
) -> None:
    """Let people drag on a drawn chart, and fade in it what is not marked."""
    if found.still:
        return
    ids = None
    if found.ids is not None:
        owners = {o[0] for t in figure.data for o in (t.customdata if t.customdata is not None else ()) if len(o)}
        ids = sorted(owners & found.ids)

    def told(raw: Mapping[str, Any]) -> None:
        change(brush=dragged(raw, panes, axes, now().brush))

    shapes = outlines(found.brush, panes, axes) if found.brush else []
    brush_events.listen(chart, len(axes), bool(panes), ids, shapes, told, select)


def dragged(
    raw: Mapping[str, Any], panes: Mapping[str, Pane], axes: Sequence[Axis], before: Brush | None
) -> Brush | None:
    """The brush after what a browser says was dragged, which may be anything. On parallel axes each has its range, and all of them hold."""
    if axes:
        row = raw.get("row")
        if type(row) is not int or not 0 <= row < len(axes):
            return before
        axis = axes[len(axes) - 1 - row]
        ranges = dict(before.ranges) if before else {}
        if raw.get("none"):
            ranges.pop(axis.key, None)
            return Brush(ranges) if ranges else None
        if (ends := _numbers(raw.get("x"), _FARTHEST)) is None:
            return before
        a, b = (based(axis.key, axis.value_at(min(1.0, max(0.0, v)))) for v in ends)
        return Brush({**ranges, **box({axis.key: (a, b)}).ranges})
    pane = panes.get(str(raw.get("subplot")))
    if pane is None:
        return before
    if raw.get("none"):
        return None
    furthest = [_FARTHEST_LOG if log else _FARTHEST for log in (pane.log_x, pane.log_y)]
    if isinstance(corners := raw.get("corners"), list):
        places = [_numbers(c, max(furthest)) for c in corners]
        known = [(c[0], c[1]) for c in places if c]
        return (loop(pane.x, pane.y, pane.log_x, pane.log_y, known) if len(known) == len(places) else None) or before
    found = {}
    for key, log, far, name in ((pane.x, pane.log_x, furthest[0], "x"), (pane.y, pane.log_y, furthest[1], "y")):
        if (ends := _numbers(raw.get(name), far)) is None:
            return before
        a, b = (based(key, 10**v if log else v) for v in ends)
        found[key] = (a, b)
    return box(found)


def _numbers(found: object, furthest: float) -> tuple[float, float] | None:
    if not isinstance(found, list | tuple) or len(found) != 2:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= furthest for v in found):
        return None
    return float(found[0]), float(found[1])


def outlines(brush: Brush, panes: Mapping[str, Pane], axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Where a brush is seen in a chart: bands on parallel axes (places from 0 to 1), rectangles and loops in panes (in the units shown)."""
    found: list[dict[str, Any]] = []
    for k, axis in enumerate(axes):
        if ends := brush.ranges.get(axis.key):
            drawn = [min(axis.high, max(axis.low, shown(axis.key, v))) for v in ends]
            found.append({"subplot": "xy", "row": len(axes) - 1 - k, "x": sorted(map(axis.place, drawn))})
    for subplot, pane in panes.items():
        lasso = brush.lasso
        if lasso and (lasso.x, lasso.y, lasso.log_x, lasso.log_y) == (pane.x, pane.y, pane.log_x, pane.log_y):
            found.append({"subplot": subplot, "corners": [list(c) for c in lasso.corners]})
        if {pane.x, pane.y} & brush.ranges.keys():
            sides = {name: _shown(key, brush.ranges.get(key)) for name, key in (("x", pane.x), ("y", pane.y))}
            found.append({"subplot": subplot, **sides})
    return found


def _shown(key: str, ends: tuple[float, float] | None) -> list[float] | None:
    return [shown(key, v) for v in ends] if ends else None


def bar(found: Marked, only: Narrowed) -> None:
    """Draw what is marked and what to do with it, and what was kept and left out before; nothing where there is neither."""
    cuts = now().cuts
    if found.brush is not None and found.ids is not None:
        _marked_bar(found.brush, len(found.ids), len(only.trials), len(cuts))
    if cuts:
        times = "one brush" if len(cuts) == 1 else f"{len(cuts)} brushes"
        rest = " and the filter" if now().where and not only.mistake else ""
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(
                f"**{len(only.trials):,} of {only.total:,}** recipes are left after {times}{rest}.", width="content"
            )
            st.button("Undo", icon=":material/undo:", key="explore cut undo", on_click=_undo)
            st.button("Show all", key="explore cut reset", on_click=change, kwargs={"cuts": ()})


def _marked_bar(brush: Brush, count: int, total: int, done: int) -> None:
    full = done >= MOST_CUTS
    why = (
        f"{MOST_CUTS} brushes are the most that an address holds; press “Show all”, or write a filter."
        if full
        else None
    )
    with st.container(border=True, key="explore brush", gap="small"):
        st.markdown(
            f":material/select: **{count:,} of {total:,}** recipes are marked: {shell.plain(brush_words(brush))}. "
            "The table lists them alone."
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button("Keep", on_click=_cut, args=(True,), key="explore keep", disabled=full or not count,
                      help=why or "Look at these alone: charts, frontier, recommendation and table.")  # fmt: skip
            st.button("Exclude", on_click=_cut, args=(False,), key="explore exclude", disabled=full or not count,
                      help=why or "Leave these out, everywhere on this page.")  # fmt: skip
            if brush.ranges:
                worse = ", ".join(f"{METRICS[k].name} {'≥' if METRICS[k].maximise else '≤'}" for k in brush.ranges)
                st.button(
                    "Make these limits",
                    on_click=_to_limits,
                    key="explore to limits",
                    help=f"Of each range the worse end: {worse}.",
                )
            st.button("Clear", on_click=change, kwargs={"brush": None}, key="explore brush clear")


def _cut(keep: bool) -> None:
    brush = now().brush
    if brush is not None and len(now().cuts) < MOST_CUTS:
        change(cuts=(*now().cuts, Cut(keep, brush)), brush=None)


def _undo() -> None:
    change(cuts=now().cuts[:-1])


def _to_limits() -> None:
    brush = now().brush
    if brush is not None:
        st.session_state[_LIMITS] = limits_of(brush)
        change(brush=None)
