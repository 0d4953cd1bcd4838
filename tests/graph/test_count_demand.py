"""What a graph asks of a device, against counts made by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.graph.count_demand import graph_demand
from engine.graph.demand import Demand, in_integers


def graph(nodes, constants, shape=(1, 4, 8, 8), output=(1, 8)):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)]
    weights = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    made = helper.make_graph(nodes, "g", inputs, outputs, initializer=weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def floats(*shape):
    return np.ones(shape, np.float32)


def conv(name, data, weight, output, **attributes):
    return helper.make_node("Conv", [data, weight], [output], name=name, **attributes)


@pytest.fixture(scope="module")
def float_net():
    """4×8×8 -> depthwise 3×3 -> ReLU -> pointwise to 16 -> sum with a second pointwise -> pool -> dense to 8."""
    nodes = [
        conv("dw", "x", "w1", "a", group=4, pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        conv("pw", "b", "w2", "c"),
        conv("side", "b", "w3", "d"),
        helper.make_node("Add", ["c", "d"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gemm", ["g", "w4", "b4"], ["y"], name="fc", transB=1),
    ]
    constants = {"w1": floats(4, 1, 3, 3), "w2": floats(16, 4, 1, 1), "w3": floats(16, 4, 1, 1)}
    return graph_demand(graph(nodes, constants | {"w4": floats(8, 16), "b4": floats(8)}))


def test_operations_by_kind(float_net):
    # Positions × outputs × filter: 64·4·9, twice 64·16·4, 8·16.
    assert {x.kind: x.macs for x in float_net.layers} == {"depthwise": 2304, "pointwise": 4096, "dense": 128}
    assert float_net.macs_by_kind()["pointwise"] == 8192
    assert float_net.macs == 2304 + 8192 + 128
    assert float_net.compute_bits == 32


def test_bytes_of_weights_and_activations(float_net):
    # (36 + 64 + 64 + 128) weights of 4 bytes and 8 biases of 4.
    assert float_net.weight_bytes() == 4 * (292 + 8)
    assert [(x.input_bytes, x.output_bytes) for x in float_net.layers] == [
        (1024, 1024), (1024, 4096), (1024, 4096), (64, 32),
    ]  # fmt: skip
    # ReLU and Flatten cost nothing of their own; the sum reads two tensors and writes one, the pool 4096 to 64.
    assert float_net.operators == 6
    assert float_net.op_types == ("Add", "Conv", "Gemm", "GlobalAveragePool")
    assert float_net.moved_bytes == (1024 + 1024) + 2 * (1024 + 4096) + 3 * 4096 + (4096 + 64) + (64 + 32)


def test_peak_is_that_of_the_worst_moment(float_net):
    # At the sum: both addends and the result. At the second pointwise: b, c and d, which is less.
    assert float_net.peak_bytes == 3 * 4096


def test_a_tensor_that_is_still_needed_is_not_overwritten():
    nodes = [
        conv("one", "x", "w", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    found = graph_demand(graph(nodes, {"w": floats(4, 4, 3, 3)}, output=(1, 4)))
    assert found.peak_bytes == 3 * 1024  # a, b and c at the sum
    assert "Relu" in found.op_types


def test_rounded_tensors_count_in_their_bytes_and_layers_in_their_bits():
    def rounded(name, source, kind=np.uint8):
        nodes = [
            helper.make_node("QuantizeLinear", [source, "s", f"z{kind.__name__}"], [f"{name}q"]),
            helper.make_node("DequantizeLinear", [f"{name}q", "s", f"z{kind.__name__}"], [name]),
        ]
        return nodes

    nodes = [
        *rounded("xr", "x"),
        helper.make_node("DequantizeLinear", ["wq", "s", "zint8"], ["w"]),
        conv("c", "xr", "w", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        *rounded("br", "b"),
        helper.make_node("GlobalAveragePool", ["br"], ["p"]),
        *rounded("pr", "p"),
        helper.make_node("Flatten", ["pr"], ["y"]),
    ]
    constants = {
        "s": np.array(0.1, np.float32),
        "zuint8": np.array(128, np.uint8),
        "zint8": np.array(0, np.int8),
        "wq": np.ones((6, 4, 3, 3), np.int8),
    }
    found = graph_demand(graph(nodes, constants, output=(1, 6)))
    (layer,) = found.layers
    assert (layer.kind, layer.weight_bits, layer.activation_bits, layer.compute_bits) == ("conv", 8, 8, 8)
    assert (layer.input_bytes, layer.output_bytes, layer.weight_bytes()) == (256, 384, 216)
    assert found.operators == 2
    assert found.peak_bytes == 256 + 384


def test_a_stem_reads_few_channels_and_a_product_has_no_weights():
    nodes = [
        conv("stem", "x", "w", "a", pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["b", "c"], ["d"], name="scores"),
        helper.make_node("Reshape", ["d", "flat"], ["y"]),
    ]
    constants = {"w": floats(5, 3, 3, 3), "shape": np.array([1, 5, 64]), "flat": np.array([1, 25])}
    found = graph_demand(graph(nodes, constants, shape=(1, 3, 8, 8), output=(1, 25)))
    assert [(x.kind, x.macs, x.weights) for x in found.layers] == [("stem", 64 * 5 * 27, 135), ("product", 25 * 64, 0)]


def test_weights_that_are_used_twice_are_stored_once():
    nodes = [
        conv("one", "x", "w", "a", pads=[1, 1, 1, 1]),
        conv("two", "a", "w", "b", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["b"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    found = graph_demand(graph(nodes, {"w": floats(4, 4, 3, 3)}, output=(1, 4)))
    assert found.weight_bytes() == 4 * 144
    assert found.macs == 2 * 64 * 4 * 36


def test_a_batch_in_the_file_is_divided_out():
    nodes = [
        conv("one", "x", "w", "a", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    one, four = (
        graph_demand(graph(nodes, {"w": floats(4, 4, 3, 3)}, shape=(n, 4, 8, 8), output=(n, 4))) for n in (1, 4)
    )
    assert one == four


def test_in_integers_is_what_quantization_would_make_of_it(float_net):
    small = in_integers(float_net)
    assert small.compute_bits == 8
    assert small.weight_bytes() == 292 + 4 * 8  # biases stay in 32 bits
    assert small.peak_bytes == 3 * 1024
    assert small.macs == float_net.macs
    assert in_integers(float_net, 4).weight_bytes() == 292 / 2 + 4 * 8
    assert in_integers(float_net, 4).weight_bytes(storage_bits=8) == 292 + 4 * 8


def test_a_record_survives_json(float_net):
    assert Demand.from_json(float_net.to_json()) == float_net


def test_the_check_accepts_the_graphs_made_here():
    onnx.checker.check_model(
        graph([helper.make_node("Flatten", ["x"], ["y"])], {}, output=(1, 256)),
    )
