"""The numbers and the small picture of a sweep's card."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from engine.figures.thumbnail import MOST_BEATEN, summarise_sweep, summary_text, thumbnail_alt, thumbnail_svg
from engine.frontier.recommendation import View, choose
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from tests.helpers.trial_factory import FOUR, INT8, sweep_trials, trial

SVG = "{http://www.w3.org/2000/svg}"


def cut(ratio: float) -> Recipe:
    return Recipe(steps=(Prune(method="channel", ratio=ratio),))


def test_a_card_draws_the_same_frontier_as_the_explore_page():
    trials = sweep_trials(failed=2, pending=3)
    summary = summarise_sweep(trials)
    choice = choose(trials, View())
    by_id = {t.id: t for t in trials}
    expected = [(by_id[i].latency_ms.p50, by_id[i].accuracy.value) for i in choice.front]
    assert summary.front.tolist() == pytest.approx(np.array(expected))
    assert (summary.measured, summary.failed) == (19, 2)
    assert len(summary.front) + summary.beaten_count == 19


def test_the_picture_has_a_mark_for_each_frontier_point_and_the_baseline():
    summary = summarise_sweep(sweep_trials())
    picture = ElementTree.fromstring(thumbnail_svg(summary))
    filled = [c for c in picture.iter(f"{SVG}circle") if c.get("fill") != "none"]
    assert len(filled) == len(summary.front)
    assert len(list(picture.iter(f"{SVG}rect"))) == 1
    assert picture.find(f"{SVG}title").text == thumbnail_alt(summary)


def test_every_mark_lies_inside_the_picture():
    ruined = trial(cut(0.9), accuracy=0.1, latency_ms=5.0)
    picture = ElementTree.fromstring(thumbnail_svg(summarise_sweep([*sweep_trials(), ruined]), 200, 100))
    for circle in picture.iter(f"{SVG}circle"):
        assert 0 <= float(circle.get("cx")) <= 200
        assert 0 <= float(circle.get("cy")) <= 100


def test_less_is_left_and_more_accuracy_is_up():
    trials = [trial(accuracy=0.93, latency_ms=2.0), trial(INT8, accuracy=0.90, latency_ms=1.0)]
    picture = ElementTree.fromstring(thumbnail_svg(summarise_sweep(trials)))
    (x1, y1), (x2, y2) = ((float(c.get("cx")), float(c.get("cy"))) for c in picture.iter(f"{SVG}circle"))
    assert x1 < x2  # the faster one
    assert y1 > y2  # is the less accurate


def test_without_latency_the_file_size_is_across():
    summary = summarise_sweep([trial(latency_ms=None), trial(INT8, latency_ms=None, size_bytes=30_000)])
    assert summary.x_key == "size_bytes"
    assert "File size (kB)" in thumbnail_alt(summary)


def test_the_smallest_file_is_among_those_that_lose_at_most_one_point():
    trials = [
        trial(accuracy=0.93, size_bytes=300_000),
        trial(INT8, accuracy=0.92, size_bytes=80_000),
        trial(FOUR, accuracy=0.9199, size_bytes=40_000),
    ]
    summary = summarise_sweep(trials)
    assert summary.smallest_bytes == 80_000
    assert summary.times_smaller == pytest.approx(3.75)
    assert summary_text(summary) == (
        "Best accuracy 93.00 % · within 1 point of the baseline down to 80.0 kB, 3.8× smaller"
    )


def test_nothing_measured_has_words_and_no_picture():
    summary = summarise_sweep(sweep_trials(pending=24))
    assert summary_text(summary) == "Nothing measured yet"
    assert thumbnail_svg(summary) is None
    assert summary.baseline is None


def test_recipes_with_the_same_numbers_are_one_dot_and_counted_each():
    summary = summarise_sweep([trial(), trial(INT8), trial(FOUR)])
    picture = ElementTree.fromstring(thumbnail_svg(summary))
    assert len(list(picture.iter(f"{SVG}circle"))) == 1
    assert "3 recipes on the frontier" in thumbnail_alt(summary)


def test_one_point_is_drawn():
    assert re.search(r'<circle cx="[\d.]+"', thumbnail_svg(summarise_sweep([trial()])))


def test_many_beaten_points_are_thinned_out_and_counted():
    trials = [trial(accuracy=0.93, latency_ms=0.5)]
    trials += [trial(cut(i / 1000), accuracy=0.8, latency_ms=1 + i / 1000) for i in range(1, 500)]
    summary = summarise_sweep(trials)
    assert summary.beaten_count == 499
    assert len(summary.beaten) <= MOST_BEATEN
    assert "499 beaten" in thumbnail_alt(summary)
