"""A sweep at a glance: its best numbers, and its frontier as a small SVG. Pure and light: no plotly, no streamlit."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.frontier.columns import Trials
from engine.frontier.dominance import Bools, Floats, non_dominated
from engine.frontier.front import objective_points
from engine.metrics import METRICS, axis_title, is_score, text_of
from engine.trials.trial import Trial

# Middle tones, which a light and a dark page both show.
BLUE, PINK, GREY = "#1F83C6", "#CC79A7", "#8C95A3"
WIDTH, HEIGHT = 320, 120
MARGIN = 10
MOST_BEATEN = 200
"""More dots than this fill the picture without saying more; frontier points are all drawn."""
NEAR = 0.01
"""A file is `small` when it loses at most this share of accuracy against the baseline: one point."""


@dataclass(frozen=True)
class Summary:
    """What a card says of a sweep; values in base units, None where nothing was measured.

    `front` and `beaten` are points of shape (n, 2), x (`x_key`) and `y_key` (negative where less is better), the front in the order of x;
    `beaten_count` counts those that are not drawn as well. `smallest_bytes` is the smallest file among the recipes that lose at most one
    point, or one per cent of a number that is no share, against the baseline, `times_smaller` how often it fits into the baseline's.
    """

    measured: int
    failed: int
    x_key: str
    y_key: str
    front: Floats
    beaten: Floats
    beaten_count: int
    baseline: tuple[float, float] | None
    best: float | None
    smallest_bytes: float | None
    times_smaller: float | None


def summarise_sweep(trials: Sequence[Trial]) -> Summary:
    """The numbers and points of a sweep's card; what it is judged by against latency, or against size where no latency was measured."""
    table = Trials.of(trials)
    done = table.done
    x_key = "latency_ms" if np.isfinite(done.numbers("latency_ms").value).any() else "size_bytes"
    y_key, merit = done.judged_by, done.merit()
    points = np.stack([objective_points(done, (x_key,))[:, 0], merit], axis=1)
    drawn: Bools = np.asarray(np.isfinite(points).all(axis=1))
    on_front = non_dominated(points, (METRICS[x_key].maximise, True))
    front = points[on_front]
    beaten = points[drawn & ~on_front]
    # Every so-many-th: the same picture each time.
    sample = beaten[:: max(1, -(-len(beaten) // MOST_BEATEN))]
    baseline = done.baseline
    smallest, times = _smallest_near_baseline(merit, done.numbers("size_bytes").value, baseline, _is_share(y_key))
    return Summary(
        measured=len(done),
        failed=int((table.fact("state") == "failed").sum()),
        x_key=x_key,
        y_key=y_key,
        front=front[np.lexsort((front[:, 1], front[:, 0]))],
        beaten=sample,
        beaten_count=len(beaten),
        baseline=(float(points[baseline, 0]), float(points[baseline, 1]))
        if baseline is not None and drawn[baseline]
        else None,
        best=None if np.isnan(merit).all() else abs(float(np.nanmax(merit))),
        smallest_bytes=smallest,
        times_smaller=times,
    )


def _smallest_near_baseline(
    merit: Floats, size_bytes: Floats, baseline: int | None, is_share: bool
) -> tuple[float | None, float | None]:
    """The least size that is about as good as the baseline, and how many times smaller it is. Arrays of shape (trials,)."""
    if baseline is None or np.isnan(merit[baseline]) or np.isnan(size_bytes[baseline]):
        return None, None
    near = NEAR if is_share else NEAR * abs(merit[baseline])
    # Shares are whole numbers of images over their count, so a rounding must not cost an image.
    smallest = float(np.nanmin(size_bytes[merit >= merit[baseline] - near - 1e-9]))
    return smallest, float(size_bytes[baseline]) / smallest


def _is_share(key: str) -> bool:
    return METRICS[key].unit == "%"


def summary_text(summary: Summary) -> str:
    """One line of Markdown-free text: the best accuracy, and the smallest file near the baseline."""
    if summary.best is None:
        return "Nothing measured yet"
    name = METRICS[summary.y_key].name.removeprefix("Fidelity: ")
    text = f"Best {name if is_score(summary.y_key) else name.lower()} {text_of(summary.y_key, summary.best)}"
    if summary.smallest_bytes is not None and summary.times_smaller is not None:
        times = f"{summary.times_smaller:.1f}"
        small = text_of("size_bytes", summary.smallest_bytes) + (f", {times}× smaller" if times != "1.0" else "")
        text += f" · within {'1 point' if _is_share(summary.y_key) else '1 %'} of the baseline down to {small}"
    return text


def thumbnail_alt(summary: Summary) -> str:
    """The picture in a sentence, for those who cannot see it."""
    count, name = len(summary.front), METRICS[summary.y_key].name
    name = name if is_score(summary.y_key) else name.lower()
    return (
        f"Small chart of {name} over {axis_title(summary.x_key)}: {count} {'recipe' if count == 1 else 'recipes'} on the frontier, "
        f"{summary.beaten_count} beaten by another."
    )


def thumbnail_svg(summary: Summary, width: int = WIDTH, height: int = HEIGHT) -> str | None:
    """The frontier as a standalone SVG of `width` by `height` pixels, less x to the left, better up; None without points.

    Frontier points are filled, beaten ones open, the baseline a square. Beaten points far below the frontier are left out.
    """
    if not len(summary.front):
        return None
    low, high = _window(summary)

    def place(point: Floats | tuple[float, float]) -> tuple[float, float]:
        share = (np.asarray(point) - low) / (high - low)
        return MARGIN + float(share[0]) * (width - 2 * MARGIN), height - MARGIN - float(share[1]) * (
            height - 2 * MARGIN
        )

    # Recipes with the very same numbers are one dot.
    front = [place(p) for p in np.unique(summary.front, axis=0)]
    inside = ((summary.beaten >= low) & (summary.beaten <= high)).all(axis=1)
    marks = [f'<path d="{_staircase(front, width - MARGIN)}" fill="none" stroke="{BLUE}" stroke-width="2"/>']
    marks += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="none" stroke="{GREY}" stroke-width="1.2"/>'
        for x, y in (place(p) for p in summary.beaten[inside])
    ]
    marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{BLUE}"/>' for x, y in front]
    if summary.baseline is not None and _within(summary.baseline, low, high):
        x, y = place(summary.baseline)
        marks.append(
            f'<rect x="{x - 6:.1f}" y="{y - 6:.1f}" width="12" height="12" fill="none" stroke="{PINK}" stroke-width="2"/>'
        )
    axes = f"M{MARGIN / 2} {MARGIN / 2} V{height - MARGIN / 2} H{width - MARGIN / 2}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{html.escape(thumbnail_alt(summary))}</title>"
        f'<path d="{axes}" fill="none" stroke="{GREY}" stroke-width="1" opacity="0.6"/>{"".join(marks)}</svg>'
    )


def _within(point: tuple[float, float], low: Floats, high: Floats) -> bool:
    return bool((np.asarray(point) >= low).all() and (np.asarray(point) <= high).all())


def _window(summary: Summary) -> tuple[Floats, Floats]:
    """The drawn region: the frontier and the baseline with room around them, since one ruined recipe would flatten all others."""
    shown = summary.front if summary.baseline is None else np.vstack([summary.front, summary.baseline])
    low, high = shown.min(axis=0), shown.max(axis=0)
    span = np.where(high > low, high - low, np.maximum(np.abs(high), 1e-9) * 0.1)
    return low - span * (0.06, 0.35), high + span * (0.25, 0.08)


def _staircase(points: Sequence[tuple[float, float]], right: float) -> str:
    """Between two frontier points nothing better than the worse of them is known, so the edge goes along x first."""
    (x, y), *others = points
    return f"M{x:.1f} {y:.1f}" + "".join(f" H{a:.1f} V{b:.1f}" for a, b in others) + f" H{right:.1f}"
