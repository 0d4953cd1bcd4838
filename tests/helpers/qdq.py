"""QDQ graphs by hand, one operator at a time, and what their int8 files answer, in steps from ONNX Runtime."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.export.tflite.check import answers
from engine.export.tflite.convert import Converted, convert

needs_litert = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="TensorFlow Lite's interpreter is not installed"
)


@dataclass
class Qdq:
    """Builds a graph; tensors by name. `kind`: the type of activations' codes."""

    kind: Any = np.uint8
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def store(self, value: Any, kind: Any = None) -> str:
        name = f"c{len(self.stored)}"
        self.stored[name] = np.asarray(value, kind)
        return name

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name, before = f"{op}{len(self.nodes)}", sum(node.op_type == op for node in self.nodes)
        called = f"my {op} {before + 1}" if before else f"my {op}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=called, **attributes))
        return name

    def rounded(self, name: str, low: float, high: float) -> str:
        """A tensor through QuantizeLinear and DequantizeLinear, 255 steps from `low` to `high`."""
        scale = np.float32((high - low) / 255)
        zero = int(np.clip(np.rint(-low / scale), 0, 255)) - (128 if self.kind == np.int8 else 0)
        how = [self.store(scale), self.store(zero, self.kind)]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [name, *how]), *how])

    def input(self, *shape: int, low: float = -2.0, high: float = 3.0) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]))
        return self.rounded(name, low, high)

    def weight(self, *shape: int, axis: int | None = 0, kind: Any = np.int8) -> str:
        """Random codes in ±127 around their zero, scales of their own along `axis`."""
        codes = self.random.integers(-127, 128, shape)
        scale = self.random.uniform(0.002, 0.01, () if axis is None else shape[axis]).astype(np.float32)
        zero = np.full(scale.shape, 128 if kind == np.uint8 else 0, kind)
        how = [self.store(codes + int(zero.max()), kind), self.store(scale), self.store(zero)]
        return self.add("DequantizeLinear", how, **({} if axis is None else {"axis": axis}))

    def model(self, *outputs: str) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        stored = [numpy_helper.from_array(value, name) for name, value in self.stored.items()]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    def samples(self, n: int = 12) -> dict[str, np.ndarray]:
        """Numbers over more than the inputs' ranges, so that some saturate."""
        shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim[1:]] for i in self.inputs}
        return {name: self.random.uniform(-2.5, 3.5, (n, *shape)).astype(np.float32) for name, shape in shapes.items()}


def converted(graph: Qdq, *outputs: str) -> tuple[Converted, dict[str, np.ndarray]]:
    samples = graph.samples()
    return convert(graph.model(*outputs), samples), samples


def steps(graph: Qdq, *outputs: str) -> tuple[int, Converted]:
    """How many steps the outputs of the file are from ONNX Runtime's at most, and the file."""
    made, samples = converted(graph, *outputs)
    given, most = answers(made, samples), 0
    parts = list(made.source.run(outputs))
    for port, codes in zip(made.outputs, given, strict=True):
        wanted = port.scale.codes(np.concatenate([part[port.name] for part in parts])).astype(int)
        assert codes.shape == wanted.shape
        assert np.unique(wanted).size > 20, "an output of a few codes shows nothing"
        most = max(most, int(np.abs(codes - wanted).max()))
    return most, made
