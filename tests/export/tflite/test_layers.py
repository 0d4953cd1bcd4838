"""Layers with weights as int8, each against ONNX Runtime without optimisation, in steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.errors import ModelError
from engine.export.tflite.convert import convert
from tests.helpers.qdq import Qdq, needs_litert, steps

pytestmark = needs_litert

ROUNDED_APART = 1
"""TensorFlow Lite scales sums by a number of 31 bits and rounds halves up, ONNX Runtime in float32 and halves to even."""


def conv(graph: Qdq, x: str, w: str, outputs: int, bias: bool = True, **window: Any) -> str:
    """A convolution whose result is rounded to a range that clips some of it."""
    more = [graph.store(graph.random.normal(0, 1, outputs), np.float32)] if bias else []
    return graph.rounded(graph.add("Conv", [x, w, *more], **window), -6, 9)


WINDOWS = {
    "1x1": {},
    "same": {"pads": [1, 1, 1, 1]},
    "stride on odd sizes": {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    "stride on one axis": {"strides": [1, 2]},
    "asymmetric pads": {"pads": [0, 2, 1, 0]},
    "wide pads": {"pads": [3, 3, 3, 3]},
    "dilated": {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
    "dilated on one axis": {"dilations": [1, 2], "pads": [0, 1, 0, 2]},
    "by rule": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "by rule, first": {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
}


@pytest.mark.parametrize("kind", [np.uint8, np.int8], ids=["uint8", "int8"])
@pytest.mark.parametrize("name", WINDOWS)
def test_convolutions(name: str, kind: type) -> None:
    graph = Qdq(kind)
    kernel = (1, 1) if name == "1x1" else (3, 3)
    y = conv(graph, graph.input(3, 8, 11), graph.weight(5, 3, *kernel), 5, **WINDOWS[name])
    most, made = steps(graph, y)
    assert most <= ROUNDED_APART
    assert made.outputs[0].shape[3] == 5, "channels are last"


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("name", ["same", "stride on odd sizes", "asymmetric pads", "dilated"])
def test_depthwise_convolutions(name: str, multiplier: int, kind: type, per_channel: bool) -> None:
    graph = Qdq()
    weight = graph.weight(4 * multiplier, 1, 3, 3, axis=0 if per_channel else None, kind=kind)
    y = conv(graph, graph.input(4, 9, 7), weight, 4 * multiplier, group=4, **WINDOWS[name])
    most, made = steps(graph, y)
    assert most <= ROUNDED_APART
    assert "DEPTHWISE_CONV_2D" in made.operators


def test_padding_is_said_by_rule_only_where_the_rule_means_it() -> None:
    graph = Qdq()
    y = conv(graph, graph.input(2, 8, 8), graph.weight(2, 2, 3, 3), 2, pads=[1, 1, 1, 1], strides=[2, 2])
    assert "PAD" in steps(graph, y)[1].operators, "SAME would add nothing before the first row of even sizes"
    graph = Qdq()
    y = conv(graph, graph.input(2, 9, 9), graph.weight(2, 2, 3, 3), 2, pads=[1, 1, 1, 1], strides=[2, 2])
    assert "PAD" not in steps(graph, y)[1].operators


def test_convolutions_over_series() -> None:
    graph = Qdq()
    y = conv(graph, graph.input(3, 17), graph.weight(4, 3, 5), 4, pads=[2, 1], strides=[2])
    y = conv(graph, y, graph.weight(4, 1, 3), 4, group=4, dilations=[2])
    assert steps(graph, y)[0] <= 2 * ROUNDED_APART


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_dense_layers(per_channel: bool, turned: bool, kind: type) -> None:
    graph = Qdq()
    shape, axis = ((7, 20), 0) if turned else ((20, 7), 1)
    weight = graph.weight(*shape, axis=axis if per_channel else None, kind=kind)
    bias = graph.store(graph.random.normal(0, 1, 7), np.float32)
    y = graph.rounded(graph.add("Gemm", [graph.input(20), weight, bias], transB=int(turned)), -6, 9)
    most, made = steps(graph, y)
    assert most <= ROUNDED_APART
    assert ("CONV_2D" in made.operators) == per_channel, "the specification has no scales by channel elsewhere"


def test_a_product_takes_the_bias_added_after_it() -> None:
    graph = Qdq()
    product = graph.add("MatMul", [graph.input(20), graph.weight(20, 7, axis=1)])
    y = graph.rounded(graph.add("Add", [graph.store(np.arange(7), np.float32), product]), -6, 9)
    most, made = steps(graph, y)
    assert most <= ROUNDED_APART
    assert "ADD" not in made.operators


@pytest.mark.parametrize("layer", ["Gemm", "Conv"])
def test_a_batch_norm_after_a_layer_is_done_by_its_scales(layer: str) -> None:
    graph = Qdq()
    if layer == "Gemm":
        sums = graph.add(
            "Gemm", [graph.input(20), graph.weight(5, 20), graph.store(np.arange(5), np.float32)], transB=1
        )
    else:
        sums = graph.add("Conv", [graph.input(3, 6, 6), graph.weight(5, 3, 3, 3, axis=None)])
    numbers = [[0.7, -1.3, 0.0, 0.2, 1], [0.5, 1, -1.7, 0, 2], [0, 2, 3, -1, 1], [1, 2, 0.5, 1, 3]]
    norm = graph.add("BatchNormalization", [sums, *(graph.store(n, np.float32) for n in numbers)], epsilon=0.01)
    most, made = steps(graph, graph.rounded(graph.add("Relu", [norm]), 0, 6))
    assert most <= ROUNDED_APART
    assert made.operators in (("CONV_2D",), ("CONV_2D", "RESHAPE"))


@pytest.mark.parametrize("shape", [(5,), (5, 9), (5, 4, 3)], ids=["vector", "series", "image"])
def test_a_batch_norm_of_rounded_numbers_is_a_layer_of_its_own(shape: tuple[int, ...]) -> None:
    graph = Qdq()
    numbers = [[0.7, -1.3, 0.0, 0.2, 1], [0.5, 1, -1.7, 0, 2], [0, 2, 3, -1, 1], [1, 2, 0.5, 1, 3]]
    norm = graph.add("BatchNormalization", [graph.input(*shape), *(graph.store(n, np.float32) for n in numbers)])
    most, made = steps(graph, graph.rounded(norm, -2, 4))
    assert most <= ROUNDED_APART
    assert "DEPTHWISE_CONV_2D" in made.operators


def test_the_columns_of_a_dense_layer_follow_the_image_it_reads() -> None:
    graph = Qdq()
    x = graph.input(3, 4, 5)
    flat = graph.add("Flatten", [x])
    y = graph.rounded(graph.add("Gemm", [flat, graph.weight(6, 60)], transB=1), -9, 9)
    most, made = steps(graph, y)
    assert most <= ROUNDED_APART
    assert "TRANSPOSE" not in made.operators


def test_channels_whose_weights_are_all_zero_keep_their_bias() -> None:
    graph = Qdq()
    codes, scale = np.zeros((3, 2, 3, 3), np.int8), np.float32([1e-38, 0.01, 1e-12])
    codes[1] = graph.random.integers(-127, 128, (2, 3, 3))
    weight = graph.add("DequantizeLinear", [graph.store(codes), graph.store(scale)], axis=0)
    bias = graph.store([1.7, 0.2, -2.3], np.float32)
    y = graph.rounded(graph.add("Conv", [graph.input(2, 6, 6), weight, bias]), -6, 9)
    assert steps(graph, y)[0] <= ROUNDED_APART


def test_activations_are_bounded_where_rounding_does_not_bound_them() -> None:
    for ends in ([], [0.0, 6.0], [-1.0, 1.0], [0.7, 4.2]):
        graph = Qdq()
        sums = graph.add("Conv", [graph.input(2, 6, 6), graph.weight(3, 2, 3, 3)])
        bounds = [graph.store(np.float32(e)) for e in ends]
        y = graph.rounded(graph.add("Clip" if ends else "Relu", [sums, *bounds]), -6, 9)
        most, made = steps(graph, y)
        assert most <= ROUNDED_APART
        assert {"MAXIMUM"} <= set(made.operators)


def refused(graph: Qdq, *outputs: str) -> str:
    with pytest.raises(ModelError) as error:
        convert(graph.model(*outputs), graph.samples())
    message = str(error.value)
    assert "\n" not in message
    return message


def test_what_int8_cannot_hold_is_refused_by_name() -> None:
    graph = Qdq()
    y = conv(graph, graph.input(4, 6, 6), graph.weight(6, 2, 3, 3), 6, group=2)
    assert "'my Conv' has 2 groups of 2 channels" in refused(graph, y)

    graph = Qdq()
    plain = graph.store(graph.random.normal(0, 1, (3, 4, 3, 3)), np.float32)
    y = conv(graph, graph.input(4, 6, 6), plain, 3)
    assert "'my Conv' has weights in float" in refused(graph, y)

    graph = Qdq()
    codes = graph.store(graph.random.integers(0, 256, (3, 4, 3, 3)), np.uint8)
    weight = graph.add("DequantizeLinear", [codes, graph.store(np.float32(0.1)), graph.store(np.uint8(20))])
    y = conv(graph, graph.input(4, 6, 6), weight, 3)
    assert "steps around their zero" in refused(graph, y)

    graph = Qdq()
    x = graph.input(4, 6, 6)
    middle = graph.add("Conv", [x, graph.weight(3, 4, 3, 3)])
    y = conv(graph, middle, graph.weight(2, 3, 3, 3), 2)
    assert "'my Conv' gives floats that Conv 'my Conv 2' reads" in refused(graph, y)

    graph = Qdq()
    y = graph.rounded(
        graph.add("Conv", [graph.input(2, 6, 6), graph.weight(3, 2, 3, 3), graph.store([1e9, 0, 0], np.float32)]), -6, 9
    )
    assert "more than 32 bits" in refused(graph, y)


def test_a_fixed_batch_is_refused() -> None:
    graph = Qdq()
    y = conv(graph, graph.input(2, 6, 6), graph.weight(3, 2, 3, 3), 3)
    graph.inputs[0] = onnx.helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, [8, 2, 6, 6])
    assert "fixes its batch at 8" in refused(graph, y)
