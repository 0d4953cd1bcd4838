"""How text, axes and grids of a figure look on a page whose colours are not known: readable on light and on dark.

Streamlit's own theme for figures is put on in the browser, after the figure was drawn once without it: each change of the chart draws it
twice (tried with 1.67). A figure that says everything about its looks, and carries no template, is drawn once.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import plotly.graph_objects as go

TEXT = "#737B88"
"""A contrast of 4.3 to 1 on white and on our dark page: no colour has more on both."""
_GRID = "rgba(140, 149, 163, 0.28)"
_SPACE_GRID = "#A9B0BB"
_CLEAR = "rgba(0, 0, 0, 0)"
# The page's own font.
_FAMILY = '"Source Sans", sans-serif'
_FLAT_AXIS = re.compile(r"[xy]axis[0-9]*")
_LAYOUT: dict[str, Any] = {
    "font": {"family": _FAMILY, "size": 12, "color": TEXT},
    "paper_bgcolor": _CLEAR,
    "plot_bgcolor": _CLEAR,
    "legend": {"bgcolor": _CLEAR},
    "hoverlabel": {"bgcolor": "#1A212B", "bordercolor": "#323C49", "font": {"color": "#E8ECF1", "size": 12}},
    "modebar": {"bgcolor": _CLEAR, "color": _GRID, "activecolor": TEXT},
}
_AXIS = {"tickfont": {"size": 12, "color": TEXT}, "gridcolor": _GRID, "title": {"font": {"size": 14}}}
# Where space is drawn, thin lines of little weight vanish on white.
_IN_SPACE = {**_AXIS, "gridcolor": _SPACE_GRID, "zerolinecolor": _SPACE_GRID, "backgroundcolor": _CLEAR}


def style(figure: go.Figure) -> None:
    """Give a figure all its looks and take its template from it; what it says of sizes and colours itself stays."""
    # As a dictionary, and set once: every single property that is set on a figure is checked against all of it.
    layout = figure.layout.to_plotly_json()
    layout.pop("template", None)
    layout = _filled(layout, _LAYOUT)
    if scene := layout.get("scene"):
        layout["scene"] = {
            **scene,
            **{axis: _filled(scene.get(axis, {}), _IN_SPACE) for axis in ("xaxis", "yaxis", "zaxis")},
        }
    else:
        for axis in {"xaxis", "yaxis", *(name for name in layout if _FLAT_AXIS.fullmatch(name))}:
            layout[axis] = _filled(layout.get(axis, {}), {**_AXIS, "showgrid": axis[0] == "y"})
    if "coloraxis" in layout:
        layout["coloraxis"] = _filled(layout["coloraxis"], {"colorbar": {"outlinewidth": 0}})
    figure.layout = layout
    # A layout that says nothing of it is given the usual one.
    figure.layout.template = None


def _filled(said: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What is said, and those of the options of which nothing is said."""
    made = dict(said)
    for name, value in options.items():
        made[name] = _filled(made.get(name, {}), value) if isinstance(value, dict) else made.get(name, value)
    return made


def named_places(names: Sequence[str], most: int, lines: int = 1) -> dict[str, Any]:
    """An axis of numbered places, downwards, whose ticks are names: two that are alike when shortened stay two.

    A name has so many `lines` of `most` letters; what is longer still loses letters in the last of them.
    """
    parts = [[name] for name in all_shortened(names, most)] if lines == 1 else [_lines(n, most, lines) for n in names]
    ticks = ["<br>".join(html.escape(line) for line in found) for found in parts]
    return {"autorange": "reversed", "automargin": True, "tickvals": list(range(len(names))), "ticktext": ticks}


def _lines(name: str, most: int, lines: int) -> list[str]:
    """A name on so many lines of much the same length, divided between words."""
    if len(name) <= most:
        return [name]
    for width in (min(most, len(name) // lines + 6), most):
        found = textwrap.wrap(name, width, break_long_words=False, break_on_hyphens=False)
        if len(found) <= lines:
            break
    return [shortened(line, most) for line in (*found[: lines - 1], " ".join(found[lines - 1 :])) if line]


def all_shortened(names: Sequence[str], most: int) -> list[str]:
    """Names that stand together, cut where that tells the most of them apart: before their ends, else in the middle, else around where they
    begin to differ.
    """
    long = [n for n in names if len(n) > most] or [""]
    # All names begin as the first of the alphabet and the last both do.
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(min(long), max(long), strict=False)))
    ways = [
        [shortened(n, most) for n in names],
        [in_the_middle(n, most) for n in names],
        [_from(n, max(0, alike - most // 3), most) for n in names],
    ]
    return max(ways, key=lambda cut: len(set(cut)))


def _from(name: str, first: int, most: int) -> str:
    """A long name from a letter on."""
    if len(name) <= most:
        return name
    told = f"…{name[first:]}" if first else name
    return told if len(told) <= most else f"{told[: most - 1]}…"


def in_the_middle(name: str, most: int) -> str:
    """A long name by its beginning and its end."""
    end = (most - 1) // 3
    return name if len(name) <= most else f"{name[: most - 1 - end]}…{name[len(name) - end :]}"


def shortened(name: str, most: int = 34) -> str:
    """A long name by its end, which tells layers apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"
