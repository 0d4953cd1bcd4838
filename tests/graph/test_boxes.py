"""Graphs as boxes: what is fused stands in one, what branches has its own, and no box is lost."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.graph.boxes import boxes_of
from engine.graph.count_layer_graph import layer_graph
from engine.graph.counts import graph_facts, run_shapes
from tests.helpers.graph_pairs import Net, branching_net, residual_net


def _named(found):
    return [(box.op_type, box.operators) for box in found.boxes if box.kind == "operator"]


def test_a_layer_holds_what_is_fused_into_it_and_a_residual_stands_apart():
    found = boxes_of(residual_net())

    assert _named(found) == [
        ("Conv", ("Conv", "Relu")),
        ("Conv", ("Conv", "Relu")),
        ("Conv", ("Conv",)),
        ("Add", ("Add", "Relu")),
        ("GlobalAveragePool", ("GlobalAveragePool", "Flatten")),
        ("MatMul", ("MatMul", "Add")),
        ("Softmax", ("Softmax",)),
    ]
    # The stem feeds the first convolution and the sum.
    assert [(a, b) for a, b, _ in found.edges] == [
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
        (1, 4),
        (4, 5),
        (5, 6),
        (6, 7),
        (7, 8),
    ]


def test_rounding_stands_in_the_box_before_and_constants_nowhere():
    found = boxes_of(residual_net(bits=8))

    assert _named(found)[0] == ("Conv", ("Conv", "Relu", "QuantizeLinear", "DequantizeLinear"))
    assert [box.op_type for box in found.boxes] == [box.op_type for box in boxes_of(residual_net()).boxes]


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("bits", [8, 32])
def test_every_node_that_depends_on_the_input_is_in_one_box_and_edges_lead_onward(fold, bits):
    model = residual_net(bits=bits)
    found = boxes_of(model, fold)

    inside = [id_of for box in found.boxes for id_of in (n.output[0] for n in box.nodes)]
    fed = [n.output[0] for n in model.graph.node if not set(n.input) <= set(weights_of(model))]
    assert sorted(inside) == sorted(fed)
    assert all(a < b for a, b, _ in found.edges)


def weights_of(model):
    return [t.name for t in model.graph.initializer]


def test_a_gate_whose_two_inputs_come_from_one_layer_is_part_of_it():
    net = Net()
    x = net.conv("input", "conv", 1, 4)
    model = net.model(net.add("Mul", [net.add("Sigmoid", [x]), x]), out=("N", 4, 8, 8))

    assert _named(boxes_of(model)) == [("Conv", ("Conv", "Sigmoid", "Mul"))]


def test_scales_of_data_that_are_rounded_as_the_network_runs_draw_no_boxes():
    codes = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["input"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"], name="fc"),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "ws"], ["ss"]),
        helper.make_node("Mul", ["f", "ss"], ["logits"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("input", "logits")]
    weights = [numpy_helper.from_array(codes, "w"), numpy_helper.from_array(np.float32(0.1), "ws")]
    model = helper.make_model(
        helper.make_graph(nodes, "dynamic", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = layer_graph(model)

    assert [box.op_type for box in graph.boxes] == ["Input", "MatMulInteger", "Output"]
    assert (graph.boxes[1].weight_bits, graph.boxes[1].activation_bits) == (8, 8)
    assert graph.notes == ("operators that compute shapes or scales alone are not drawn (1)",)


@pytest.mark.parametrize("bits", [8, 32])
def test_the_boxes_numbers_add_up_to_the_networks(bits):
    model = residual_net(bits=bits)
    facts, graph = graph_facts(model), layer_graph(model)

    assert sum(box.params or 0 for box in graph.boxes) == facts.params == 8 * 9 + 2 * 8 * 8 * 9 + 8 * 4 + 4
    assert sum(box.macs or 0 for box in graph.boxes) == facts.macs
    assert [box.shape for box in graph.boxes][-2:] == [(1, 4), (1, 4)]
    assert [box.channels for box in graph.boxes if box.op_type == "Conv"] == [(1, 8), (8, 8), (8, 8)]


def test_a_box_says_what_its_branches_hold():
    graph = layer_graph(branching_net())
    chosen = next(box for box in graph.boxes if box.op_type == "If")

    assert chosen.inside == "then branch with 1 operator, 1 multiplying; else branch with 1 operator"
    # What the branches read from outside is an edge, too.
    assert (0, graph.boxes.index(chosen)) in graph.edges
    assert any("not drawn" in note for note in graph.notes)


def test_what_the_runtime_does_not_know_is_drawn_without_numbers_and_says_so():
    net = Net()
    model = net.model(net.add("Mystery", [net.conv("input", "conv", 1, 4)], "odd", domain="some.where"))
    model.opset_import.append(helper.make_opsetid("some.where", 1))
    graph = layer_graph(model)

    assert [(box.op_type, box.params, box.shape) for box in graph.boxes[1:-1]] == [
        ("Conv", None, None),
        ("Mystery", None, None),
    ]
    assert [note.partition(" (")[0] for note in graph.notes] == [
        "parameters, bits and MACs are not known",
        "shapes are not known",
    ]


def test_an_lstm_is_one_box_with_all_its_weights():
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (1, 24, 5)), ("r", (1, 24, 6)))
    ]
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 7, 5]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 6]),
    ]
    nodes = [
        helper.make_node("Transpose", ["input"], ["x"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], name="lstm", hidden_size=6),
        helper.make_node("Squeeze", ["h", "axis"], ["logits"]),
    ]
    weights.append(numpy_helper.from_array(np.array([0]), "axis"))
    model = helper.make_model(
        helper.make_graph(nodes, "lstm", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    lstm = layer_graph(model).boxes[1]

    assert (lstm.name, lstm.operators, lstm.params, lstm.macs) == ("lstm", ("LSTM", "Squeeze"), 24 * 11, 7 * 24 * 11)


@pytest.mark.parametrize("model", [residual_net(), residual_net(bits=8, width=5), branching_net()])
def test_shapes_are_those_of_a_run(model):
    found = boxes_of(model, fold=False)
    tensors = [box.tensor for box in found.boxes if box.kind == "operator"]
    shapes = [box.shape for box in layer_graph(model, fold=False).boxes if box.kind == "operator"]

    assert dict(zip(tensors, shapes, strict=True)) == run_shapes(model, tensors)
