"""Stored matrices that several nodes read, each in its own way: the rounded network still answers as the float one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import quantized
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session
from engine.spec.steps import Quantize

RNG = np.random.default_rng(3)
TOKENS = RNG.integers(-40, 40, size=(24, 9))
DATA = RNG.normal(size=(24, 30)).astype(np.float32)
TENSOR = {"per_channel": False}
STEPS: dict[str, dict[str, Any]] = {
    "static": {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest"},
    "static, one scale": {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest", **TENSOR},
    "static, zero points": {
        "weight_bits": 8,
        "activation_bits": 8,
        "rounding": "nearest",
        "symmetric": False,
        **TENSOR,
    },
    "static, smoothed": {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest", "smooth": 0.6},
    "static, u8u8": {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest", "format": "u8u8"},
    "dynamic": {"method": "dynamic"},
    "dynamic, u8u8": {"method": "dynamic", "format": "u8u8"},
    "dynamic, 7 bits": {"method": "dynamic", "weight_bits": 7},
    "dynamic, 7 bits, u8u8": {"method": "dynamic", "weight_bits": 7, "format": "u8u8"},
    "dynamic, one scale": {"method": "dynamic", **TENSOR},
    "dynamic, zero points": {"method": "dynamic", "symmetric": False, **TENSOR},
    "dynamic, zero points, u8u8": {"method": "dynamic", "symmetric": False, "format": "u8u8", **TENSOR},
    "dynamic, smoothed": {"method": "dynamic", "smooth": 0.6},
    "weights, zero points": {"weight_bits": 8, "activation_bits": 32, "symmetric": False},
    "block": {"method": "block", "weight_bits": 8, "block_size": 32},
    "block, zero points": {"method": "block", "weight_bits": 8, "block_size": 16, "symmetric": False},
}
node = helper.make_node


def anywhere(options: dict) -> Quantize:
    """A step whose sums are right on every CPU."""
    step = Quantize.model_validate(options)
    return step.model_copy(update={"weight_range": "safe"}) if step.can_overflow else step


def graph(nodes: list[onnx.NodeProto], source: onnx.ValueInfoProto, **stored: np.ndarray) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [source],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(v.astype(np.float32) if v.dtype.kind == "f" else v, name)
            for name, v in stored.items()
        ],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def embedded(
    *last: onnx.NodeProto, axis: int = 0, columns: int = 40, order: list[int] | None = None
) -> onnx.ModelProto:
    """Tokens (n, 9) -> rows of `table`, MatMul `mid`, Tanh, the mean `h` -> `last`."""
    nodes = [
        node("Gather", ["table", "i"], ["e0"], "table", axis=axis),
        node("Transpose", ["e0"], ["e"], perm=order or [0, 1, 2]),
        node("MatMul", ["e", "mid"], ["m"], "mid"),
        node("Tanh", ["m"], ["t"]),
        node("ReduceMean", ["t", "axes"], ["h"], keepdims=0),
        *last,
    ]
    return graph(
        nodes,
        helper.make_tensor_value_info("i", TensorProto.INT64, ["n", 9]),
        table=RNG.normal(size=(40, columns)) * 0.4,
        mid=RNG.normal(size=(columns, columns)) * 0.2,
        axes=np.array([1]),
    )


def off(model: onnx.ModelProto, found: onnx.ModelProto, data: np.ndarray) -> float:
    """How far the answers of two networks are apart, as a share of their length."""
    exact, other = (open_session(m).run(None, {model.graph.input[0].name: data})[0] for m in (model, found))
    return float(np.linalg.norm(exact - other) / np.linalg.norm(exact))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("columns", [40, 32])
def test_a_table_that_the_last_layer_multiplies_by(step: str, columns: int) -> None:
    model = embedded(node("Gemm", ["h", "table"], ["y"], "out", transB=1), columns=columns)
    found = quantized(anywhere(STEPS[step]), model, TOKENS).model
    assert off(model, found, TOKENS) < 0.05
    bits = {x.name: x.weight_bits for x in graph_facts(found).layers}
    assert max(bits[name] for name in ("table", "mid", "out")) <= 8


@pytest.mark.parametrize(
    "step", ["dynamic", "dynamic, 7 bits", "dynamic, u8u8", "dynamic, 7 bits, u8u8", "static, u8u8", "block"]
)
def test_such_a_table_is_stored_and_counted_once(step: str) -> None:
    model = embedded(node("Gemm", ["h", "table"], ["y"], "out", transB=1), columns=32)
    found = quantized(anywhere(STEPS[step]), model, TOKENS).model
    biases = 40 + 32 if "static" in step else 0  # which correction adds to products
    assert graph_facts(model).params <= graph_facts(found).params <= graph_facts(model).params + biases
    codes = sum(t.ByteSize() for t in found.graph.initializer if t.data_type in (TensorProto.INT8, TensorProto.UINT8))
    assert codes < 1.15 * 32 * (40 + 32)


@pytest.mark.parametrize("step", STEPS)
def test_a_square_table_whose_columns_the_last_layer_multiplies_by(step: str) -> None:
    model = embedded(node("MatMul", ["h", "table"], ["y"], "out"))
    assert off(model, quantized(anywhere(STEPS[step]), model, TOKENS).model, TOKENS) < 0.05


@pytest.mark.parametrize("step", STEPS)
def test_a_square_table_of_which_columns_are_looked_up(step: str) -> None:
    last = node("Gemm", ["h", "table"], ["y"], "out", transB=1)
    model = embedded(last, axis=1, order=[1, 2, 0])
    assert off(model, quantized(anywhere(STEPS[step]), model, TOKENS).model, TOKENS) < 0.05


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "second", [node("MatMul", ["r", "w"], ["y"], "b"), node("Gemm", ["r", "w"], ["y"], "b", transB=1)]
)
def test_two_layers_of_one_matrix_straight_or_transposed(step: str, second: onnx.NodeProto) -> None:
    nodes = [node("MatMul", ["x", "w"], ["p"], "a"), node("Relu", ["p"], ["r"]), second]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 30])
    model = graph(nodes, source, w=RNG.normal(size=(30, 30)) * 0.2)
    assert off(model, quantized(anywhere(STEPS[step]), model, DATA).model, DATA) < 0.05


@pytest.mark.parametrize("step", ["static, smoothed", "dynamic, smoothed"])
def test_smoothing_leaves_a_matrix_alone_that_something_else_reads(step: str) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["p"], "a"),
        node("Relu", ["p"], ["r"]),
        node("MatMul", ["r", "v"], ["q"], "b"),
        node("ReduceSum", ["v", "first"], ["column"], keepdims=0),
        node("Add", ["q", "column"], ["y"]),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 30])
    stored = {"w": RNG.normal(size=(30, 30)) * 0.2, "v": RNG.normal(size=(30, 30)), "first": np.array([0])}
    model = graph(nodes, source, **stored)
    # What that other node made is stored by then; the computed one reads the matrix itself.
    nodes[3] = node("MatMul", ["r", "v"], ["column"], "c")
    other = graph(nodes, source, **stored)
    for one in (model, other):
        assert off(one, quantized(anywhere(STEPS[step]), one, DATA).model, DATA) < 0.05


@pytest.mark.parametrize(("step", "told"), [("dynamic", True), ("dynamic, one scale", False), ("block", True)])
def test_a_table_that_is_looked_up_as_it_was_is_told(step: str, told: bool) -> None:
    across = embedded(node("MatMul", ["h", "table"], ["y"], "out"))
    columns = embedded(node("Gemm", ["h", "table"], ["y"], "out", transB=1), axis=1, order=[1, 2, 0])
    for model, expected in ((across, told), (columns, True)):
        done = quantized(anywhere(STEPS[step]), model, TOKENS)
        kept = [
            t for t in done.model.graph.initializer if t.data_type == TensorProto.FLOAT and list(t.dims) == [40, 40]
        ]
        assert bool(kept) == expected
        assert ("stay in 32-bit floats" in (done.note or "")) == expected
