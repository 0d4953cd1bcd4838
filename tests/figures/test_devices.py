"""Figures of devices: what they say, not how they look."""

from dataclasses import replace

import numpy as np
import pytest

from engine.devices.cost import find_scenario
from engine.devices.projected import under_scenario
from engine.devices.projection import project, with_projections
from engine.devices.published import reference_demands
from engine.devices.validation import ErrorLine, own_checks
from engine.figures.devices import best_rows, error_rows, validation_alt, validation_figure, validation_info
from engine.figures.heat_map import CELL_KEYS, MOST_ROWS, heat_map_alt, heat_map_figure, heat_map_info
from engine.graph.demand import in_integers
from engine.trials.metric_values import metric_value
from tests.helpers.trial_factory import sweep_trials, trial

FLOAT = reference_demands()["resnet8"]
DEVICES = ("host", "stm32h7a3-xcubeai", "nvidia-l4")


@pytest.fixture
def trials():
    """A float baseline and its int8 version, projected."""
    small = replace(trial(accuracy=0.89), id="int8", demand=in_integers(FLOAT))
    return with_projections([replace(trial(), demand=FLOAT), small], DEVICES)


def test_a_heat_map_says_what_fits_and_why_not(trials):
    info = heat_map_info(trials, DEVICES, "latency_ms")
    assert (len(info.recipes), info.devices, info.title) == (2, DEVICES, "Latency (ms)")
    baseline, small = info.cells
    assert [c.fits for c in baseline] == [True, False, True]
    assert baseline[1].text == "float"
    assert "computes in 8 bits" in baseline[1].hover
    assert small[1].value == pytest.approx(project(DEVICES[1], in_integers(FLOAT)).latency_ms.value)
    assert "estimated" in small[1].hover
    assert small[0].value == 1.0


@pytest.mark.parametrize("key", CELL_KEYS)
def test_every_key_is_drawn_with_each_cell_in_its_place(trials, key):
    info = heat_map_info(under_scenario(trials, DEVICES, find_scenario("medical-imager")), DEVICES, key)
    figure = heat_map_figure(info)
    barred, values = figure.data
    # Both are of one family, so that no row is a heading.
    assert np.isfinite(np.array(barred.z, float)).tolist() == [[not c.fits for c in row] for row in info.cells]
    assert np.isfinite(np.array(values.z, float)).tolist() == [[c.value is not None for c in row] for row in info.cells]
    assert list(values.customdata[1][2]) == ["int8", "nvidia-l4"]
    assert list(figure.layout.yaxis.ticktext) == list(info.names) == list(info.recipes)
    assert list(figure.layout.xaxis.tickvals) == list(DEVICES)


def test_an_unknown_key_is_a_programmers_mistake(trials):
    with pytest.raises(ValueError, match="'beauty' is not one of fits, latency_ms"):
        heat_map_info(trials, DEVICES, "beauty")


def test_money_is_in_the_scenarios_currency(trials):
    seen = under_scenario(trials, DEVICES, find_scenario("medical-imager"))
    info = heat_map_info(seen, DEVICES, "cost_per_million", "EUR")
    assert info.title == "Cost per million (EUR)"
    assert "EUR estimated" in info.cells[1][1].hover


def test_a_scenario_is_looked_at_on_every_device(trials):
    seen = under_scenario(trials, DEVICES, find_scenario("medical-imager"))
    for device in DEVICES:
        assert metric_value(seen[1], "kwh_per_million", device) is not None
    assert metric_value(seen[0], "kwh_per_million", DEVICES[1]) is None


def test_of_many_recipes_those_of_a_frontier_are_drawn_first():
    many = [
        replace(trial(recipe, accuracy=0.5 + 0.001 * (i % 7)), id=f"{i:08x}")
        for i, recipe in enumerate([sweep_trials()[1].recipe] * 200)
    ]
    best = replace(trial(sweep_trials()[2].recipe, accuracy=0.95), id="best")
    info = heat_map_info([*many, best], ("host",))
    assert len(info.recipes) == MOST_ROWS
    assert info.left_out == 201 - MOST_ROWS
    assert info.trial_ids[-1] == "best"


def test_a_frontier_of_more_than_can_be_drawn_is_drawn_evenly_and_counted():
    recipe = sweep_trials()[1].recipe
    many = [replace(trial(recipe, accuracy=0.5 + i / 1000, latency_ms=1 + i / 100), id=f"{i:08x}") for i in range(100)]
    info = heat_map_info([trial(accuracy=0.4, latency_ms=9.0), *many], ("host",))
    assert len(info.recipes) == MOST_ROWS
    assert (info.left_out, info.front_left_out) == (101 - MOST_ROWS, 100 - MOST_ROWS + 1)
    assert [info.trial_ids[i] for i in (0, 1, -1)] == [trial().id, many[0].id, many[-1].id]
    assert max(np.diff([int(i, 16) for i in info.trial_ids[1:]])) <= 3


def test_trials_that_do_not_say_what_they_ask_keep_what_they_have():
    info = heat_map_info(sweep_trials()[:2], ("stm32h7a3-xcubeai", "ndp120"))
    assert info.cells[0][0].value is not None
    assert info.cells[0][1].text == "–"
    assert "not known" in info.cells[0][1].hover


def test_the_best_recipe_on_each_device(trials):
    host, board, card = best_rows(trials, DEVICES, {})
    assert host["Best recipe"] == card["Best recipe"] == "baseline"
    assert board["Accuracy"] == "89.00 %"
    assert board["Latency"].endswith("estimated")
    assert best_rows(trials, DEVICES, {"latency_ms": 1.0})[1]["Best recipe"] == "none measured keeps the limits"
    assert best_rows(trials[:1], DEVICES, {})[1]["Best recipe"] == "none fits"


def test_alternative_texts_count(trials):
    assert "1 of 6 pairs do not fit" in heat_map_alt(heat_map_info(trials, DEVICES))


def test_the_validation_chart_holds_every_left_out_value():
    checks = own_checks("accelerator")
    info = validation_info(checks, "energy_mj")
    assert 0 < len(info.checks) < len(checks)
    *lines, points = validation_figure(info).data
    assert len(lines) == 3
    assert list(points.x) == [c.published for c in info.checks]
    assert list(points.y) == [c.predicted for c in info.checks]
    assert f"{len(info.checks)} left-out values" in validation_alt(info)
    near = [abs(c.predicted / c.published - 1) <= 0.2 for c in info.checks]
    assert info.within_20_percent == pytest.approx(np.mean(near))


def test_error_rows_are_in_percent():
    (row,) = error_rows([ErrorLine("all", "energy_mj", "everywhere", 86, 0.214, 0.18, 0.97)])
    assert row["Mean error (%)"] == 21.4
    assert row["In the 90 % range (%)"] == 97.0
    assert (row["Quantity"], row["Network left out of"]) == ("energy", "all devices")
