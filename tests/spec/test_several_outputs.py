"""What a spec may say of several outputs that count at once."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import SpecError
from engine.spec.sweep import parse_sweep

NET = {"source": "net.onnx", "outputs": ["boxes", "scores"]}


def spec(**changes: Any) -> dict[str, Any]:
    return {"name": "mine", "model": NET, "data": {"source": "x.npz"}, "space": {"quantize": [None]}} | changes


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"metric": "mae"},
            "metric mae judges one output, and model.outputs names 2; write metric: {name: mae, output: boxes}",
        ),
        (
            {"model": {"source": "net.onnx", "outputs": ["boxes"]}},
            "one output is 'boxes' alone; write model.output: boxes",
        ),
        ({"model": {"source": "net.onnx", "outputs": ["a", "a"]}}, "the output 'a' is named twice"),
        ({"model": NET | {"output": "boxes"}}, "output 'boxes' stands beside outputs"),
        ({"data": {"source": "x.npz", "task": "classification"}}, "several outputs, but the task is classification"),
        ({"metric": {"name": "auroc", "output": "scores"}}, "several outputs, but the task is classification"),
        (
            {"model": {"source": "net.onnx"}, "metric": {"name": "mae", "output": "boxes"}},
            "metric.output is for networks of which",
        ),
        ({"space": {"distill": {"student": "ds_cnn"}}}, "distill with student ds_cnn has one output"),
        ({"space": {"distill": {"student": "current", "alpha": 0}}}, "without a teacher has nothing to imitate"),
        ({"space": {"distill": {"student": "current", "teacher": "resnet8"}}}, "distill from resnet8 knows one output"),
        (
            {"space": {"distill": {"student": "current", "feature_weight": 1}}},
            "feature_weight is for networks with one",
        ),
        (
            {"space": {"prune": {"method": "nm", "finetune_epochs": 1}}, "loss": "task"},
            "loss task: where several outputs count",
        ),
        (
            {
                "space": {"quantize": {"weight_bits": 4, "activation_bits": 8, "method": "qat", "epochs": 1}},
                "loss": "task",
            },
            "loss task: where several outputs count, training imitates all of the baseline's",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(spec(**changes))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_spec_without_them_is_the_sweep_that_it_was() -> None:
    one = spec(model={"source": "net.onnx"}, metric="mae")
    sweep = parse_sweep(one)
    assert "outputs" not in sweep.model.model_dump()
    assert sweep.metric is not None
    assert "output" not in sweep.metric.model_dump()
    assert sweep.id != parse_sweep(spec(metric={"name": "mae", "output": "boxes"})).id
