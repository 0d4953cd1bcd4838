"""Networks that mean harm: one line each, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.uploads import bounds, onnx_graph
from engine.uploads.bounds import Refused
from engine.uploads.limited import Limits, run_limited
from tests.helpers.uploads import refusal

pytestmark = pytest.mark.usefixtures("home")
FLOAT = TensorProto.FLOAT


def net(nodes: list, weights: list | None = None, shape: tuple = ("N", 4), **more: object) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, ["N", 4])], weights or [],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def said(model: onnx.ModelProto) -> str:
    return refusal(model.SerializeToString(), "model", "net.onnx")


def weight(name: str = "w", shape: tuple = (4, 4)) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])


@pytest.mark.parametrize("where", ["../../../etc/passwd", "/etc/passwd", "weights.bin"])
def test_weights_in_another_file(where: str) -> None:
    tensor = weight()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)
    assert f"keeps weights in another file, '{where}'" in said(net([MATMUL], [tensor]))


def test_weights_in_another_file_hidden_in_a_branch() -> None:
    tensor = weight("inner")
    tensor.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=tensor)],
        "b",
        [],
        [helper.make_tensor_value_info("c", FLOAT, None)],
    )
    choose = helper.make_node("If", ["t"], ["v"], then_branch=branch, else_branch=branch)
    yes = numpy_helper.from_array(np.array(True), "t")
    assert "another file, '/etc/passwd'" in said(net([choose, MATMUL], [weight(), yes]))


def test_a_tensor_that_says_it_is_larger_than_it_is() -> None:
    tensor = weight()
    tensor.dims[0] = 10**12
    assert "says that it has 16 TB but has 64 bytes" in said(net([MATMUL], [tensor]))
    listed = onnx.TensorProto(name="w", data_type=FLOAT, dims=[10**9, 4], float_data=[1.0] * 16)
    assert "says that it has 4,000,000,000 numbers but has 16" in said(net([MATMUL], [listed]))
    tensor.dims[0] = -4
    assert "of a negative size" in said(net([MATMUL], [tensor]))


def test_an_input_that_is_declared_huge() -> None:
    assert "declares 'x' of 100000×100000, 40 GB" in said(net([MATMUL], [weight()], shape=("N", 100_000, 100_000)))


def test_a_sparse_tensor_that_is_huge_once_it_is_filled() -> None:
    model = net([MATMUL])
    model.graph.sparse_initializer.add(
        values=numpy_helper.from_array(np.ones(1, np.float32), "w"),
        indices=numpy_helper.from_array(np.zeros(1, np.int64), "i"), dims=[10**6, 10**6],
    )  # fmt: skip
    assert "the sparse tensor 'w' of 1000000×1000000" in said(model)


def function(name: str, calls: list[str]) -> onnx.FunctionProto:
    names = ["a", *(f"v{n}" for n in range(len(calls) - 1)), "b"]
    nodes = [
        helper.make_node(op, [names[n]], [names[n + 1]], domain="own" if op.startswith("f") else "")
        for n, op in enumerate(calls)
    ]
    return helper.make_function(
        "own", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    )


def calling(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    return net([helper.make_node("f0", ["x"], ["y"], domain="own")], functions=functions)


def test_functions_that_call_themselves_in_a_circle() -> None:
    circle = calling(function("f0", ["f1"]), function("f1", ["Relu", "f0"]))
    assert "a function that calls itself" in said(circle)


def test_functions_that_are_few_and_written_out_are_millions() -> None:
    laughs = calling(*(function(f"f{n}", [f"f{n + 1}"] * 50) for n in range(6)), function("f6", ["Relu"] * 50))
    assert len(laughs.SerializeToString()) < 50_000
    assert "more than 100,000 nodes" in said(laughs)


def test_branches_within_branches() -> None:
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=weight("c"))],
        "b",
        [],
        [helper.make_tensor_value_info("c", FLOAT, None)],
    )
    for _ in range(12):
        node = helper.make_node("If", ["t"], ["c"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "b", [], [helper.make_tensor_value_info("c", FLOAT, None)])
        if len(graph.SerializeToString()) > 1 << 20:
            break
    inner = net([*graph.node, MATMUL], [weight(), numpy_helper.from_array(np.array(True), "t")])
    assert "within each other more than 8 deep" in said(inner)


def test_a_program_of_one_runtime_in_place_of_layers() -> None:
    node = helper.make_node(
        "EPContext", ["x"], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="/etc/passwd"
    )
    assert "EPContext" in said(net([node]))


def test_a_graph_that_makes_something_huge_of_itself() -> None:
    """Small as a file, 40 GB as soon as it is opened or run: the process that tries it has less."""
    huge = numpy_helper.from_array(np.array([10**5, 10**5], np.int64), "n")
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["big"], value=helper.make_tensor("v", FLOAT, [1], [1.0])),
        helper.make_node("ReduceSum", ["big"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "total"], ["y"]),
    ]
    found = said(net(nodes, [huge]))
    assert "cannot load the graph" in found or "does not run" in found


def endless() -> onnx.ModelProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond"], ["go_on"]), helper.make_node("Identity", ["state"], ["same"])], "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("cond", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", FLOAT, None),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("same", FLOAT, None)],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["", "t", "x"], ["y"], body=body)
    return net([loop], [numpy_helper.from_array(np.array(True), "t")])


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(3 << 30, cpu_s=2, wall_s=60, file_bytes=1 << 20), "takes more than 2 s of computing"),
        (Limits(3 << 30, cpu_s=60, wall_s=3, file_bytes=1 << 20), "takes more than 3 s to look at"),
    ],
)
def test_a_network_that_never_ends(monkeypatch: pytest.MonkeyPatch, limits: Limits, says: str) -> None:
    monkeypatch.setattr(bounds, "LOOKING", limits)
    assert says in said(endless())


def test_a_process_that_is_given_too_little_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LOOKING", Limits(150 << 20, cpu_s=60, wall_s=60, file_bytes=1 << 20))
    assert "net.onnx" in said(net([MATMUL], [weight("w", (5_000, 5_000))], shape=("N", 5_000)))


def test_a_network_of_two_inputs_or_of_another_age_is_told_in_its_own_name(tmp_path: Path) -> None:
    model = net([MATMUL], [weight()])
    model.opset_import[0].version = 5
    found = said(model)
    assert "net.onnx" in found
    assert "opset 5" in found


def test_nodes_are_counted_with_their_branches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bounds, "MOST_NODES", 3)
    path = tmp_path / "n.onnx"
    relus = [helper.make_node("Relu", ["x" if n == 0 else f"r{n}"], [f"r{n + 1}"]) for n in range(4)]
    onnx.save(net([*relus, helper.make_node("MatMul", ["r4", "w"], ["y"])], [weight()]), path)
    with pytest.raises(Refused, match="more than 3 nodes"):
        onnx_graph.look_at(path, lambda share: None)


def test_the_process_that_looks_sees_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOSCOPE_STORE", "postgresql://user:secret@db/x")
    shown = run_limited("tests.helpers.show_environment", [], Limits(1 << 30, 20, 20, 1 << 20)).output
    assert "PYTHONPATH" in shown
    assert "secret" not in shown
