"""Layer by layer in networks of which several outputs count: every output is compared, and a metric of the user's own gets them all."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import UNLABELLED, Split
from engine.explain import layer_harm
from engine.explain.divergence import compare_layers
from engine.explain.layer_harm import measure_layers
from engine.explain.layers import sentence
from engine.measure.task_metric import metric_options
from engine.spec.metric import MetricChoice
from tests.explain.test_divergence import cosine
from tests.explain.test_layer_harm import asked
from tests.helpers.several_outputs import OUTPUTS, several_inputs, several_net, unoptimised


def named_net() -> onnx.ModelProto:
    model = several_net()
    del model.graph.output[3:]
    for node in model.graph.node:
        node.name = f"at_{node.output[0]}"
    return model


def test_every_output_is_compared_with_numpy() -> None:
    model, x = named_net(), several_inputs(30, 1)
    other = onnx.ModelProto.FromString(model.SerializeToString())
    weight = next(t for t in other.graph.initializer if t.name == "a")
    rounded = np.round(numpy_helper.to_array(weight) * 4) / 4
    weight.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32), "a"))
    found = compare_layers(model, other, x)
    before, after = (unoptimised(m, x) for m in (model, other))
    told = {OUTPUTS[0]: found["output"], **found["others"]}
    assert list(told) == [*OUTPUTS]
    for name in OUTPUTS:
        a, b = (side[name].astype(np.float64).ravel() for side in (before, after))
        assert told[name]["cosine"] == pytest.approx(cosine(a, b), abs=1e-6)
    assert "At the output scores" in sentence(found | {"reference": "baseline"})


def test_harm_is_counted_by_a_metric_of_all_outputs(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(layer_harm, "BITS", (2,))
    (tmp_path / "own.py").write_text("def off(outputs, targets):\n    return abs(outputs['boxes'] - targets).mean(1)\n")
    model, x = named_net(), several_inputs(60, 2)
    onnx.save(model, tmp_path / "net.onnx")
    part = Split(x, np.full(60, UNLABELLED), unoptimised(model, x)["boxes"])
    plain = Preprocessing(1.0, (), (), untouched=True)
    data = Dataset("boxes", "0" * 64, (), plain, part, part, part, part, task="other")
    choice = MetricChoice(source=f"{tmp_path / 'own.py'}:off", higher_is_better=False)
    found = measure_layers(asked(metric=metric_options(choice)), tmp_path / "net.onnx", data)
    harm = {layer["name"]: layer["cells"][0]["harm"]["value"] for layer in found["layers"]}
    assert list(harm) == ["at_c", "at_m", "at_small", "at_logits"]
    # Boxes do not depend on what makes the scores.
    assert harm.pop("at_logits") == 0
    assert all(value > 1 for value in harm.values())
