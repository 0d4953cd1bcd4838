"""The heat map of layers and bits, and the line of layers along the graph."""

from __future__ import annotations

import math

import pytest

from engine.figures.layer_divergence import divergence_alt, divergence_figure, divergence_info
from engine.figures.layer_sensitivity import DIVERGENCE, HARM, sensitivity_alt, sensitivity_figure, sensitivity_info
from engine.trials.layer_texts import bytes_text, tail_name, time_text, unit_text


def cell(bits: int, value: float, low: float, divergence: float = 0.01) -> dict[str, object]:
    harm = {"value": value, "low": low, "high": value + 1}
    return {"bits": bits, "harm": harm, "divergence": divergence, "bytes_saved": 1500 * bits, "ms_saved": 0.02}


def found(layers: int = 3, tested: bool = True) -> dict[str, object]:
    cells = [cell(8, -0.1, -0.6), cell(4, 0.4, -0.1), cell(2, 9.0, 7.0, 0.5)]
    rows = [
        {"name": f"/layer{i}/<b>/Conv", "also": [], "op_type": "Conv", "params": 576, "cells": cells}
        for i in range(layers)
    ]
    return {
        "layers": rows,
        "bits": [8, 4, 2],
        "kernels": "measured",
        "metric": {"name": "Accuracy", "unit": "points", "tested": tested},
        "divergence": {"name": "KL divergence", "unit": "nats"},
    }


def test_every_cell_has_its_loss_its_bytes_and_whose_it_is():
    info = sensitivity_info(found())
    assert info.title == "Accuracy: what it loses (points)"
    assert [c.text for c in info.cells[0]] == ["-0.1<br>12.0 kB", "0.4<br>6.0 kB", "<b>9</b><br>3.0 kB"]
    # What was gained is coloured as nothing lost.
    assert [c.shade for c in info.cells[0]] == [0.0, pytest.approx(math.sqrt(0.4)), 3.0]
    assert "9 points lost (95 %: 7 to 10)" in info.cells[0][2].hover
    assert "&lt;b&gt;" in info.cells[0][2].hover
    assert "&lt;b&gt;" in info.rows[0]
    assert "kernel 0.02 ms faster" in info.rows[0]
    figure = sensitivity_figure(info, {"/layer1/<b>/Conv": 4})
    bars = figure.data[0]
    assert list(bars.customdata[4]) == ["/layer1/<b>/Conv", 4]
    assert [w > 0 for w in bars.marker.line.width] == [i == 4 for i in range(9)]
    assert bars.text[4].startswith("✓")
    assert "In 3 cells more is lost than by chance. The worst is layer0" in sensitivity_alt(info)


def test_colours_may_show_how_far_answers_moved():
    info = sensitivity_info(found(), DIVERGENCE)
    assert info.title == "KL divergence (nats)"
    assert info.cells[0][2].shade == pytest.approx(math.log10(0.5))
    assert info.ticks == ((-2.0, "0.01"), (-1.0, "0.1"))
    assert sensitivity_figure(info, {}).data[1].marker.cmin == pytest.approx(-2)


def test_without_labels_nothing_is_called_more_than_chance():
    info = sensitivity_info(found(tested=False))
    assert "<b>" not in info.cells[0][2].text
    assert "chance" not in sensitivity_alt(info)


def test_eighty_layers_stay_a_chart_that_can_be_looked_at():
    few, many = (sensitivity_figure(sensitivity_info(found(n)), {}) for n in (3, 80))
    assert "kB" in few.data[0].text[0]
    assert "kB" not in many.data[0].text[0]
    assert many.layout.height < 80 * 40 + 160
    assert len(many.data[0].y) == 240


def test_cells_that_could_not_be_counted_are_empty():
    none = found(1)
    none["layers"][0]["cells"] = [{**cell(8, 0, 0), "harm": None, "divergence": None, "ms_saved": None}]
    none["bits"] = [8]
    for by in (HARM, DIVERGENCE):
        info = sensitivity_info(none, by)
        assert info.cells[0][0].text.startswith("–")
        assert info.worst is None
        assert len(set(sensitivity_figure(info, {}).data[0].marker.color)) == 1


def test_texts():
    assert (bytes_text(-512), bytes_text(2_500_000)) == ("-0.5 kB", "2.50 MB")
    assert (unit_text(1.234, "K"), unit_text(0.0001, ""), unit_text(0, "points")) == ("1.23 K", "0.0001", "0 points")
    layer = {"cells": [{"ms_saved": -0.0123}]}
    assert time_text(layer, "measured") == "kernel 0.012 ms slower"
    assert time_text(layer, "none") == "not faster"
    assert time_text({"cells": [{"ms_saved": None}]}, "measured") == "time not told apart"
    assert time_text({"cells": [{"ms_saved": 0.0}]}, "measured") == "kernel as fast"


def along(**first: object) -> dict[str, object]:
    rows = [
        {"name": "/a/Conv", "before_db": None, "before_exact": True, "sqnr_db": 38.0},
        {"name": "/b/Conv", "before_db": 31.0, "before_exact": False, "sqnr_db": 18.0},
        {"name": "/c/Conv", "before_db": 18.0, "before_exact": False, "sqnr_db": None},
    ]
    rows = [{"op_type": "Conv", "exact": False, "cosine": 0.99} | row for row in rows]
    rows[0] |= first
    return {"layers": rows, "largest": "/b/Conv"}


def test_layers_are_drawn_in_their_order_and_the_one_that_loses_most_stands_out():
    info = divergence_info(along())
    assert [p.name for p in info.places] == ["a/Conv", "b/Conv", "c/Conv"]
    assert [p.largest for p in info.places] == [False, True, False]
    # What does not differ is drawn at the end of the scale, and called so.
    assert info.top == 40
    assert info.places[0].before == 40
    assert info.places[2].after is None
    figure = divergence_figure(info)
    assert len(set(figure.data[2].marker.color)) == 2
    assert figure.layout.xaxis.ticktext[-1] == "none"
    assert "reads what does not differ" in info.places[0].hover
    assert divergence_alt(info, "So.").endswith("So. The lowest is b/Conv with 18 dB.")


def test_without_exact_layers_the_scale_is_decibels():
    info = divergence_info(along(before_exact=False, before_db=60.0))
    assert info.top is None
    assert divergence_figure(info).layout.xaxis.ticktext is None


def test_a_trial_that_does_not_differ_at_all_can_be_drawn():
    same = {"before_db": None, "before_exact": True, "sqnr_db": None, "exact": True, "cosine": 1.0}
    info = divergence_info({"layers": [{"name": "a", "op_type": "Gemm", **same}], "largest": None})
    assert info.places[0].after == info.top
    assert divergence_figure(info).layout.xaxis.ticktext[-1] == "none"


def test_one_sample_more_or_less_is_not_coloured_as_the_worst():
    some = found(1)
    some["layers"][0]["cells"] = [cell(8, 0.0, -0.5), cell(4, 0.1, -0.4), cell(2, -0.1, -0.6)]
    info = sensitivity_info(some)
    assert info.top > 2 * max(c.shade for c in info.cells[0])


def test_names_are_shown_without_their_operator():
    assert tail_name("/blocks.0/wide/MatMul", "MatMul") == "blocks.0/wide"
    assert tail_name("/Gemm", "Gemm") == "Gemm"
    assert divergence_info(along()).places[1].short == "b"
