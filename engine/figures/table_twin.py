"""The table beside a chart, for who cannot see it: read off the figure itself, so that it cannot say other numbers than are drawn."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import getitem
from typing import Any

import numpy as np
import plotly.graph_objects as go

MOST_ROWS = 200
_TAG = re.compile(r"<[^>]+>")
_BREAK = re.compile(r"<br ?/?>")
_VALUE = re.compile(r"%\{(customdata\[(\d+)\]|[a-z]+)[^}]*\}")
_EXTRA = re.compile(r"<extra>.*?</extra>")
_FIRST = ("frontier", "best within your limits", "knee", "baseline", "tied with the frontier")
"""The series that are listed first: of many points the table has only so many."""
_Row = dict[str, str]


@dataclass(frozen=True)
class Twin:
    """Headings, rows of so many texts each, plain and unescaped, and how many more rows the figure has than these."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


def table_twin(figure: go.Figure, most: int = MOST_ROWS) -> Twin:
    """What a figure draws, point by point, a frontier first; a heat map as it lies, one row of cells for each of its rows.

    Guides without a value of their own (rings, thresholds and lines that say nothing under the pointer) are left out unless nothing else
    is drawn. At most `most` rows.
    """
    traces = [t for t in figure.data if t.visible in (None, True)]
    telling = [t for t in traces if t.hoverinfo != "skip"] or traces
    telling.sort(key=lambda t: _FIRST.index(t.name) if t.name in _FIRST else len(_FIRST))
    names = {t.name for t in telling if t.name}
    rows: list[_Row] = []
    total, axes = 0, dict[str, _Axis]()
    for trace in telling:
        series = _plain(trace.name) if trace.name and len(names) > 1 else ""
        found, count = _rows(figure, trace, most - len(rows), axes)
        rows += ({"Series": series, **row} if series else row for row in found)
        total += count
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    if "Series" in columns:
        columns = ("Series", *(c for c in columns if c != "Series"))
    cells = tuple(tuple(row.get(name, "") for name in columns) for row in rows)
    return Twin(columns, cells, total - len(rows))


def twin_html(twin: Twin, about: str) -> str:
    """The table as HTML, everything escaped; `about` is its caption. Empty where there are no rows."""
    if not twin.rows:
        return ""
    rest = f" The first {len(twin.rows):,}; {twin.left_out:,} more are not listed." if twin.left_out else ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in twin.columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in twin.rows)
    caption = f"<caption>{html.escape(about + rest)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _rows(figure: go.Figure, trace: Any, most: int, known: dict[str, _Axis]) -> tuple[list[_Row], int]:
    """The first rows of a trace, at most `most`, and how many there are; `known` axes by their letter and name.

    Whatever is the same for all points is asked of the figure once: Plotly looks up and checks every name on the way to a property.
    """
    if trace.type == "heatmap":
        cells = list(_heat_map(figure, trace))
        return cells[:most], len(cells)
    letters = ("x", "y", "z") if trace.type == "scatter3d" else ("x", "y")
    axes = {letter: _axis(figure, trace, letter, known) for letter in letters}
    values = {letter: _listed(getattr(trace, letter)) for letter in letters}
    ends = {letter: _errors(trace, letter) for letter in letters}
    said = _listed(trace.hovertext) or _listed(trace.text)
    templated = _Template.of(trace)
    rows: list[_Row] = []
    count = 0
    for place in range(max((len(v) for v in values.values()), default=0)):
        at = [v[place] if place < len(v) else None for v in values.values()]
        if any(value is None or (isinstance(value, float) and math.isnan(value)) for value in at):
            # A gap in a line.
            continue
        count += 1
        if len(rows) >= most:
            continue
        row: _Row = {}
        for letter, value in zip(letters, at, strict=True):
            title = axes[letter].title
            row[title] = axes[letter].at(value)
            if low_high := ends[letter]:
                row[f"{title}, from"] = _number(value - low_high[0][place])
                row[f"{title}, to"] = _number(value + low_high[1][place])
        text = _plain(said[place]) if place < len(said) else templated.at(place)
        if text:
            row["In words"] = text
        rows.append(row)
    return rows, count


