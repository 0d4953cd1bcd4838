"""What of a sweep's model section holds for a file that was made elsewhere, and has states, constants and outputs stored or left out."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engine.models.made_elsewhere import inputs_of, section_for
from engine.run.add_baseline import _sweep
from engine.spec.sections import Model
from engine.spec.sweep import parse_sweep
from tests.helpers.several_outputs import several_net

VALUE = helper.make_tensor_value_info


def stateful(path: Path, stored: bool = False) -> Path:
    """`audio`, and unless they are `stored` also `rate` and `state` -> `scores`, and unless stored also `next`."""
    inputs = [VALUE("audio", TensorProto.FLOAT, ["N", 4])]
    nodes = [helper.make_node("Relu", ["audio"], ["scores"])]
    outputs = [VALUE("scores", TensorProto.FLOAT, ["N", 4])]
    if not stored:
        inputs += [VALUE("rate", TensorProto.FLOAT, ["N", 4]), VALUE("state", TensorProto.FLOAT, ["N", 4])]
        nodes.append(helper.make_node("Sum", ["audio", "rate", "state"], ["next"]))
        outputs.append(VALUE("next", TensorProto.FLOAT, ["N", 4]))
    graph = helper.make_graph(nodes, "stateful", inputs, outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_file_that_lacks_states_and_outputs_needs_no_word_of_them(tmp_path: Path) -> None:
    like = Model(source="old.onnx", output="scores", state={"state": "next"}, axes={"length": 4})
    whole, stored = stateful(tmp_path / "whole.onnx"), stateful(tmp_path / "stored.onnx", stored=True)
    assert section_for(whole, like) == like.model_copy(update={"source": str(whole)})
    assert section_for(stored, like) == Model(source=str(stored), axes={"length": 4})


@pytest.mark.parametrize(("kept", "expected"), [(4, ("scores", 0)), (2, (0, 1))])
def test_outputs_that_count_are_those_of_the_sweep(tmp_path: Path, kept: int, expected: tuple) -> None:
    model = several_net()
    del model.graph.output[kept:]
    model.graph.output[0].name, model.graph.node[7].output[0] = "places", "places"
    if kept == 2:
        model.graph.output[1].name, model.graph.node[9].output[0] = "shares", "shares"
    onnx.save(model, tmp_path / "net.onnx")
    assert section_for(tmp_path / "net.onnx", Model(source="old.onnx", outputs=("scores", 0))).outputs == expected


def test_a_sweep_against_such_a_file_says_the_same_of_it(tmp_path: Path) -> None:
    said = {
        "model": {"source": str(tmp_path / "old.onnx"), "output": "scores", "state": {"state": "next"}},
        "data": {"source": "x.npz", "inputs": {"audio": "x", "rate": 16000}, "preprocess": "none"},
    }
    old = parse_sweep(said)
    whole = _sweep(old, stateful(tmp_path / "whole.onnx"), "theirs", [])
    assert (whole.model.output, whole.model.state, whole.data) == ("scores", {"state": "next"}, old.data)
    stored = stateful(tmp_path / "stored.onnx", stored=True)
    assert inputs_of(stored) == {"audio"}
    new = _sweep(old, stored, "theirs", [])
    assert (new.model.output, new.model.state, new.data.inputs) == (None, {}, {"audio": "x"})
