"""Which samples compression moved."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import StepError
from engine.metrics import score_key
from engine.quality.changed_values import changes, value_text
from engine.quality.scored import scored_samples
from engine.quality.values import Values

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
