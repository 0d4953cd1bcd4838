"""Rows of the devices' heat map: families under their headings, other orders, and why a recipe does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.devices.obstacles import obstacle
from engine.devices.profiles import find_profile
from engine.devices.published import reference_demands
from engine.devices.short_reasons import short_reason
from engine.figures.heat_map import AS_PLANNED, ROW_PX, heat_map_figure, heat_map_info, heat_map_twin
from engine.graph.demand import in_integers
from engine.trials.measurements import Projection
from tests.helpers.trial_factory import CUT, INT8, sweep_trials, trial

FLOAT = reference_demands()["resnet8"]
BOARD = find_profile("stm32h7a3-xcubeai")


def test_families_are_headings_and_every_cell_keeps_its_trial():
    trials = sweep_trials()
    # Out of order, as a search finds them.
    info = heat_map_info(trials[::2] + trials[1::2], ("host",))
    assert sorted(info.trial_ids) == sorted(t.id for t in trials)
    labels = {t.id: t.label for t in trials}
    assert [labels[i] for i in info.trial_ids] == list(info.recipes)
    families = list(dict.fromkeys(info.families))
    assert len(families) == 8
    assert [info.families.count(f) for f in families] == [3] * 8
    # No family begins twice.
    assert [f for i, f in enumerate(info.families) if i == 0 or f != info.families[i - 1]] == families
    figure = heat_map_figure(info)
    assert [a.text for a in figure.layout.annotations] == [f"<b>{f}</b>" for f in families]
    values = figure.data[1]
    held = {row[0][0]: z[0] for row, z in zip(values.customdata, values.z, strict=True) if row[0][0]}
    assert held.keys() == set(labels)
    for made in trials:
        assert 10 ** held[made.id] == pytest.approx(made.latency_ms.p50)
    for name, heading in zip(info.names, info.families, strict=True):
        assert not name.startswith(heading)


def test_rows_are_half_as_tall_as_they_were():
    trials = sweep_trials()
    grown = heat_map_figure(heat_map_info(trials, ("host",), order=AS_PLANNED)).layout.height
    fewer = heat_map_figure(heat_map_info(trials[:-1], ("host",), order=AS_PLANNED)).layout.height
    assert grown - fewer == ROW_PX == 42 / 2


def test_rows_are_sorted_by_a_device_and_what_does_not_fit_there_comes_last():
    slow, fast = replace(trial(INT8, latency_ms=3.0), id="slow"), replace(trial(CUT, latency_ms=0.5), id="fast")
    barred = replace(trial(latency_ms=0.1), projections={"board": Projection(None, None, fits=False, reason="no")})
    info = heat_map_info([barred, slow, fast], ("host", "board"), order="host")
    assert info.trial_ids == (barred.id, "fast", "slow")
    assert heat_map_info([barred, slow, fast], ("host", "board"), order="board").trial_ids[-1] == barred.id
    assert info.names == info.recipes
    assert not any(info.families)


def test_a_cell_says_in_a_word_why_a_recipe_does_not_fit():
    small = in_integers(FLOAT)
    weights, peak = small.weight_bytes(BOARD.storage_bits), small.peak_bytes
    cases = {
        "float": obstacle(BOARD, FLOAT),
        "flash 2.0×": obstacle(
            replace(BOARD, flash_bytes=int(weights / 2) // 1024 * 1024, weights_in_ram=False), small
        ),
        "RAM 1.4×": obstacle(replace(BOARD, flash_bytes=None, ram_bytes=int(peak / 1.4) // 1024 * 1024), small),
        f"no {small.op_types[0]} +{len(set(small.op_types)) - 1}": obstacle(replace(BOARD, operators=()), small),
    }
    assert {short: short_reason(said or "") for short, said in cases.items()} == {short: short for short in cases}
    assert short_reason("1,049,600 bytes of weights exceed its flash of 1,024 KiB") == "flash 1.001×"
    assert short_reason("the moon is full") == "does not fit"


def test_the_table_beside_it_names_every_recipe():
    info = heat_map_info(sweep_trials(), ("host",))
    twin = heat_map_twin(info)
    assert [row[0] for row in twin.rows] == list(info.recipes)
    assert [row[1] for row in twin.rows] == [cells[0].text for cells in info.cells]
