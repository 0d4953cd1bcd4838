"""One node of a graph on its own in ONNX Runtime, for whoever goes through a graph node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import helper

from engine.graph.graph import open_session


def node_session(
    model: onnx.ModelProto, node: onnx.NodeProto, types: Mapping[str, np.dtype[Any]]
) -> onnxruntime.InferenceSession:
    """A session of a node of `model` that is fed all of its inputs, by name; `types`: their number types. Its outputs are those that the
    node names.

    Raises ModelError for a node that the runtime refuses.
    """
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(kind), None) for name, kind in types.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    alone = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    alone.graph.CopyFrom(helper.make_graph([node], "node", inputs, outputs))
    return open_session(alone)


def run_node(
    model: onnx.ModelProto, node: onnx.NodeProto, known: Mapping[str, npt.NDArray[Any]]
) -> list[npt.NDArray[Any]]:
    """The outputs that a node names, in its order; `known`: its inputs, among others."""
    feeds = {name: known[name] for name in node.input if name}
    session = node_session(model, node, {name: value.dtype for name, value in feeds.items()})
    found: list[npt.NDArray[Any]] = session.run(None, feeds)
    return found
