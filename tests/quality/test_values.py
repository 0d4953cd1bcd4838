"""Outputs that are values: kept, and how close two networks' are."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import SetupError, StepError
from engine.quality import values as module
from engine.quality.scored import scored_samples
from engine.quality.values import Values, value_fidelity


def outputs(n: int = 60, width: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(3, 1, (n, width)).astype(np.float32)


def test_values_and_scores_are_kept(tmp_path):
    kept = Values.of(outputs(), scored_samples(np.arange(60.0), "x"))
    kept.save(tmp_path / "a.npz")
    kept.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = Values.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(again.outputs, kept.outputs)
    np.testing.assert_array_equal(again.scored.samples, np.arange(60.0))
    (tmp_path / "a.npz").write_bytes(b"no zip")
    with pytest.raises(SetupError, match="holds no outputs"):
        Values.load(tmp_path / "a.npz")


def test_of_very_large_outputs_the_first_are_kept(monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 120)
    kept = Values.of(outputs(), None)
    assert (len(kept.outputs), len(kept)) == (10, 60)


def test_the_baseline_is_like_itself():
    found = value_fidelity(Values.of(outputs(), None), None)
    assert (found.relative_error.value, found.cosine.value, found.neighbours.value) == (0, 1, 1)


def test_a_difference_is_told_in_three_ways():
    exact = outputs()
    moved = exact + np.random.default_rng(1).normal(0, 0.1, exact.shape).astype(np.float32)
    found = value_fidelity(Values.of(moved, None), Values.of(exact, None))
    spread = np.linalg.norm(exact - exact.mean(axis=0))
    assert found.relative_error.value == pytest.approx(np.linalg.norm(moved - exact) / spread, rel=1e-5)
    assert found.relative_error.low < found.relative_error.value < found.relative_error.high
    each = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(moved, exact, strict=True)]
    assert found.cosine.value == pytest.approx(np.mean(each), rel=1e-6)
    assert 0.5 < found.neighbours.value < 1


def test_a_shift_of_all_outputs_is_a_difference_that_their_mean_does_not_hide():
    exact = outputs() + 1000
    found = value_fidelity(Values.of(exact + 1, None), Values.of(exact, None))
    assert found.relative_error.value == pytest.approx(1, abs=0.1)


def test_what_outputs_do_not_have_is_left_out():
    one = Values.of(outputs(width=1), None)
    assert value_fidelity(one, one).cosine is None
    assert value_fidelity(one, one).neighbours is None
    constant = Values.of(np.ones((20, 3), np.float32), None)
    assert value_fidelity(constant, constant).relative_error is None


def test_other_samples_are_refused():
    with pytest.raises(StepError, match="against the baseline's"):
        value_fidelity(Values.of(outputs(30), None), Values.of(outputs(31), None))
