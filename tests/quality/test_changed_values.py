"""Which samples compression moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import StepError
from engine.metrics import score_key
from engine.quality.changed_values import changes, value_text
from engine.quality.scored import scored_samples
from engine.quality.values import Values, value_fidelity

TARGETS = np.array([1.0, 2, 3, 4])


def values(outputs, errors=None) -> Values:
    return Values.of(
        np.array(outputs, np.float32), None if errors is None else scored_samples(np.array(errors, float), "x")
    )


def test_those_that_got_worse_come_first():
    before, after = values([1, 2, 3, 4], [0, 0, 0, 1]), values([1, 2.5, 5, 4.5], [0, 0.5, 2, 0.5])
    found = changes(before, after, TARGETS, score_key("Error", "min", ""))
    assert [(c.index, c.change) for c in found.worst] == [(2, 2.0), (1, 0.5)]
    assert (found.worse, found.better, found.by_metric) == (2, 1, True)
    assert (found.worst[0].target, found.worst[0].before, found.worst[0].after) == ("3", "3", "5")
    # Where more is better, a fall is worse.
    assert [c.index for c in changes(before, after, TARGETS, score_key("Hits", "max", "")).worst] == [3]


def test_without_a_metric_outputs_are_compared():
    found = changes(values([[0.0, 0], [3, 4]]), values([[0.0, 0], [0, 0]]), None, None)
    assert not found.by_metric
    assert [c.index for c in found.worst] == [1]
    assert found.moved[1] == pytest.approx(5 / 2.5)
    with pytest.raises(StepError, match="against"):
        changes(values([1, 2]), values([1, 2, 3]), None, None)


def test_long_outputs_are_cut():
    assert value_text(np.arange(5.0)) == "0, 1, 2, …"
    assert value_text(np.array(["a long text that goes on and on"])) == "a long text that goe"


def test_several_outputs_weigh_the_same_and_are_named():
    rng = np.random.default_rng(0)
    parts = (("boxes", 2), ("score", 1))
    before = np.hstack([rng.normal(0, 100, (50, 2)), rng.normal(0, 1, (50, 1))]).astype(np.float32)
    after = before.copy()
    after[3, 2] += 2  # much of what a score varies by
    after[4, 0] += 20  # little of what a box does
    one, other = (Values(x, 50, parts=parts) for x in (before, after))
    found = changes(one, other, None, None)
    assert [c.index for c in found.worst] == [3, 4]
    score, boxes = before[:, 2].astype(float), before[:, :2].astype(float)
    units = score.std(), np.sqrt(np.square(boxes - boxes.mean(0)).sum(1).mean())
    assert found.moved[3] / found.moved[4] == pytest.approx((2 / units[0]) / (20 / units[1]), rel=1e-5)
    assert found.worst[0].after.startswith("boxes ")
    assert f"; score {after[3, 2]:.4g}" in found.worst[0].after


def test_what_several_outputs_are_is_kept_with_them(tmp_path):
    made = Values(np.arange(12, dtype=np.float32).reshape(4, 3), 4, parts=(("a", 2), ("b", 1)))
    made.save(tmp_path / "v.npz")
    again = Values.load(tmp_path / "v.npz")
    assert (again.parts, again.count) == (made.parts, 4)
    alone = value_fidelity(replace(made, outputs=made.outputs + np.float32([[0, 0, 3]])), made)
    spread = np.square(made.outputs[:, 2] - made.outputs[:, 2].mean()).sum()
    assert alone.relative_error.value == pytest.approx(np.sqrt(4 * 9 / spread / 2))
    with pytest.raises(StepError, match="against the baseline's"):
        value_fidelity(replace(made, parts=(("a", 1), ("b", 2))), made)