@dataclass(frozen=True)
class _Axis:
    """What an axis says: its heading, whether somebody gave it one, and names of places on it."""

    title: str
    titled: bool
    names: Mapping[Any, str]

    @classmethod
    def of(cls, axis: Any, letter: str) -> _Axis:
        usual = {"x": "Across", "y": "Up", "z": "Third axis"}[letter]
        text, labels = axis.title.text, axis.ticktext
        # The ticks of a logarithmic axis are marks of a scale, not names: a value between two of them is not the nearer one.
        named = labels is not None and axis.type != "log"
        names = dict(zip(_listed(axis.tickvals), map(_plain, _listed(labels)), strict=False)) if named else {}
        heading = _plain(text) or ("Name" if labels is not None else usual)
        return cls(heading, bool(text) or labels is not None, names)

    @cached_property
    def _numbered(self) -> list[tuple[float, str]]:
        """The names with their places; none unless these are counted 0, 1, 2."""
        ticks = [(float(t), name) for t, name in self.names.items() if isinstance(t, int | float | np.number)]
        return ticks if len(ticks) == len(self.names) and all(t.is_integer() for t, _ in ticks) else []

    def at(self, value: Any) -> str:
        """A place on the axis, by its name where the axis has names."""
        # Places between two names, as of bars beside each other, have the nearest.
        if self._numbered and isinstance(value, int | float | np.number):
            tick, name = min(self._numbered, key=lambda t: abs(t[0] - float(value)))
            if abs(tick - float(value)) < 0.5:
                return name
        return _number(value)


def _axis(figure: go.Figure, trace: Any, letter: str, known: dict[str, _Axis]) -> _Axis:
    path: tuple[str, ...]
    if trace.type == "scatter3d":
        path = (trace.scene or "scene", f"{letter}axis")
    else:
        path = (f"{letter}axis{(getattr(trace, f'{letter}axis') or letter)[1:]}",)
    if (name := ".".join((letter, *path))) not in known:
        known[name] = _Axis.of(reduce(getitem, path, figure.layout), letter)
    return known[name]


@dataclass(frozen=True)
class _Template:
    """What the pointer would show of points whose texts are data of their own; `text` is empty where it shows the axes' values alone."""

    text: str
    own: Any = None
    listed: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, trace: Any) -> _Template:
        template = trace.hovertemplate
        if not isinstance(template, str) or "customdata" not in template:
            return cls("")
        template = _EXTRA.sub("", template)
        names = {match[1] for match in _VALUE.finditer(template) if not match[2]}
        listed = {name: _listed(getattr(trace, name, None)) for name in names}
        return cls(template, np.asarray(trace.customdata, dtype=object), listed)

    def at(self, place: int) -> str:
        if not self.text:
            return ""
        own = np.atleast_1d(self.own[place])

        def value(match: re.Match[str]) -> str:
            if match[2]:
                return _number(own[int(match[2])]) if int(match[2]) < len(own) else ""
            listed = self.listed[match[1]]
            return _number(listed[place]) if place < len(listed) else ""

        return _plain(_VALUE.sub(value, self.text))


def _heat_map(figure: go.Figure, trace: Any) -> Iterator[_Row]:
    across, down = (_axis(figure, trace, letter, {}) for letter in ("x", "y"))
    z = np.asarray(trace.z, dtype=object)
    texts = None if trace.text is None else np.asarray(trace.text, dtype=object)
    x = _listed(trace.x) or list(range(z.shape[1] if z.ndim == 2 else 0))
    y = _listed(trace.y) or list(range(len(z)))
    first = down.title if down.titled else "Row"
    for i, row in enumerate(z):
        found = {first: down.at(y[i])}
        for j, value in enumerate(row):
            text = _plain(texts[i, j]) if texts is not None and texts.shape == z.shape else ""
            found[across.at(x[j])] = text or ("" if value is None else _number(value))
        yield found


def _errors(trace: Any, letter: str) -> tuple[Sequence[Any], Sequence[Any]] | None:
    error = getattr(trace, f"error_{letter}", None)
    if error is None or error.array is None:
        return None
    above = _listed(error.array)
    below = _listed(error.arrayminus) or above
    return below, above


def _listed(values: Any) -> list[Any]:
    if values is None or isinstance(values, str):
        return []
    found = np.asarray(values).tolist() if not isinstance(values, list | tuple) else list(values)
    return found if isinstance(found, list) else []


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return _plain(value)
    return "" if not math.isfinite(value) else f"{value:.6g}"


def _plain(text: Any) -> str:
    """Text of a figure without the marks that Plotly reads in it."""
    if text is None:
        return ""
    return " ".join(html.unescape(_TAG.sub("", _BREAK.sub("; ", str(text)))).split())
