"""Which tests need OpenVINO, which comes with `make test` on x86 and is skipped elsewhere, and networks that it does not take whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

_FIND = """\
import onnxruntime, onnxruntime_ep_openvino
onnxruntime.register_execution_provider_library("OpenVINO", onnxruntime_ep_openvino.get_library_path())
raise SystemExit(all(device.ep_name != "OpenVINOExecutionProvider" for device in onnxruntime.get_ep_devices()))
"""


def lacking() -> str | None:
    """Why OpenVINO cannot be tried here, None where it can; found out in a process of its own, since a plugin is never unloaded."""
    if importlib.util.find_spec("onnxruntime_ep_openvino") is None:
        return "OpenVINO is not installed (`pip install onnxruntime-ep-openvino`; x86 only)"
    if subprocess.run([sys.executable, "-c", _FIND], capture_output=True, check=False).returncode:
        return "OpenVINO's plugin finds no device here (1.8.1: processors of Intel alone)"
    return None


_why = lacking()
needs_openvino = pytest.mark.skipif(_why is not None, reason=_why or "")


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
