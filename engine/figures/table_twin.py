"""The table beside a chart, for who cannot see it: read off the figure itself, so that it cannot say other numbers than are drawn."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    total = 0
    for trace in telling:
        series = _plain(trace.name) if trace.name and len(names) > 1 else ""
        for row in _rows(figure, trace):
            total += 1
            if len(rows) < most:
                rows.append({"Series": series, **row} if series else row)
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


def _rows(figure: go.Figure, trace: Any) -> Iterator[_Row]:
    if trace.type == "heatmap":
        yield from _heat_map(figure, trace)
        return
    letters = ("x", "y", "z") if trace.type == "scatter3d" else ("x", "y")
    axes = {letter: _axis(figure, trace, letter) for letter in letters}
    values = {letter: _listed(getattr(trace, letter)) for letter in letters}
    ends = {letter: _errors(trace, letter) for letter in letters}
    said = _listed(trace.hovertext) or _listed(trace.text)
    for place in range(max((len(v) for v in values.values()), default=0)):
        row: _Row = {}
        for letter in letters:
            value = values[letter][place] if place < len(values[letter]) else None
            if value is None or (isinstance(value, float) and math.isnan(value)):
                # A gap in a line.
                break
            title = _title(axes[letter], letter)
            row[title] = _at(axes[letter], value)
            if low_high := ends[letter]:
                row[f"{title}, from"] = _number(value - low_high[0][place])
                row[f"{title}, to"] = _number(value + low_high[1][place])
        else:
            text = _plain(said[place]) if place < len(said) else _templated(trace, place)
            if text:
                row["In words"] = text
            yield row


def _title(axis: Any, letter: str) -> str:
    usual = {"x": "Across", "y": "Up", "z": "Third axis"}[letter]
    return _plain(axis.title.text) or ("Name" if axis.ticktext is not None else usual)


def _templated(trace: Any, place: int) -> str:
    """What the pointer would show of a point whose texts are data of its own; empty where it shows the axes' values alone."""
    template = trace.hovertemplate
    if not isinstance(template, str) or "customdata" not in template:
        return ""
    own = np.atleast_1d(np.asarray(trace.customdata, dtype=object)[place])

    def value(match: re.Match[str]) -> str:
        if match[2]:
            return _number(own[int(match[2])]) if int(match[2]) < len(own) else ""
        listed = _listed(getattr(trace, match[1], None))
        return _number(listed[place]) if place < len(listed) else ""

    return _plain(_VALUE.sub(value, _EXTRA.sub("", template)))


def _heat_map(figure: go.Figure, trace: Any) -> Iterator[_Row]:
    across, down = _axis(figure, trace, "x"), _axis(figure, trace, "y")
    z = np.asarray(trace.z, dtype=object)
    texts = None if trace.text is None else np.asarray(trace.text, dtype=object)
    x = _listed(trace.x) or list(range(z.shape[1] if z.ndim == 2 else 0))
    y = _listed(trace.y) or list(range(len(z)))
    first = _title(down, "y") if down.title.text or down.ticktext is not None else "Row"
    for i, row in enumerate(z):
        found = {first: _at(down, y[i])}
        for j, value in enumerate(row):
            text = _plain(texts[i, j]) if texts is not None and texts.shape == z.shape else ""
            found[_at(across, x[j])] = text or ("" if value is None else _number(value))
        yield found


def _axis(figure: go.Figure, trace: Any, letter: str) -> Any:
    if trace.type == "scatter3d":
        return figure.layout[trace.scene or "scene"][f"{letter}axis"]
    name = getattr(trace, f"{letter}axis") or letter
    return figure.layout[f"{letter}axis{name[1:]}"]


def _at(axis: Any, value: Any) -> str:
    """A place on an axis, by its name where the axis has names."""
    names = dict(zip(_listed(axis.tickvals), _listed(axis.ticktext), strict=False)) if axis.ticktext is not None else {}
    # Places between two names, as of bars beside each other, have the nearest.
    if names and isinstance(value, int | float | np.number):
        nearest = min(names, key=lambda tick: abs(float(tick) - float(value)))
        if abs(float(nearest) - float(value)) < 0.5 and all(float(t).is_integer() for t in names):
            return _plain(names[nearest])
    return _number(value)


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
