"""A network that looks rows up in a table, as word embeddings are."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def looked_up(rows: int, columns: int) -> onnx.ModelProto:
    """ids (n, 4) -> rows of a table -> MatMul -> (n, 4, 6)."""
    rng = np.random.default_rng(3)
    table = rng.normal(size=(rows, columns)).astype(np.float32) * np.exp(rng.normal(size=(rows, 1))).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["e"]), helper.make_node("MatMul", ["e", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 6])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(rng.normal(size=(columns, 6)).astype(np.float32), "w"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
