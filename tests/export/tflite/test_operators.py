"""Every other operator as int8, each against ONNX Runtime without optimisation, in steps: none where nothing is rounded anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.errors import ModelError
from engine.export.tflite.convert import HANDLERS, convert
from tests.helpers.qdq import Qdq, needs_litert, steps

pytestmark = needs_litert


def exact(name: str) -> Callable[[Qdq, str], str]:
    """Operators that move or choose codes."""

    def pool(**window: object) -> Callable[[Qdq, str], str]:
        return lambda g, x: g.add("MaxPool", [x], **window)

    cases: dict[str, Callable[[Qdq, str], str]] = {
        "max pool": pool(kernel_shape=[2, 2], strides=[2, 2]),
        "max pool, odd": pool(kernel_shape=[3, 3], strides=[2, 2]),
        "max pool, padded": pool(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        "max pool, asymmetric": pool(kernel_shape=[3, 2], pads=[0, 1, 2, 0]),
        "max pool, up": pool(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        "flatten": lambda g, x: g.add("Flatten", [x]),
        "reshape": lambda g, x: g.add("Reshape", [x, g.store([0, -1, 7])]),
        "transpose": lambda g, x: g.add("Transpose", [x], perm=[0, 3, 1, 2]),
        "there and back": lambda g, x: g.add("Transpose", [g.add("Transpose", [x], perm=[0, 2, 3, 1])], perm=[0, 3, 1, 2]),
        "pad": lambda g, x: g.add("Pad", [x, g.store([0, 0, 1, 0, 0, 0, 2, 3])]),
        "pad, axes": lambda g, x: g.add("Pad", [x, g.store([1, 2]), "", g.store([-1])]),
        "identity": lambda g, x: g.add("Identity", [x]),
        "clip": lambda g, x: g.rounded(g.add("Clip", [x, g.store(np.float32(-0.4)), g.store(np.float32(1.1))]), -2, 3),
        "relu": lambda g, x: g.rounded(g.add("Relu", [x]), -2, 3),
        "min by channel": lambda g, x: g.rounded(g.add("Min", [x, g.store(np.float32([[[1]], [[2]], [[0.5]]]))]), -2, 3),
    }  # fmt: skip
    return cases[name]


EXACT = (
    "max pool", "max pool, odd", "max pool, padded", "max pool, asymmetric", "max pool, up", "flatten", "reshape", "transpose",
    "there and back", "pad", "pad, axes", "identity", "clip", "relu", "min by channel",
)  # fmt: skip


@pytest.mark.parametrize("kind", [np.uint8, np.int8], ids=["uint8", "int8"])
@pytest.mark.parametrize("name", EXACT)
def test_what_moves_codes_is_exact(name: str, kind: type) -> None:
    graph = Qdq(kind)
    assert steps(graph, exact(name)(graph, graph.input(3, 6, 7)))[0] == 0


def test_codes_that_are_unrolled_are_values_behind_their_dequantize_linear() -> None:
    graph = Qdq()
    graph.input(3, 6, 7)
    rounding, reading = graph.nodes[-2:]
    assert (
        steps(graph, graph.add("DequantizeLinear", [graph.add("Flatten", list(rounding.output)), *reading.input[1:]]))[
            0
        ]
        == 0
    )


def test_going_there_and_back_moves_nothing() -> None:
    graph = Qdq()
    made = steps(graph, exact("there and back")(graph, graph.input(3, 6, 7)))[1]
    assert made.operators == ()


@pytest.mark.parametrize(
    ("window", "operator"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, "AVERAGE_POOL_2D"),
        ({"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, "AVERAGE_POOL_2D"),
        ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, "DEPTHWISE_CONV_2D"),
        (
            {"kernel_shape": [3, 2], "pads": [2, 0, 0, 1], "count_include_pad": 1, "strides": [2, 1]},
            "DEPTHWISE_CONV_2D",
        ),
    ],
)
def test_average_pools(window: dict[str, object], operator: str) -> None:
    graph = Qdq()
    most, made = steps(graph, graph.rounded(graph.add("AveragePool", [graph.input(3, 6, 7)], **window), -2, 3))
    assert most <= 1
    assert operator in made.operators


def test_an_average_in_finer_steps_is_rounded_once() -> None:
    graph = Qdq()
    y = graph.add("AveragePool", [graph.input(3, 6, 8)], kernel_shape=[3, 4], strides=[3, 4])
    assert steps(graph, graph.rounded(y, -0.2, 1.3))[0] <= 1
    graph = Qdq()
    assert steps(graph, graph.rounded(graph.add("GlobalAveragePool", [graph.input(30, 6, 7)]), -0.2, 1.3))[0] <= 1


@pytest.mark.parametrize("keeps", [0, 1])
def test_means_over_all_of_an_image(keeps: int) -> None:
    graph = Qdq()
    y = graph.add("ReduceMean", [graph.input(30, 5, 7), graph.store([-1, 2])], keepdims=keeps)
    assert steps(graph, graph.rounded(y, -0.2, 1.3))[0] <= 1


def test_means_over_series() -> None:
    graph = Qdq()
    assert steps(graph, graph.rounded(graph.add("GlobalAveragePool", [graph.input(30, 9)]), -0.2, 1.3))[0] <= 1


@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("second", [(3, 6, 7), (3, 1, 1)], ids=["same", "by channel"])
def test_pairs_of_different_scales(op: str, second: tuple[int, ...]) -> None:
    graph = Qdq()
    y = graph.add(op, [graph.input(3, 6, 7), graph.input(*second, low=-0.3, high=9)])
    assert steps(graph, graph.rounded(y, -4, 7))[0] <= 1


def test_a_relu_after_a_sum_is_done_by_rounding() -> None:
    graph = Qdq()
    total = graph.add("Add", [graph.input(3, 6, 7), graph.input(3, 6, 7, low=-1, high=1)])
    most, made = steps(graph, graph.rounded(graph.add("Relu", [total]), 0, 4))
    assert most <= 1
    assert made.operators == ("ADD",)


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_concatenation_of_different_scales(axis: int) -> None:
    graph = Qdq()
    parts = [graph.input(2, 4, 5), graph.input(2, 4, 5, low=-1, high=1.5), graph.input(2, 4, 5, low=0, high=7)]
    assert steps(graph, graph.rounded(graph.add("Concat", parts, axis=axis), -1, 7))[0] <= 1


@pytest.mark.parametrize("axis", [1, -1])
def test_softmax_over_either_axis(axis: int) -> None:
    graph = Qdq()
    assert steps(graph, graph.add("Softmax", [graph.input(6, 2, 9)], axis=axis))[0] <= 1


def test_softmax_has_its_fixed_scale() -> None:
    graph = Qdq()
    made = steps(graph, graph.add("Softmax", [graph.input(5)]))[1]
    assert (made.outputs[0].scale.scale, made.outputs[0].scale.zero) == (1 / 256, -128)


@pytest.mark.parametrize(("op", "low", "high"), [("Sigmoid", 0, 1), ("Tanh", -1, 1), ("LeakyRelu", -0.1, 3)])
def test_curves(op: str, low: float, high: float) -> None:
    graph = Qdq()
    assert steps(graph, graph.rounded(graph.add(op, [graph.input(3, 6, 7)]), low, high))[0] <= 1


def test_codes_may_be_bounded_as_well_as_values() -> None:
    graph = Qdq()
    how = [graph.store(np.float32(0.02)), graph.store(np.uint8(128))]
    graph.input(3, 6, 7)
    codes = graph.add("QuantizeLinear", ["x0", *how])
    codes = graph.add("Clip", [codes, graph.store(np.uint8(66)), graph.store(np.uint8(193))])
    codes = graph.add("Min", [codes, graph.store(np.uint8([[[150]], [[160]], [[255]]]))])
    assert steps(graph, graph.add("DequantizeLinear", [codes, *how]))[0] == 0


def test_pixels_are_taken_with_their_channels_last() -> None:
    graph = Qdq()
    made = steps(graph, exact("max pool")(graph, graph.input(3, 6, 7)))[1]
    assert (made.inputs[0].layout, made.inputs[0].shape) == ("NHWC", (1, 6, 7, 3))


def test_a_network_that_takes_channels_last_is_left_so() -> None:
    graph = Qdq()
    x = graph.add("Transpose", [graph.input(6, 7, 3)], perm=[0, 3, 1, 2])
    made = steps(graph, graph.add("MaxPool", [x], kernel_shape=[2, 2]))[1]
    assert (made.inputs[0].shape, made.operators) == ((1, 6, 7, 3), ("MAX_POOL_2D",))


def test_two_outputs_of_which_one_goes_on() -> None:
    graph = Qdq()
    first = exact("max pool")(graph, graph.input(3, 6, 7))
    second = graph.rounded(graph.add("Sigmoid", [first]), 0, 1)
    assert steps(graph, first, second)[0] <= 1


@pytest.mark.parametrize("op", ["Exp", "LogSoftmax", "HardSigmoid"])
def test_other_operators_are_refused_by_name(op: str) -> None:
    graph = Qdq()
    y = graph.add(op, [graph.input(3, 6, 7)])
    with pytest.raises(
        ModelError, match=rf"^--for tflite: {op} 'my {op}' has no int8 form here; what can be written is .*Conv"
    ):
        convert(graph.model(y), graph.samples())


def test_what_is_refused_of_known_operators_is_told_in_one_line() -> None:
    def message(op: str, inputs: Callable[[Qdq, str], list[str]] = lambda g, x: [x], **attributes: object) -> str:
        graph = Qdq()
        y = graph.rounded(graph.add(op, inputs(graph, graph.input(3, 6, 7)), **attributes), 0, 1)
        with pytest.raises(ModelError) as error:
            convert(graph.model(y), graph.samples())
        assert "\n" not in str(error.value)
        assert f"{op} 'my {op}'" in str(error.value)
        return str(error.value)

    assert "dilated" in message("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])
    assert "edges that do not count" in message("AveragePool", kernel_shape=[3, 3], pads=[2, 0, 0, 2])
    assert "nothing has rounded" in message("Add", lambda g, x: [x, g.store(np.ones((1, 3, 1, 1)), np.float32)])
    assert "reflects edges" in message("Pad", lambda g, x: [x, g.store([0, 0, 1, 1, 0, 0, 1, 1])], mode="reflect")
    assert "edges of 0.5" in message("Pad", lambda g, x: [x, g.store([0] * 8), g.store(np.float32(0.5))])
    assert "other axes" in message("ReduceMean", lambda g, x: [x, g.store([1])])


def test_activations_of_other_widths_are_refused() -> None:
    graph = Qdq()
    graph.input(3)
    how = [graph.store(np.float32(0.01)), graph.store(np.uint16(3000))]
    y = graph.add("DequantizeLinear", [graph.add("QuantizeLinear", ["x0", *how]), *how])
    with pytest.raises(ModelError, match="rounds activations to uint16; quantize with activation_bits 8 or fewer"):
        convert(graph.model(y), graph.samples())


def test_an_output_of_codes_is_refused() -> None:
    graph = Qdq()
    graph.input(3)
    codes = graph.add("QuantizeLinear", ["x0", graph.store(np.float32(0.01)), graph.store(np.uint8(3))])
    with pytest.raises(ModelError, match="gives codes as the network's output"):
        convert(graph.model(codes), graph.samples())


def test_every_operator_of_the_table_is_tried_here_or_with_the_layers() -> None:
    tried = {n.__name__ for n in HANDLERS.values()}
    assert tried == {
        "average_pool", "batch_norm", "bound", "concatenate", "convolution", "curve", "dequantize", "global_average", "limit", "max_pool",
        "pad", "pair", "product", "quantize", "reshape", "same", "softmax", "transpose",
    }  # fmt: skip
