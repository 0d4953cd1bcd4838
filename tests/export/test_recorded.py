"""What is recorded of a file before it is taken home."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from engine.export.recorded import arithmetic_of
from tests.helpers.bundles import linear_model


@pytest.mark.parametrize(("quantized", "arithmetic"), [(False, "float"), (True, "int8")])
def test_arithmetic_in_the_files_own_functions_counts(tmp_path: Path, quantized: bool, arithmetic: str) -> None:
    model = onnx.load(linear_model(tmp_path / "m.onnx", quantized=quantized))
    body = list(model.graph.node)
    given = [body[0].input[0], *(i.name for i in model.graph.initializer)]
    function = helper.make_function("own", "All", given, ["scores"], body, [helper.make_opsetid("", 17)])
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("All", given, ["scores"], domain="own"))
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(model, str(tmp_path / "inside.onnx"))
    assert arithmetic_of(tmp_path / "inside.onnx") == arithmetic
