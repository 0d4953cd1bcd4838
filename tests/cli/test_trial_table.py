"""Trials as rows of a table."""

from __future__ import annotations

import pytest

from engine.cli._tables import print_table
from engine.cli._trial_table import machine_line, trial_cells, trial_columns
from tests.helpers.trial_factory import INT8, trial


def test_a_failed_trial_leaves_room_for_the_names_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    why = "quantize: method block is for matrix products, and the graph has none; use method ptq, or leave the step out here"
    trials = [trial(), trial(INT8, state="failed", error=why)]
    print_table(trial_columns(), [trial_cells(t, "host") for t in trials], machine_line(trials, "host"))
    shown = capsys.readouterr().out
    assert trials[0].id in shown
    assert trials[1].id in shown
    assert "baseline" in shown
    assert "int8: quantize: method block" in shown
    assert "failed" in shown
    assert max(map(len, shown.splitlines())) <= 160


def test_before_anything_is_measured_no_machine_is_named() -> None:
    assert machine_line([trial(state="pending", machine=None)], "host") == "Nothing is measured yet."
