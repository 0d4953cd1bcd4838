"""Results to records: times of trials measured in different minutes are put on one scale."""

import pytest

from engine.run.assemble import _accuracy, on_baseline_scale
from engine.trials.evidence import Accuracy


def result(p50: float, ratio: float, batch: int = 1) -> dict:
    return {
        "runtime": {"batch": batch},
        "baseline_runtime": {"batch": 1},
        "latency_ms": {"p50": p50, "p95": 2 * p50, "p99": 3 * p50},
        "latency_ratio": {"value": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio},
        "latency_interval_ms": {"value": p50, "low": p50, "high": p50},
        "throughput_per_s": batch * 1e3 / p50,
    }


def test_a_clock_that_slows_down_between_two_trials_does_not_change_their_order():
    # The second ran while everything, its baseline too, took twice as long.
    faster, slower = on_baseline_scale(result(2.0, 0.5), 2.0), on_baseline_scale(result(1.6, 0.8), 2.0)
    assert faster["latency_ms"] == {"p50": 1.0, "p95": 2.0, "p99": 3.0}
    assert slower["latency_ms"]["p50"] == pytest.approx(1.6)
    assert faster["latency_interval_ms"] == pytest.approx({"value": 1.0, "low": 0.9, "high": 1.1})
    assert faster["throughput_per_s"] == pytest.approx(1000)


def test_the_baseline_keeps_its_own_times():
    own = result(2.0, 1.0)
    own["latency_ratio"] = {"value": 1.0, "low": 1.0, "high": 1.0}
    scaled = on_baseline_scale(own, 2.0)
    assert scaled["latency_ms"] == own["latency_ms"]
    assert scaled["throughput_per_s"] == own["throughput_per_s"]


def test_with_another_batch_times_stay_those_of_a_call():
    # Eight images in 4 ms against one in 1 ms, in a minute in which the baseline took twice its own time.
    scaled = on_baseline_scale(result(8.0, 0.5, batch=8), 1.0)
    assert scaled["latency_ms"]["p50"] == pytest.approx(4.0)
    assert scaled["throughput_per_s"] == pytest.approx(2000)


def test_an_accuracy_counted_where_sums_saturate_says_what_it_is_elsewhere():
    counted = Accuracy(0.90, 0.88, 0.92, 1000)
    assert _accuracy(counted, {"n": 1000, "right": 900, "exact_right": 915}).exact_sums == 0.915
    # Where sums are exact, and in results of before it was asked, there is nothing to say.
    for result in ({"exact_right": None}, {}):
        assert _accuracy(counted, result) == counted
    assert _accuracy(None, {"exact_right": None}) is None
    assert Accuracy.from_json({"value": 0.9, "low": 0.8, "high": 1.0, "n": 10}).exact_sums is None
