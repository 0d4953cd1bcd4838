"""Padding said by layers rather than by nodes of its own, or by a rule: the same answers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.graph.graph import open_session
from engine.graph.pads import join_pads, state_pads

RNG = np.random.default_rng(0)
CONV = numpy_helper.from_array(RNG.standard_normal((2, 2, 3, 3)).astype(np.float32), "w")


def _model(nodes: list[onnx.NodeProto], *stored: onnx.TensorProto) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ["n", 2, 7, 6]), ("y", None)))
    graph = helper.make_graph(nodes, "g", [x], [y], list(stored))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _answers(model: onnx.ModelProto) -> np.ndarray:
    x = np.random.default_rng(1).standard_normal((2, 2, 7, 6)).astype(np.float32)
    return open_session(model).run(None, {"x": x})[0]


def _padded(layer: onnx.NodeProto, pads: list[int], value: float) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.array(pads), "p"), numpy_helper.from_array(np.float32(value), "v")]
    return _model([helper.make_node("Pad", ["x", "p", "v"], ["q"]), layer], CONV, *stored)


POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
ENDS = [0, 0, 0, 1, 0, 0, 1, 2]


@pytest.mark.parametrize(
    ("layer", "value", "pads"),
    [
        (helper.make_node("Conv", ["q", "w"], ["y"]), 0.0, [0, 1, 1, 2]),
        (helper.make_node("Conv", ["q", "w"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2]), 0.0, [1, 2, 2, 3]),
        (helper.make_node("MaxPool", ["q"], ["y"], **POOL), -np.inf, [0, 1, 1, 2]),
    ],
)
def test_a_pad_becomes_part_of_the_layer_that_reads_it(layer, value, pads):
    model = _padded(layer, ENDS, value)
    before = _answers(model)
    join_pads(model.graph)
    assert [n.op_type for n in model.graph.node] == [layer.op_type]
    assert next(list(a.ints) for a in model.graph.node[0].attribute if a.name == "pads") == pads
    assert np.array_equal(_answers(model), before)


@pytest.mark.parametrize(
    ("layer", "value", "pads"),
    [
        (helper.make_node("Conv", ["q", "w"], ["y"]), 1.0, ENDS),
        (helper.make_node("MaxPool", ["q"], ["y"], **POOL), 0.0, ENDS),
        (helper.make_node("MaxPool", ["q"], ["y"], **POOL), -np.inf, [0, 0, 0, 3, 0, 0, 0, 0]),
        (helper.make_node("Relu", ["q"], ["y"]), 0.0, ENDS),
        (helper.make_node("Conv", ["q", "w"], ["y"]), 0.0, [0, 0, -1, 0, 0, 0, 0, 0]),
    ],
)
def test_a_pad_that_does_anything_else_stays(layer, value, pads):
    model = _padded(layer, pads, value)
    join_pads(model.graph)
    assert [n.op_type for n in model.graph.node] == ["Pad", layer.op_type]


@pytest.mark.parametrize("rule", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("steps", [[1, 1], [2, 2], [3, 1]])
def test_padding_by_rule_in_numbers_gives_the_same(rule, steps):
    model = _model([helper.make_node("Conv", ["x", "w"], ["y"], auto_pad=rule, strides=steps)], CONV)
    before = _answers(model)
    state_pads(model.graph.node[0], [7, 6], [3, 3])
    assert not any(a.name == "auto_pad" for a in model.graph.node[0].attribute)
    assert np.array_equal(_answers(model), before)
