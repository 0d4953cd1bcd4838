"""Shapes that are the same for every input are stored; for every batch the graph gives what it gave."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.graph.graph import open_session
from engine.graph.shape_arithmetic import settle_shapes
from engine.graph.tidy import tidy


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(nodes: list[onnx.NodeProto], *stored: onnx.TensorProto, time: int | str = 6) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", ["N", time, 4]), ("y", None))]
    graph = helper.make_graph(nodes, "shapes", values[:1], values[1:], list(stored))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def heads(**kwargs: int | str) -> onnx.ModelProto:
    """x.view(n, 6, 2, 2), as an exporter writes it; then divided by the root of the width, which is read off as well."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "two"], ["front"]),
        helper.make_node("Concat", ["front", "inner"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["split"]),
        helper.make_node("Gather", ["shape", "last"], ["width"]),
        helper.make_node("Cast", ["width"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["real"], ["root"]),
        helper.make_node("Div", ["split", "root"], ["y"]),
    ]
    return model(nodes, ints("zero", 0), ints("two", 2), ints("inner", 2, 2), ints("last", 2), **kwargs)


def settled(made: onnx.ModelProto) -> Counter[str]:
    settle_shapes(made)
    tidy(made)
    return Counter(n.op_type for n in made.graph.node)


def run(made: onnx.ModelProto, batch: int) -> np.ndarray:
    x = np.random.default_rng(batch).standard_normal((batch, 6, 4)).astype(np.float32)
    return open_session(made).run(None, {"x": x})[0]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_only_what_computes_is_left_and_it_gives_the_same_for_every_batch(batch: int):
    made = heads()
    expected = run(made, batch)
    assert settled(made) == {"Reshape": 1, "Div": 1}
    assert expected.shape == (batch, 6, 2, 2)
    np.testing.assert_array_equal(run(made, batch), expected)


def test_what_follows_the_batch_elsewhere_than_in_a_target_stays():
    """The batch itself is added to every number."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Cast", ["shape"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "real"], ["y"]),
    ]
    made = model(nodes)
    assert settled(made) == {"Shape": 1, "Cast": 1, "Add": 1}
    x = np.zeros((5, 6, 4), np.float32)
    assert (open_session(made).run(None, {"x": x})[0] == 5).all()


def test_two_axes_that_follow_the_batch_are_left_to_the_graph():
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], end=1),
        helper.make_node("Concat", ["n", "rest", "n"], ["target"], axis=0),
        helper.make_node("Expand", ["one", "target"], ["wide"]),
        helper.make_node("ReduceSum", ["wide", "axes"], ["count"], keepdims=0),
        helper.make_node("Mul", ["x", "count"], ["y"]),
    ]
    one = numpy_helper.from_array(np.ones((1, 1, 1), np.float32), "one")
    made = model(nodes, ints("rest", 3), ints("axes", 0, 1, 2), one)
    expected = run(made, 3)
    assert settled(made)["Concat"] == 1
    np.testing.assert_array_equal(run(made, 3), expected)


def test_nothing_is_done_where_another_axis_is_free():
    made = heads(time="T")
    before = [n.op_type for n in made.graph.node]
    settle_shapes(made)
    assert [n.op_type for n in made.graph.node] == before
