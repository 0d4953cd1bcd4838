"""Which tests need OpenVINO, which comes with `make test` on x86 and is skipped elsewhere, and networks that it does not take whole."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_ep_openvino") is None,
    reason="OpenVINO is not installed (`pip install onnxruntime-ep-openvino`; x86 only)",
)


def net_of(path: Path, operators: Sequence[str]) -> Path:
    """Images (N, 1, 8, 8) through these operators of no attributes, one after another; `Conv` is 3×3 with weights of its own.

    OpenVINO 2026.4 does not take `Det`, which has no kernel there.
    """
    names = ["input", *(f"t{i}" for i in range(1, len(operators))), "logits"]
    nodes = []
    for i, operator in enumerate(operators):
        inputs, options = [names[i]], {}
        if operator == "Conv":
            inputs, options = [names[i], "weight"], {"pads": [1, 1, 1, 1]}
        nodes.append(helper.make_node(operator, inputs, [names[i + 1]], **options))
    weight = np.random.default_rng(0).standard_normal((1, 1, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(weight, "weight")] if "Conv" in operators else [],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path
