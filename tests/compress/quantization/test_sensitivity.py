"""What rounding one layer costs agrees with the file in which only that layer is rounded; every layer's kernels are found."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from engine.compress.quantization import sensitivity
from engine.compress.quantization.sensitivity import BITS, layer_times, measure_sensitivity
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantize import make_scheme
from engine.datasets.dataset import Dataset
from engine.datasets.splits import Split
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import pictures, run
from tests.helpers.tiny_trained import random_graph, run_scheme, tiny_data, tiny_graph

torch.set_num_threads(1)
DATA = tiny_data()


def divergence(found: np.ndarray, expected: np.ndarray) -> float:
    p, q = (
        v - np.log(np.exp(v).sum(1, keepdims=True)) for v in (expected.astype(np.float64), found.astype(np.float64))
    )
    return float((np.exp(p) * (p - q)).sum(1).mean())


@pytest.mark.parametrize("activation_bits", [8, 4, 32])
def test_costs_are_those_of_files_with_one_rounded_layer(activation_bits: int) -> None:
    step = Quantize(weight_bits=8, activation_bits=activation_bits, calibration="percentile")
    found = measure_sensitivity(step, tiny_graph(), DATA)
    assert json.loads(json.dumps(found)) == found
    x = DATA.preprocessing(DATA.validation.inputs[: sensitivity._MOST])
    calibration = DATA.preprocessing(DATA.calibrating(step.calibration_samples).inputs)
    expected = run(tiny_graph(), x)
    names = list(found)
    for name, bits in ((names[0], 2), (names[1], 3), (names[5], 2), (names[-1], 2)):
        others = {n: 32 for n in names if n != name}
        scheme = make_scheme(step, tiny_graph(), calibration, others | {name: bits})
        assert list(scheme.weights) == [name]
        # Not to the last digit: where an addition reads the layer's input too, the file rounds it for both.
        assert found[name][str(bits)] == pytest.approx(divergence(run_scheme(scheme, x), expected), rel=0.25, abs=5e-5)
    # With few bits per activation what they lose hides what the weights do, by more or less with the last digits of a CPU's sums.
    hidden = 3e-4 if activation_bits == 4 else 3e-5
    for costs in found.values():
        assert costs["2"] > costs["4"] > costs["8"] - hidden


def test_weights_that_layers_share_are_rounded_in_all_of_them() -> None:
    torch.manual_seed(0)
    shape = (1, 28, 28)
    model = random_graph(BUILDERS["recursive_resnet"](repeats=2), shape)
    x = pictures(24, shape, 1)
    split = Split(x, np.zeros(24, np.int64))
    plain = type(DATA.preprocessing)(1.0, (0.0,), (1.0,))
    data = Dataset("pictures", "0" * 64, tuple("0123456789"), plain, split, split, split, split)
    step = Quantize(weight_bits=8, activation_bits=32)
    found = measure_sensitivity(step, model, data)
    layers = [layer.weight for layer in find_layers(model.graph.node, weight_names(model.graph))]
    shared = next(name for name in layers if layers.count(name) == 2)
    others = {n: 32 for n in layers if n != shared}
    scheme = make_scheme(step, model, x, others | {shared: 3})
    assert found[shared]["3"] == pytest.approx(divergence(run_scheme(scheme, x), run(model, x)), rel=0.05)


@pytest.mark.parametrize("activation_bits", [8])
@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2", "ds_cnn"])
def test_kernels_of_every_layer_are_found(name: str, activation_bits: int) -> None:
    torch.manual_seed(0)
    shape = (1, 28, 28)
    model = random_graph(BUILDERS[name](), shape)
    x = pictures(8, shape, 1)
    split = Split(x, np.zeros(8, np.int64))
    plain = type(DATA.preprocessing)(1.0, (0.0,), (1.0,))
    data = Dataset("pictures", "0" * 64, tuple("0123456789"), plain, split, split, split, split)
    times = layer_times(Quantize(weight_bits=8, activation_bits=activation_bits), model, data)
    assert json.loads(json.dumps(times)) == {key: list(pair) for key, pair in times.items()}
    weights = {layer.weight for layer in find_layers(model.graph.node, weight_names(model.graph))}
    assert set(times) == weights | {""}
    assert all(floating > 0 and integer > 0 for floating, integer in times.values())


@pytest.mark.parametrize("activation_bits", [8, 32])
def test_fixed_batches_are_measured_in_the_runtime_to_the_same_costs(
    activation_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(tiny_graph())
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].ClearField("dim_param")
        value.type.tensor_type.shape.dim[0].dim_value = 4
    step = Quantize(
        weight_bits=8, activation_bits=activation_bits, **({"format": "u8u8"} if activation_bits == 8 else {})
    )
    found = measure_sensitivity(step, model, DATA)
    monkeypatch.setattr(sensitivity, "_MOST", sensitivity._FEWEST)
    free = measure_sensitivity(step, tiny_graph(), DATA)
    assert list(found) == list(free)
    for name, costs in free.items():
        for bits in ("2", "3"):
            assert found[name][bits] == pytest.approx(costs[bits], rel=0.3, abs=1e-4)


def test_large_networks_are_measured_on_fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    costs = sensitivity._OneLayerRounded.costs

    def counted(self: sensitivity._OneLayerRounded, images: torch.Tensor) -> dict[tuple[str, int], float]:
        seen.append(len(images))
        return costs(self, images)

    monkeypatch.setattr(sensitivity._OneLayerRounded, "costs", counted)
    monkeypatch.setattr(sensitivity, "_WORK", 1)
    few = measure_sensitivity(Quantize(weight_bits=8, activation_bits=8), tiny_graph(), DATA)
    assert sum(seen) == sensitivity._FEWEST
    assert {str(b) for b in BITS} == set(next(iter(few.values())))
