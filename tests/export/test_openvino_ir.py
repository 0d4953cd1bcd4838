"""OpenVINO's IR: what was written answers as the file does, and what does not is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.errors import InputError
from engine.export import openvino_ir
from engine.export.openvino_ir import representation
from engine.export.predict_template import BundleError
from engine.export.targets import export_for
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers import exported
from tests.helpers.bundles import World, linear_model, unzip

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="OpenVINO writes the IR and runs it: pip install 'paretoscope[openvino-ir]'",
)


@needs_openvino
@pytest.mark.parametrize(("batch", "quantized"), [("N", False), (64, True)])
def test_the_ir_answers_as_the_file_does(world: World, batch: int | str, quantized: bool) -> None:
    world.model = linear_model(world.folder / "m.onnx", batch=batch, quantized=quantized)
    members, facts, line = representation(exported.pictures(world))
    assert sorted(members) == ["labels.txt", "model.bin", "model.xml", "preprocess.json"]
    assert facts["samples"] == 500
    assert 0 <= facts["off"]["scores"] <= (0.1 if quantized else 0.001) == facts["tolerance"]
    assert "answers 500 samples" in line
    assert members["model.xml"].startswith(b"<?xml")
    # Not rounded to float16, as OpenVINO does unless it is told.
    weights = onnx.numpy_helper.to_array(onnx.load(world.model).graph.initializer[0])
    assert weights.tobytes() in members["model.bin"] or weights.T.copy().tobytes() in members["model.bin"]


@needs_openvino
def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    for kind, outputs in ((exported.tokens, {"scores"}), (exported.values, {"boxes", "scores", "kind", "spare"})):
        members, facts, _ = representation(kind(tmp_path))
        assert set(facts["off"]) == outputs
        assert max(facts["off"].values()) <= 1e-4
        assert ("labels.txt" in members) == (kind is exported.tokens)


@needs_openvino
def test_the_same_trial_gives_the_same_bytes(world: World, stored: tuple[Store, Artifacts]) -> None:
    found = [
        export_for("openvino", *stored, "first look", world.trial.id, world.folder / name)[0].read_bytes()
        for name in ("a.zip", "b.zip")
    ]
    assert found[0] == found[1]
    assert (unzip(world.folder / "a.zip", world.folder / "out") / "model.bin").is_file()


@needs_openvino
def test_nothing_is_reported_to_anybody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package reports, it counts in `~/intel`."""
    monkeypatch.setenv("HOME", str(world.folder / "nobody"))
    (world.folder / "nobody").mkdir()
    representation(exported.pictures(world))
    assert not list((world.folder / "nobody").rglob("*intel*"))


def unpacked_from_4_bits(path: Path, folded: Path) -> None:
    """A matrix whose 4-bit codes the graph unpacks, as it is and with constants worked out by ONNX Runtime."""
    codes = np.arange(-8, 8, dtype=np.int8).reshape(4, 4)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["codes"], ["wide"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["x", "wide"], ["y"]),
        ],
        "four",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor("codes", TensorProto.INT4, [4, 4], codes.reshape(-1).tolist())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, str(path))
    openvino_ir.fold(path, folded)
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(onnxruntime.InferenceSession(folded).run(None, {"x": x})[0], codes)


def test_what_openvino_is_given_has_no_functions_and_no_packed_weights(tmp_path: Path) -> None:
    unpacked_from_4_bits(tmp_path / "m.onnx", tmp_path / "plain.onnx")
    found = onnx.load(tmp_path / "plain.onnx")
    assert not found.functions
    assert {numpy_helper.to_array(one).dtype for one in found.graph.initializer} == {np.dtype(np.float32)}


@needs_openvino
def test_answers_beyond_the_tolerance_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO is given another file than the bundle's, as if it had misread it."""
    other = linear_model(world.folder / "other.onnx", flip=True)
    monkeypatch.setattr(openvino_ir, "fold", lambda model, target: target.write_bytes(other.read_bytes()))
    with pytest.raises(BundleError, match=r"scores lies .* of its spread off on 500 samples, 0.001 at most; nothing"):
        representation(exported.pictures(world))


@needs_openvino
def test_operators_that_it_does_not_know_are_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(world.model)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Unheard", "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    monkeypatch.setattr(openvino_ir, "fold", lambda _, target: onnx.save(model, str(target)))
    with pytest.raises(BundleError, match=r"OpenVINO cannot take this file: .*Unheard") as refused:
        representation(exported.pictures(world))
    assert "\n" not in str(refused.value)


def test_where_it_is_not_installed_the_remedy_is_one_line(
    world: World, stored: tuple[Store, Artifacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package openvino; run `pip install 'paretoscope\[openvino-ir\]'`"):
        export_for("openvino", *stored, "first look", world.trial.id, world.folder / "o.zip")
    assert not (world.folder / "o.zip").exists()
