"""A series to be looked at: a line for each channel, as a small SVG. Pure and light: no plotly, no streamlit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Ranges = npt.NDArray[np.float64]
"""(channels, 2): what is the lower and the upper edge, for each channel."""

# Middle tones, which a light and a dark page both show; apart for who sees no red or green (Okabe & Ito 2008).
COLOURS = ("#1F83C6", "#CC79A7", "#D98E04", "#009E73", "#8C95A3", "#56B4E9")
MOST_LINES = 12
"""More lines than this are a tangle."""
MOST_POINTS = 400
_MARGIN = 5


def is_series(shape: tuple[int, ...]) -> bool:
    """Whether an item of this shape, as stored, is (channels, time) with few enough channels to be drawn as lines."""
    return len(shape) == 2 and shape[0] <= MOST_LINES and shape[1] > 1


def ranges_of(items: Array) -> Ranges:
    """From the least to the most of each channel in some items (n, channels, time)."""
    values = items.astype(np.float64)
    return np.stack([values.min((0, 2)), values.max((0, 2))], axis=1)


def series_svg(item: Array, ranges: Ranges, side: int) -> str:
    """One item (channels, time) in a square of `side` pixels, each channel between its own edges; of long ones some points are left out."""
    inner = side - 2 * _MARGIN
    time = np.unique(np.linspace(0, item.shape[1] - 1, min(item.shape[1], MOST_POINTS)).round().astype(int))
    across = _MARGIN + inner * time / (item.shape[1] - 1)
    lines = []
    for channel, (values, (low, high)) in enumerate(zip(item.astype(np.float64), ranges, strict=True)):
        share = np.clip((values[time] - low) / (high - low if high > low else 1.0), 0, 1)
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, _MARGIN + inner * (1 - share), strict=True))
        lines.append(f'<polyline points="{points}" stroke="{COLOURS[channel % len(COLOURS)]}"/>')
    frame = (
        f'<rect x="0.5" y="0.5" width="{side - 1}" height="{side - 1}" rx="4" stroke="#8C95A3" stroke-opacity="0.4"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {side} {side}" fill="none" '
        f'stroke-width="1.5" stroke-linejoin="round">{frame}{"".join(lines)}</svg>'
    )


def series_text(shape: tuple[Any, ...]) -> str:
    """What the picture shows: `2 channels of 8 points, a line each`."""
    return f"{shape[0]} channel{'s' * (shape[0] != 1)} of {shape[1]} points, a line each"
