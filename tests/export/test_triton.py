"""Triton's model repository: what config.pbtxt says, read by protobuf itself, is what the graph takes, gives and allows."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from google.protobuf import text_format

from engine.compress import quantize
from engine.errors import InputError
from engine.export.targets import export_for
from engine.export.triton import repository
from engine.spec.steps import Quantize
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers import exported
from tests.helpers.bundles import World, linear_model, unzip
from tests.helpers.triton_config import read, tensors


def test_a_classifier_is_served_in_batches_with_its_labels(world: World) -> None:
    members, facts, _ = repository(exported.pictures(world))
    name = facts["model"]
    assert sorted(members) == sorted(
        f"{name}/{part}" for part in ("1/model.onnx", "config.pbtxt", "labels.txt", "preprocess.json")
    )
    assert name == f"nets_py_build_{world.trial.id}"
    config = read(members[f"{name}/config.pbtxt"].decode())
    assert (config.platform, config.max_batch_size, config.HasField("dynamic_batching")) == (
        "onnxruntime_onnx",
        32,
        True,
    )
    assert tensors(config.input) == [("pixels", "FP32", [3, 5, 6], None)]
    assert tensors(config.output) == [("scores", "FP32", [4], None)]
    assert config.output[0].label_filename == "labels.txt"
    assert members[f"{name}/labels.txt"].decode().splitlines()[:3] == ["top left", "b/c", "Größe"]
    assert {k: p.string_value for k, p in ((p.key, p.value) for p in config.parameters)} == {
        "intra_op_thread_count": "1",
        "inter_op_thread_count": "1",
    }
    assert [group.kind for group in config.instance_group] == [2]
    assert members[f"{name}/1/model.onnx"].startswith(world.model.read_bytes())


def test_a_fixed_batch_is_no_batch_to_put_together(world: World) -> None:
    world.model = linear_model(world.folder / "fixed.onnx", batch=64)
    members, facts, line = repository(exported.pictures(world))
    config = read(members[f"{facts['model']}/config.pbtxt"].decode())
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert tensors(config.input) == [("pixels", "FP32", [64, 3, 5, 6], None)]
    assert tensors(config.output) == [("scores", "FP32", [64, 4], None)]
    assert "the graph fixes how many" in line


def test_samples_that_change_each_others_answers_come_alone(world: World) -> None:
    images = world.data.preprocessing(world.data.test.inputs)
    made = quantize.apply(
        Quantize(method="dynamic", weight_bits=3, weight_range="safe"), onnx.load(world.model), images
    )
    world.model = world.folder / "dynamic.onnx"
    onnx.save(made, str(world.model))
    members, facts, line = repository(exported.pictures(world))
    config = read(members[f"{facts['model']}/config.pbtxt"].decode())
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (1, False)
    assert tensors(config.input) == [("pixels", "FP32", [3, 5, 6], None)]
    assert "one sample a call" in line


def test_several_inputs_of_whole_numbers_and_free_axes(tmp_path: Path) -> None:
    members, facts, _ = repository(exported.tokens(tmp_path))
    config = read(members[f"{facts['model']}/config.pbtxt"].decode())
    assert tensors(config.input) == [("tokens", "INT64", [-1], None), ("mask", "INT64", [-1], None)]
    assert (tensors(config.output), config.max_batch_size) == ([("scores", "FP32", [4], None)], 32)


def test_several_outputs_without_classes(tmp_path: Path) -> None:
    members, facts, _ = repository(exported.values(tmp_path))
    assert not [name for name in members if name.endswith("labels.txt")]
    config = read(members[f"{facts['model']}/config.pbtxt"].decode())
    assert tensors(config.output) == [
        ("boxes", "FP32", [4], None),
        ("scores", "FP32", [5], None),
        # Triton wants one dimension at least; the graph has none beside the samples.
        ("kind", "INT64", [1], []),
        ("spare", "FP32", [6], None),
    ]
    assert not [one for one in config.output if one.label_filename]


@pytest.mark.parametrize(
    ("runtime", "kind", "accelerators", "level"),
    [
        ({"provider": "CPU", "graph_optimisation": "basic"}, 2, ([], []), -1),
        ({"provider": "OpenVINO", "graph_optimisation": "all"}, 2, (["openvino"], []), 0),
        ({"provider": "TensorRT", "graph_optimisation": "disable"}, 1, ([], ["tensorrt"]), 2),
        ({"provider": "CUDA", "graph_optimisation": "extended"}, 1, ([], []), 1),
    ],
)
def test_it_runs_as_it_was_measured(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    runtime: dict[str, str],
    kind: int,
    accelerators: tuple[list[str], list[str]],
    level: int,
) -> None:
    from engine.export import parts_folder
    from engine.export.predict_template import open_model

    parts = exported.pictures(world)
    manifest = json.loads(parts["manifest.json"])
    manifest["runtime"] |= runtime | {"threads": 4}
    # The providers of other machines are not at hand; what is written down of them is.
    monkeypatch.setattr(parts_folder, "open_bundle", lambda folder, _: open_model(folder / "model.onnx"))
    members, facts, _ = repository(parts | {"manifest.json": json.dumps(manifest).encode()})
    config = read(members[f"{facts['model']}/config.pbtxt"].decode())
    found = config.optimization.execution_accelerators
    assert [one.name for one in found.cpu_execution_accelerator] == accelerators[0]
    assert [one.name for one in found.gpu_execution_accelerator] == accelerators[1]
    assert (config.instance_group[0].kind, config.optimization.graph.level) == (kind, level)
    assert {p.key: p.value.string_value for p in config.parameters}["intra_op_thread_count"] == "4"


def test_the_reader_refuses_what_triton_would() -> None:
    for wrong in ("max_batch: 3", "input { dims: [ 1.5 ] }", 'output { name: "x" ', "input { data_type: FP32 }"):
        with pytest.raises(text_format.ParseError):
            read(wrong)


def test_a_stored_trial_is_written_the_same_twice_and_unknown_names_are_refused(
    world: World, stored: tuple[Store, Artifacts]
) -> None:
    trial, target = world.trial.id, world.folder / "t.zip"
    path, facts, line = export_for("triton", *stored, "first look", trial, target)
    assert (path, facts["max_batch_size"], facts["model"] in line) == (target, 32, True)
    again, *_ = export_for("triton", *stored, "first look", trial, world.folder / "again.zip")
    assert again.read_bytes() == target.read_bytes()
    assert (unzip(target, world.folder / "out") / facts["model"] / "1" / "model.onnx").is_file()
    with pytest.raises(InputError, match=r"--for kserve is unknown; choose from .*triton"):
        export_for("kserve", *stored, "first look", trial, target)
