"""What a spec may say that its trials are judged by."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import SpecError
from engine.metrics import METRICS, axis_title, based, is_score, score_part, short_name, shown, text_of
from engine.spec.sweep import Sweep, parse_sweep


def sweep(**more: object) -> Sweep:
    return parse_sweep({"model": {"source": "net.onnx"}, "data": {"source": "d.npz"}, **more}, Path("/tmp"))


def test_a_built_in_metric_says_the_task_of_its_data():
    found = sweep(metric={"name": "mae", "unit": "K"})
    assert (found.data.task, found.metric.key) == ("regression", "score:MAE:min:K")
    assert sweep(metric="iou").data.task == "other"
    assert sweep(metric="macro_f1").data.task == "classification"
    assert sweep(metric={"source": "m.py:mine", "higher_is_better": True}).data.task is None
    assert sweep(metric={"source": "m.py:mine", "higher_is_better": True}).metric.source == "/tmp/m.py:mine"


def test_a_spec_without_a_metric_is_the_sweep_that_it_was():
    assert sweep().id == sweep(metric=None, loss=None).id != sweep(metric="mae").id


def test_limits_may_call_it_by_its_name():
    assert sweep(metric="r2", target={"limits": {"r2": 0.9}}).target.limits == {"score:R²:max:": 0.9}
    own = {"source": "m.py:worst_case", "higher_is_better": False}
    assert sweep(metric=own, target={"limits": {"worst_case": 3}}).target.limits == {"score:Worst case:min:": 3}


def test_a_key_says_all_that_there_is_to_know():
    key = sweep(metric={"source": "m.py:hit_rate", "higher_is_better": True, "unit": "%"}).metric.key
    assert is_score(key)
    assert key in METRICS
    assert key not in list(METRICS)
    assert (METRICS[key].name, METRICS[key].unit, METRICS[key].maximise) == ("Hit rate", "%", True)
    assert (shown(key, 0.25), based(key, 25.0), text_of(key, 0.25)) == (25.0, 0.25, "25.00 %")
    assert METRICS[score_part(key, "score_change")].unit == "points"
    assert axis_title(key) == "Hit rate (%)"
    assert short_name(key) == "hit_rate"
    assert short_name("score:R²:max:") == "r2"
    assert METRICS.get("score:two:parts") is None
    with pytest.raises(KeyError):
        METRICS["score:x:sideways:"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"metric": "maee"}, "metric: 'maee' is not known; known: macro_f1"),
        ({"metric": "accuracy"}, "accuracy is always counted where there are classes"),
        ({"metric": "m.py:mine"}, "nobody knows whether more is better of .*; write metric: {source: m.py:mine, higher_is_better: true}"),
        ({"metric": {"name": "mae", "higher_is_better": True}}, "which way is better is known of mae"),
        ({"metric": {"name": "iou", "unit": "px"}}, "iou is in %"),
        ({"metric": "wer"}, "wer compares texts; give decode"),
        ({"metric": {"source": "m.py", "higher_is_better": True}}, "'m.py' is not path/to/file.py:function"),
        ({"metric": {"name": "a:b"}}, "holds a colon"),
        ({"metric": "mae", "data": {"source": "d.npz", "task": "fidelity"}}, "of task regression, but the data are of fidelity"),
        ({"metric": "mae", "data": {"source": "fashion_mnist"}}, "metric mae is of task regression, but the data are of classification"),
        ({"loss": "mse"}, "loss: 'mse' is not known; write imitation or task"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(more, message):
    with pytest.raises(SpecError, match=message):
        sweep(**more)
