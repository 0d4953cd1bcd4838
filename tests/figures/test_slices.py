"""Slices drawn: the worst on top, whichever way is better, and what is more than chance filled."""

from __future__ import annotations

from dataclasses import replace

from engine.figures.slices import changes_figure, changes_info, levels_figure, levels_info, slices_alt
from engine.trials.evidence import Interval
from engine.trials.slice_texts import flat_slices, slice_rows
from engine.trials.slices import Slice, SliceFigure, Slices

KEY = "score:MAE:min:K"


def made(key: str, figure: str) -> Slices:
    def part(name: str, n: int, value: float, change: float, low: float) -> Slice:
        found = SliceFigure(value, value - 0.1, value + 0.1, Interval(change, low, 2 * change - low))
        return Slice("site", name, n, **{figure: found})

    return Slices(
        key,
        (
            part("<b>", 40, 0.5, 0.1, 0.05),
            part("b", 60, 0.7, -0.1, -0.3),
            part("c", 50, 0.6, 0.02, -0.1),
            Slice("site", "one", 1),
        ),
    )


def test_of_an_error_the_largest_is_worst() -> None:
    found = made(KEY, "score")
    levels, changes = levels_info(found, found), changes_info(found)
    assert [m.name for m in levels] == ["site b", "site c", "site <b>"]
    assert levels[0].before == levels[0].value
    assert [m.name for m in changes] == ["site <b>", "site c", "site b"]
    assert [m.worse for m in changes] == [True, True, False]
    assert [m.is_certain for m in changes] == [True, False, False]
    bars = changes_figure(changes, KEY)
    colours = bars.data[0].marker.color
    assert colours[0] != colours[1] == "rgba(0, 0, 0, 0)"
    assert bars.layout.xaxis.title.text == "Change of MAE (K)"
    assert "site &lt;b&gt; (40)" in bars.layout.yaxis.ticktext[0]
    long = levels_figure([replace(levels[0], name="site of a rather long name")], KEY).layout.yaxis.ticktext[0]
    assert long == "site of a rather lo… (60)"
    assert levels_figure(levels, KEY).layout.xaxis.title.text == "MAE (K)"
    assert slices_alt("MAE", levels).startswith(
        "MAE of 3 slices with 95 % intervals, the worst first: site b 0.700 K (0.600 to 0.800)"
    )


def test_of_accuracy_the_lowest_is_worst_and_shown_in_percent() -> None:
    found = made("accuracy", "accuracy")
    assert [m.name for m in levels_info(found, None)] == ["site <b>", "site c", "site b"]
    changes = changes_info(found)
    assert (changes[0].name, changes[0].value, changes[0].worse) == ("site b", -10.0, True)
    assert changes_figure(changes, "accuracy").layout.xaxis.title.text == "Change of Accuracy (points)"


def test_no_number_without_its_interval() -> None:
    rows = slice_rows(made(KEY, "score"))
    assert rows[0] == {
        "Slice": "site <b>", "Samples": "40", "MAE": "0.500 K (0.400 to 0.600)", "MAE vs baseline": "+0.100 K (+0.0500 to +0.150)",
    }  # fmt: skip
    assert rows[3]["MAE"] == "one sample tells nothing of it"
    flat = flat_slices(made(KEY, "score"))
    assert (flat[1]["value"], flat[1]["score_value"], flat[1]["score_change_low"]) == ("b", 0.7, -0.3)
    assert flat[3]["score_value"] is None
