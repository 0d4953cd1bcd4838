"""Series as lines: one for each channel, between the edges of that channel."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from engine.figures.series import MOST_LINES, MOST_POINTS, is_series, ranges_of, series_svg, series_text

SVG = "{http://www.w3.org/2000/svg}"


def lines(text: str) -> list[list[tuple[float, float]]]:
    root = ET.fromstring(text)
    return [
        [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
        for line in root.iter(f"{SVG}polyline")
    ]


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((2, 8), True),
        ((1, 128), True),
        ((MOST_LINES + 1, 8), False),
        ((3, 1), False),
        ((8,), False),
        ((1, 28, 28), False),
    ],
)
def test_what_is_drawn_as_lines(shape: tuple[int, ...], drawn: bool):
    assert is_series(shape) is drawn


def test_each_channel_goes_from_edge_to_edge_by_its_own_range():
    items = np.array([[[0, 50, 100], [7, 7, 8]], [[0, 0, 0], [6, 7, 8]]], np.uint8)
    up, side = lines(series_svg(items[0], ranges_of(items), 60))
    assert up == [(5.0, 55.0), (30.0, 30.0), (55.0, 5.0)]
    assert side == [(5.0, 30.0), (30.0, 30.0), (55.0, 5.0)]


def test_what_never_moves_is_a_line_and_what_is_outside_stays_in_the_picture():
    ranges = np.array([[3.0, 3.0], [0.0, 1.0]])
    flat, far = lines(series_svg(np.array([[3.0, 3.0], [-9.0, 9.0]]), ranges, 60))
    assert {y for _, y in flat} == {55.0}
    assert [y for _, y in far] == [55.0, 5.0]


def test_long_series_keep_their_ends():
    (line,) = lines(series_svg(np.arange(10_000.0)[None], np.array([[0.0, 9_999.0]]), 112))
    assert len(line) == MOST_POINTS
    assert (line[0], line[-1]) == ((5.0, 107.0), (107.0, 5.0))


def test_the_caption_counts():
    assert series_text((1, 30)) == "1 channel of 30 points, a line each"
    assert re.match("2 channels of 8 points", series_text((2, 8)))
