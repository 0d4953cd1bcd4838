"""One weight in several places: straight and transposed, as the table of an embedding, by way of a Transpose."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.allocation import mixed_bits
from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.rounding import learn_rounding
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.weights import find_layers, one_axis_each, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, note, prepare
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import relative_error, run

torch.set_num_threads(1)
WIDTH = 36
IMAGES = np.random.default_rng(0).normal(size=(48, 1, 6, 6)).astype(np.float32)
INT8 = {"weight_bits": 8, "activation_bits": 8, "format": "u8u8"}


def graph(form: str) -> onnx.ModelProto:
    """Layers that share `tied`, whose rows differ much in size, and a classifier behind them."""
    rng = np.random.default_rng(1)
    # Small rows have small columns too: a scale for the wrong axis is far off.
    tied = rng.normal(0, 1 / 6, (WIDTH, WIDTH)) * np.exp(rng.normal(0, 1, (WIDTH, 1)))
    constants = {
        "tied": tied,
        "b": rng.normal(0, 0.1, WIDTH),
        "head": rng.normal(0, 0.3, (WIDTH, 5)),
        "scale": np.array([0.3]),
    }
    nodes = [helper.make_node("Flatten", ["input"], ["x"])]
    uses = {"both": (1, 0), "both, straight first": (0, 1), "three": (1, 0, 1), "gather": (1,), "transpose": (0,)}[form]
    last = "x"
    for i, turned in enumerate(uses):
        nodes.append(helper.make_node("Gemm", [last, "tied", "b"], [f"g{i}"], transB=turned, name=f"fc{i}"))
        nodes.append(helper.make_node("Relu", [f"g{i}"], [f"r{i}"]))
        last = f"r{i}"
    if form == "gather":  # rows of the same table, chosen by the image
        nodes += [
            helper.make_node("ArgMax", [last], ["index"], axis=1, keepdims=0),
            helper.make_node("Gather", ["tied", "index"], ["row"]),
            helper.make_node("Add", [last, "row"], ["sum"]),
        ]
        last = "sum"
    if form == "transpose":
        nodes += [
            helper.make_node("Transpose", ["tied"], ["back"], perm=[1, 0]),
            helper.make_node("MatMul", [last, "back"], ["m"], name="fc1"),
            helper.make_node("Relu", ["m"], ["r"]),
        ]
        last = "r"
    nodes.append(helper.make_node("MatMul", [last, "head"], ["logits"], name="head"))
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


NEAREST = {"rounding": "nearest", "bias_correction": False}
FORMS = ["both", "both, straight first", "three", "gather", "transpose"]


def rounded_by(form: str, axis: int, bits: int) -> onnx.ModelProto:
    """The float graph with its matrices rounded once, the tied one along an axis: what storing that takes away, in floats alone."""
    model = graph(form)
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim == 2:
            codes = quantized_weight(value, axis if tensor.name == "tied" else 1, bits, True)
            tensor.CopyFrom(numpy_helper.from_array(codes.values(), tensor.name))
    return model


@pytest.mark.parametrize("form", ["both", "both, straight first", "three"])
@pytest.mark.parametrize("bits", [8, 4, 3])
def test_float_kernels_read_one_matrix_by_either_use(form: str, bits: int):
    found = apply(Quantize(weight_bits=bits, activation_bits=32, ends_8bit=False, **NEAREST), graph(form), IMAGES)
    expected = rounded_by(form, 1 if form == "both, straight first" else 0, bits)
    assert relative_error(run(found, IMAGES), run(expected, IMAGES, optimize=False)) < 1e-4
    own = graph(form)
    own.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(own.graph.initializer[0]) * 1.01, "own"))
    next(n for n in own.graph.node if n.name == "fc1").input[1] = "own"
    apart = apply(Quantize(weight_bits=bits, activation_bits=32, ends_8bit=False, **NEAREST), own, IMAGES)
    assert found.ByteSize() < apart.ByteSize() - 0.9 * WIDTH * WIDTH * bits / 8  # no second copy


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (INT8, 0.05),
        (INT8 | {"per_channel": False}, 0.12),
        (INT8 | {"bias_correction": True}, 0.05),
        ({"weight_bits": 7, "activation_bits": 8}, 0.05),
        ({"weight_bits": 8, "activation_bits": 16}, 0.02),
        (INT8 | {"symmetric": False, "per_channel": False}, 0.12),
    ],
)
def test_every_use_is_rounded_along_its_own_outputs(form: str, options: dict[str, object], limit: float):
    model = graph(form)
    found, expected = apply(Quantize(**options), model, IMAGES), run(model, IMAGES, optimize=False)
    for optimize in (True, False):
        assert relative_error(run(found, IMAGES, optimize), expected) < limit


@pytest.mark.parametrize("form", [form for form in FORMS if form != "gather"])  # ArgMax has no place in training
def test_what_is_trained_is_what_the_file_computes(form: str):
    for options in (INT8 | {"weight_bits": 4}, {"weight_bits": 4, "activation_bits": 32}):
        scheme = learn_rounding(make_scheme(Quantize(**options), prepare(graph(form)), IMAGES), IMAGES)
        with torch.no_grad():
            simulated = Simulation(scheme)(torch.from_numpy(IMAGES)).numpy()
        assert relative_error(run(write(scheme), IMAGES), simulated) < 0.01


def test_bits_by_layer_hold_for_every_use():
    """Bits go by the weight as the prepared graph has it, and both of its copies get them."""
    step = Quantize(**INT8, layers={"fc0": 3, "fc1": 3, "head": 8})
    prepared = prepare(graph("both"))
    scheme = make_scheme(step, prepared, IMAGES, mixed_bits(step, prepared))
    assert sorted(codes.bits for codes in scheme.weights.values()) == [3, 3, 8]
    assert {codes.axis for codes in scheme.weights.values() if codes.bits == 3} == {0, 1}


def test_weights_of_one_axis_are_left_as_they_are():
    prepared = prepare(graph("gather"))
    assert one_axis_each(prepared) is prepared
    both = one_axis_each(prepare(graph("three")))
    layers = find_layers(both.graph.node, weight_names(both.graph))
    assert [layer.axis for layer in layers] == [0, 1, 0, 1]
    assert layers[0].weight == layers[2].weight != layers[1].weight


def test_copies_are_told_of_where_they_are_made():
    assert "One matrix is used both straight and transposed" in (note(Quantize(**INT8), graph("both")) or "")
    for step in ({"weight_bits": 8, "activation_bits": 32}, INT8 | {"per_channel": False}):
        assert note(Quantize(**step), graph("both")) is None
    assert note(Quantize(**INT8), graph("transpose")) is None
    assert note(Quantize(**INT8), graph("gather")) is None  # rows are looked up in the codes
