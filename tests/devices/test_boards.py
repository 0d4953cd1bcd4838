"""Boards as devices: an axis of their own for the trials whose very files they measured."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from engine.devices.boards import beside, current_runs, on_boards, with_boards
from engine.frontier.columns import Trials
from engine.frontier.front import find_front
from engine.store.artifacts import Artifacts
from engine.trials.boards import BoardRun
from engine.trials.text import is_estimated
from tests.helpers.board import board_run
from tests.helpers.trial_factory import CUT, INT8, trial

NAME, OTHER = "cd" * 32 + ".onnx", "ef" * 32 + ".onnx"


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(str(tmp_path / "artifacts"), tmp_path / "cache")


def test_a_record_survives_the_store():
    run = board_run("a", NAME, profile="host")
    assert BoardRun.from_json(run.to_json()) == run


def test_columns_and_trials_say_the_same_and_only_of_what_was_measured():
    trials = [trial(), trial(INT8, accuracy=0.8), trial(CUT, accuracy=0.85)]
    runs = {INT8.id: [board_run(INT8.id, NAME)], CUT.id: [board_run(CUT.id, NAME, board="other")]}
    seen, whole = on_boards(Trials.of(trials), runs), with_boards(trials, runs)
    assert seen.devices[-2:] == ("pi", "other")
    np.testing.assert_array_equal(seen.numbers("latency_ms", "pi").value, [np.nan, 4.0, np.nan])
    np.testing.assert_array_equal(seen.numbers("latency_ms", "pi").low, [np.nan, 3.9, np.nan])
    assert not seen.numbers("latency_ms", "pi").estimated.any()
    assert np.isnan(seen.numbers("energy_mj", "pi").value).all()
    for device in ("host", "stm32h7a3-xcubeai"):
        np.testing.assert_array_equal(
            seen.numbers("latency_ms", device).value, Trials.of(trials).numbers("latency_ms", device).value
        )
    assert list(seen) == whole
    assert not any(is_estimated(t, "latency_ms", "pi") for t in whole)
    assert Trials.of(whole).numbers("latency_ms", "pi").estimated.tolist() == [False] * 3
    assert Trials.of(whole).devices == seen.devices
    front = find_front(seen, ("accuracy", "latency_ms"), "pi")
    assert [t.id for t in front.trials] == [INT8.id]
    plain = Trials.of(trials)
    assert on_boards(plain, {}) is plain


def test_what_was_measured_of_an_earlier_file_counts_no_more(artifacts: Artifacts, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"same")
    artifacts.put(OTHER, tmp_path / "file")
    same = hashlib.sha256(b"same").hexdigest()
    runs = [
        board_run("a", NAME, board="by name"),
        board_run("a", "gone", board="by content", sha256=same),
        board_run("a", "gone", board="no longer"),
    ]
    assert [r.board for r in current_runs(runs, {"a": NAME}, artifacts)["a"]] == ["by name"]
    assert [r.board for r in current_runs(runs, {"a": OTHER}, artifacts)["a"]] == ["by content"]
    assert current_runs(runs, {"a": None}, artifacts) == current_runs(runs, {}, artifacts) == {}


def test_an_estimate_that_is_not_there_is_said(artifacts: Artifacts):
    plain = dataclasses.replace(trial(INT8), projections={}, latency_ms=None)
    for profile, words in (
        ("gone-profile", "no profile gone-profile any more"),
        ("stm32h7a3-xcubeai", "is not known"),
        ("host", "no latency was measured"),
    ):
        found = beside(plain, board_run(INT8.id, NAME, profile=profile), artifacts)
        assert (found.error_percent, words in (found.reason or "")) == (None, True)
    assert beside(plain, board_run(INT8.id, NAME), artifacts).reason is None
