"""What rounding one layer alone does: against files made by the recipe that says so, and figures counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

from engine.compress.quantization.allocation import mixed_bits
from engine.compress.quantize import prepare, quantized
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import UNLABELLED, Split
from engine.explain import layer_harm
from engine.explain.layer_harm import Asked, layers_of, measure_layers, rounded_alone
from engine.graph.graph import save_onnx
from engine.measure.task_metric import metric_options
from engine.spec.metric import MetricChoice
from engine.spec.runtime import Runtime
from engine.spec.steps import Quantize
from tests.explain.test_divergence import two_products
from tests.helpers.quantize_cases import run
from tests.helpers.tiny_trained import tiny_data, tiny_graph

RUNTIME = Runtime(threads=1, batch=1, graph_optimisation="all", provider="CPU")
WEIGHTS = Quantize(weight_bits=8, activation_bits=32)


def asked(step: Quantize = WEIGHTS, metric: dict | None = None, safe: bool = True, samples: int = 60) -> Asked:
    return Asked(step, metric, RUNTIME, safe, samples)


@pytest.fixture
def few_widths(monkeypatch):
    monkeypatch.setattr(layer_harm, "BITS", (8, 2))


def test_harm_and_divergence_are_those_of_a_file_with_that_layer_rounded(tmp_path, few_widths):
    data, model = tiny_data(), tiny_graph()
    save_onnx(model, tmp_path / "net.onnx")
    found = measure_layers(asked(safe=False), tmp_path / "net.onnx", data)
    assert [layer["name"] for layer in found["layers"]] == [layer.names[0] for layer in layers_of(prepare(model))]
    assert found["metric"] == {"name": "Accuracy", "unit": "points", "tested": True}
    assert (found["samples"], found["kernels"], found["bits"]) == (60, "none", [8, 2])
    some = data.validation.head(60)
    x = data.preprocessing(some.inputs)
    worst = max(found["layers"], key=lambda layer: layer["cells"][1]["harm"]["value"])
    others = {layer["name"]: 32 for layer in found["layers"]}
    step = Quantize(
        weight_bits=8, activation_bits=32, rounding="nearest", bias_correction=False, layers=others | {worst["name"]: 2}
    )
    prepared = prepare(model)
    rounded = quantized(step, model, x, mixed_bits(step, prepared)).model
    before, after = (run(m, x).astype(np.float64) for m in (model, rounded))
    cell = worst["cells"][1]
    right, still = before.argmax(1) == some.labels, after.argmax(1) == some.labels
    assert cell["harm"]["value"] == pytest.approx(100 * (right.mean() - still.mean()))
    assert cell["harm"]["low"] <= cell["harm"]["value"] <= cell["harm"]["high"]
    assert cell["harm"]["value"] > 1
    p, q = log_softmax(before, 1), log_softmax(after, 1)
    # Answers are kept in half precision.
    assert cell["divergence"] == pytest.approx(float((np.exp(p) * (p - q)).sum(1).mean()), rel=0.02)
    # A quarter and a sixteenth of the float weights, and a scale and a bias of a byte or two for each channel.
    bits = {c["bits"]: c["bytes_saved"] for c in worst["cells"]}
    assert 0 < 15 / 16 * 4 * worst["params"] - bits[2] + 100 < 200
    assert bits[2] - bits[8] == pytest.approx(worst["params"] * 0.75, abs=100)
    assert all(c["ms_saved"] is None for c in worst["cells"])


def test_integer_layers_are_timed_each_by_its_own_kernel(tmp_path, few_widths):
    save_onnx(tiny_graph(), tmp_path / "net.onnx")
    step = Quantize(weight_bits=8, activation_bits=8, format="u8u8")
    found = measure_layers(asked(step, samples=8), tmp_path / "net.onnx", tiny_data())
    assert found["kernels"] == "measured"
    times = [[c["ms_saved"] for c in layer["cells"]] for layer in found["layers"]]
    # Narrower weights have the same kernel.
    assert all(eight == two for eight, two in times)
    assert all(isinstance(eight, float) for eight, _ in times)


def test_a_cpu_that_overflows_gets_seven_bits_as_its_recipes_do(few_widths):
    prepared, data = prepare(tiny_graph()), tiny_data()
    layer = max(layers_of(prepared), key=lambda found: found.params)
    x = data.preprocessing(data.calibration.head(8).inputs)
    step = Quantize(weight_bits=8, activation_bits=8)
    sizes = {}
    for safe in (True, False):
        (_, model), _ = rounded_alone(asked(step, safe=safe), prepared, x, layer)
        sizes[safe] = sum(len(t.raw_data) for t in model.graph.initializer)
    assert sizes[True] < sizes[False]


def values(labels: int = UNLABELLED) -> tuple[Dataset, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(6, 9)), rng.normal(size=(9, 1))
    x = rng.normal(size=(90, 6)).astype(np.float32)
    y = (np.maximum(x @ a, 0) @ b).astype(np.float32) + rng.normal(0, 0.1, (90, 1)).astype(np.float32)
    part = Split(x, np.full(90, labels), y)
    plain = Preprocessing(1.0, (), (), untouched=True)
    return Dataset("values", "0" * 64, (), plain, part, part, part, part, task="regression"), a, b, x


def test_a_metric_of_ones_own_is_lost_in_its_own_unit(tmp_path, few_widths):
    data, a, b, x = values()
    save_onnx(two_products(a, b), tmp_path / "net.onnx")
    options = metric_options(MetricChoice(name="mae"))
    found = measure_layers(asked(metric=options, samples=90), tmp_path / "net.onnx", data)
    assert found["metric"]["tested"]
    assert found["metric"]["name"].lower() == "mae"
    cells = [layer["cells"][1] for layer in found["layers"]]
    # Rounding half of the network to two bits moves values by far more than the noise.
    assert all(c["harm"]["low"] > 0 for c in cells)
    target = data.validation.targets
    before = np.abs(np.maximum(x @ a, 0) @ b - target).mean()
    prepared = prepare(two_products(a, b))
    (_, _), (_, model) = rounded_alone(asked(), prepared, x, layers_of(prepared)[0])
    after = np.abs(run(model, x) - target).mean()
    assert cells[0]["harm"]["value"] == pytest.approx(after - before, abs=1e-4)


def test_without_labels_it_is_told_how_far_answers_moved(tmp_path, few_widths):
    data, a, b, _ = values()
    split = Split(data.validation.inputs, data.validation.labels)
    unlabelled = replace(data, validation=split)
    save_onnx(two_products(a, b), tmp_path / "net.onnx")
    found = measure_layers(asked(samples=90), tmp_path / "net.onnx", unlabelled)
    assert found["metric"] == {"name": "Fidelity", "unit": "%", "tested": False}
    for layer in found["layers"]:
        for cell in layer["cells"]:
            assert cell["harm"]["value"] == pytest.approx(100 * cell["divergence"], rel=1e-6)
    assert found["layers"][0]["cells"][1]["divergence"] > found["layers"][0]["cells"][0]["divergence"]


def test_layers_that_share_a_weight_are_one_row():
    model = two_products(np.eye(6), np.eye(6))
    model.graph.node[2].input[1] = "a"
    assert [layer.names for layer in layers_of(model)] == [("one", "two")]
