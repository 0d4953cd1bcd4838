"""What somebody marked in a chart by dragging: ranges of metrics, or a loop around points; and what they then kept or left out.

All in base units, but for a loop's corners, which are where they were drawn: in the units shown, logarithms on a logarithmic axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np

from engine.frontier.columns import Trials
from engine.frontier.dominance import Bools, Floats
from engine.metrics import METRICS, in_a_sentence, shown, text_of

MOST_CORNERS, MOST_RANGES, MOST_CUTS = 24, 12, 6
"""What fits into an address that people send each other."""
_DIGITS = 6


@dataclass(frozen=True)
class Lasso:
    """A closed loop over two metrics; each corner is (x, y), its last and its first are joined."""

    x: str
    y: str
    log_x: bool
    log_y: bool
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Brush:
    """Ranges by metric, both ends within, all of which hold; or a loop. A trial without one of the numbers is not in it."""

    ranges: Mapping[str, tuple[float, float]]
    lasso: Lasso | None = None

    def __hash__(self) -> int:
        return hash((tuple(self.ranges.items()), self.lasso))


@dataclass(frozen=True)
class Cut:
    """What was done with a brush: only that was kept, or just that was left out."""

    keep: bool
    brush: Brush


def box(ranges: Mapping[str, tuple[float, float]]) -> Brush:
    """The brush of some ranges, each end rounded outward to six digits, so that an address holds it and the points at its ends stay."""
    return Brush(
        {
            key: (_rounded(float(min(r)), ROUND_FLOOR), _rounded(float(max(r)), ROUND_CEILING))
            for key, r in ranges.items()
        }
    )


def loop(x: str, y: str, log_x: bool, log_y: bool, corners: Sequence[tuple[float, float]]) -> Brush | None:
    """The brush of a loop, its corners rounded to six digits; None of fewer than three corners, or too many."""
    if not 3 <= len(corners) <= MOST_CORNERS:
        return None
    return Brush({}, Lasso(x, y, log_x, log_y, tuple((float(f"{a:.6g}"), float(f"{b:.6g}")) for a, b in corners)))


def inside(trials: Trials, brush: Brush, device: str = "host") -> Bools:
    """Which trials are in a brush, shape (trials,); times and energies are those of the device."""
    found = np.ones(len(trials), np.bool_)
    for key, (low, high) in brush.ranges.items():
        values = trials.numbers(key, device).value
        found &= (values >= low) & (values <= high)
    if brush.lasso:
        found &= _within(brush.lasso, trials, device)
    return found


def left_by(trials: Trials, cuts: Sequence[Cut], device: str = "host") -> Bools:
    """Which trials are left after some cuts, shape (trials,). What lacks a number is not in a brush, so leaving that out leaves it in."""
    found = np.ones(len(trials), np.bool_)
    for cut in cuts:
        marked = inside(trials, cut.brush, device)
        found &= marked if cut.keep else ~marked
    return found


def limits_of(brush: Brush) -> dict[str, float]:
    """The limits that a box stands for, by metric in base units: of each range the end that is worse."""
    return {key: ends[0] if METRICS[key].maximise else ends[1] for key, ends in brush.ranges.items()}


def brush_words(brush: Brush) -> str:
    """`accuracy 90.00 to 93.00 %, file size 10.0 to 50.0 kB`, or which metrics a loop is over."""
    if brush.lasso:
        return f"a loop over {in_a_sentence(brush.lasso.x)} and {in_a_sentence(brush.lasso.y)}"
    return ", ".join(
        f"{in_a_sentence(key)} {text_of(key, low, unit=False)} to {text_of(key, high)}"
        for key, (low, high) in brush.ranges.items()
    )


def _rounded(value: float, way: str) -> float:
    number = Decimal(repr(value))
    return float(number.quantize(Decimal(1).scaleb(number.adjusted() - _DIGITS + 1), rounding=way)) if number else 0.0


def _within(lasso: Lasso, trials: Trials, device: str) -> Bools:
    x, y = (
        _drawn_at(key, trials.numbers(key, device).value, log)
        for key, log in ((lasso.x, lasso.log_x), (lasso.y, lasso.log_y))
    )
    # A ray to the right of a point crosses the loop an odd number of times if the point is within (Shimrat, CACM 5(8), 1962).
    odd = np.zeros(len(trials), np.bool_)
    corners = lasso.corners
    with np.errstate(invalid="ignore"):
        for (x0, y0), (x1, y1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            if y0 != y1:
                odd ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return odd & np.isfinite(x) & np.isfinite(y)


def _drawn_at(key: str, values: Floats, log: bool) -> Floats:
    drawn = values * shown(key, 1.0)
    if not log:
        return drawn
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(drawn)


def brush_text(brush: Brush) -> str:
    """A brush in an address: `accuracy~0.9~0.95~size_bytes~0~50000`, `lasso~latency_ms~log~accuracy~lin~x~y~…`."""
    if lasso := brush.lasso:
        kinds = ["log" if log else "lin" for log in (lasso.log_x, lasso.log_y)]
        places = [f"{v:.6g}" for corner in lasso.corners for v in corner]
        return "~".join(["lasso", _quoted(lasso.x), kinds[0], _quoted(lasso.y), kinds[1], *places])
    return "~".join(f"{_quoted(key)}~{low:.6g}~{high:.6g}" for key, (low, high) in brush.ranges.items())


def brush_of(text: str | None) -> Brush | None:
    """The inverse of `brush_text`; None for what is no brush, whatever it is."""
    words = text.split("~") if text and len(text) <= 4000 else []
    try:
        if words and words[0] == "lasso":
            _, x, kind_x, y, kind_y, *places = words
            keys = _unquoted(x), _unquoted(y)
            numbers = [_finite(p) for p in places]
            if not all(k in METRICS for k in keys) or len(numbers) % 2 or {kind_x, kind_y} - {"log", "lin"}:
                return None
            corners = list(zip(numbers[::2], numbers[1::2], strict=True))
            return loop(*keys, kind_x == "log", kind_y == "log", corners)
        if not words or len(words) % 3 or len(words) > 3 * MOST_RANGES:
            return None
        ranges = {_unquoted(words[i]): (_finite(words[i + 1]), _finite(words[i + 2])) for i in range(0, len(words), 3)}
    except ValueError:
        return None
    return Brush(ranges) if all(k in METRICS and r[0] <= r[1] for k, r in ranges.items()) else None


def cuts_text(cuts: Sequence[Cut]) -> str:
    """Cuts in an address, in their order: `keep~…!out~…`."""
    return "!".join(f"{'keep' if cut.keep else 'out'}~{brush_text(cut.brush)}" for cut in cuts)


def cuts_of(text: str | None) -> tuple[Cut, ...]:
    """The inverse of `cuts_text`; what is no cut is left out."""
    found = []
    for part in (text or "").split("!", MOST_CUTS)[:MOST_CUTS]:
        kind, _, rest = part.partition("~")
        brush = brush_of(rest)
        if brush is not None and kind in {"keep", "out"}:
            found.append(Cut(kind == "keep", brush))
    return tuple(found)


def _finite(text: str) -> float:
    value = float(text) if len(text) <= 40 else math.nan
    if not math.isfinite(value):
        raise ValueError(text)
    # As it would be written.
    return float(f"{value:.6g}")


def _quoted(key: str) -> str:
    # A sweep's own metric has any name.
    for sign in "%~!":
        key = key.replace(sign, f"%{ord(sign):02X}")
    return key


def _unquoted(text: str) -> str:
    for sign in "!~%":
        text = text.replace(f"%{ord(sign):02X}", sign)
    return text
