"""The zip of `--for tflite`: what is in it, that it was checked, and when it is refused."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError, ModelError, SetupError
from engine.export import predict_template
from engine.export.targets import export_for
from engine.export.tflite.check import Agreement, OutputAgreement
from engine.export.tflite.flat import interpreters, schema
from engine.export.tflite.package import packaged
from engine.export.zips import npz_bytes
from tests.helpers.command_line import paretoscope
from tests.helpers.places import ROOT
from tests.helpers.qdq import Qdq, needs_litert

pytestmark = needs_litert

EXAMPLE = "example-resnet8-on-fashion-mnist-ff65e7"
SETTINGS = {
    "scale": 1 / 255, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "flip": True, "channels_last": False, "stored_dtype": "uint8",
    "stored_shape": [3, 6, 7], "task": "classification",
}  # fmt: skip


def small(last: np.ndarray | None = None) -> tuple[Qdq, str]:
    """A convolution, a mean, and three scores in float, as the quantizer leaves them; `last`: the weight of the scores."""
    graph = Qdq()
    sums = graph.add("Conv", [graph.input(3, 6, 7), graph.weight(5, 3, 3, 3)], pads=[1, 1, 1, 1])
    mean = graph.rounded(graph.add("GlobalAveragePool", [graph.rounded(sums, 0, 9)]), 0, 3)
    weight = graph.weight(3, 5)
    if last is not None:
        codes = [graph.store(last, np.int8), graph.store(np.full(3, 0.01), np.float32)]
        weight = graph.add("DequantizeLinear", codes, axis=0)
    return graph, graph.add("Gemm", [graph.add("Flatten", [mean]), weight], transB=1)


def parts(graph: Qdq, output: str, n: int = 60) -> dict[str, bytes]:
    """Those of a bundle that are read."""
    pixels = graph.random.integers(0, 256, (n, 3, 6, 7)).astype(np.uint8)
    labels = graph.random.integers(0, 3, n)
    told = {"label": "int8", "trial": "0" * 12, "paretoscope": "0.1.0", "expected": {"accuracy": {"value": 0.5}}}
    return {
        "model.onnx": graph.model(output).SerializeToString(),
        "preprocess.json": json.dumps(SETTINGS).encode(),
        "manifest.json": json.dumps(told).encode(),
        "labels.txt": b"a\nb\nc\n",
        "sample.npz": npz_bytes({"inputs": pixels, "labels": labels, "predictions": labels}),
    }


def arrays(content: bytes) -> dict[str, Any]:
    return dict(np.load(io.BytesIO(content)))


def test_the_zip_says_how_to_feed_the_file_and_what_it_must_answer() -> None:
    given = parts(*small())
    members, facts, line = packaged(given)
    assert sorted(members) == [
        "README.md",
        "check.json",
        "labels.txt",
        "model.tflite",
        "preprocess.json",
        "vectors.npz",
    ]
    assert facts["same_class"] >= 59
    assert line.startswith(f"int8, {len(members['model.tflite']):,} bytes, 3 kinds of operators; same class on ")
    settings = json.loads(members["preprocess.json"])
    taken, answered = settings["inputs"][0], settings["outputs"][0]
    assert (taken["layout"], taken["shape"], answered["shape"]) == ("NHWC", [1, 6, 7, 3], [1, 3])
    assert "samples" in answered["range"]
    for said in (
        f"| {taken['zero_point']} |",
        "resolver.AddConv2D();",
        "resolver.AddMean();",
        "MicroMutableOpResolver<3>",
    ):
        assert said in members["README.md"].decode()

    # The table of pixels is preprocessing and rounding in one.
    vectors = arrays(members["vectors.npz"])
    pixels = arrays(given["sample.npz"])["inputs"][:16]
    table = np.asarray(taken["of_uint8"], np.int8)
    by_table = np.stack([table[c][pixels[:, ::-1][:, c]] for c in range(3)], axis=-1)
    assert np.array_equal(by_table, vectors["input/x0"])
    values = predict_template.preprocess(pixels, SETTINGS).transpose(0, 2, 3, 1)
    assert (
        np.abs((by_table - float(taken["zero_point"])) * taken["scale"] - np.clip(values, -2, 3)).max()
        <= taken["scale"]
    )

    runner = interpreters().Interpreter(model_content=members["model.tflite"])
    runner.allocate_tensors()
    described = runner.get_input_details()[0], runner.get_output_details()[0]
    assert [one["dtype"] for one in described] == [np.int8, np.int8]
    for port, one in zip((taken, answered), described, strict=True):
        assert one["quantization"] == (pytest.approx(port["scale"], rel=1e-6), port["zero_point"])


def test_the_same_bundle_gives_the_same_bytes() -> None:
    given = parts(*small())
    assert packaged(given)[0] == packaged(given)[0]


def test_stored_numbers_lie_where_any_core_can_read_them() -> None:
    content = packaged(parts(*small()))[0]["model.tflite"]
    assert content[4:8] == b"TFL3"
    model = schema().Model.GetRootAs(content)
    starts = []
    for i in range(model.BuffersLength()):
        table = model.Buffers(i)._tab
        if at := table.Offset(4):
            starts.append(table.Vector(at))
    assert len(starts) > 4
    assert {start % 16 for start in starts} == {0}


def test_a_file_that_answers_otherwise_is_not_handed_out() -> None:
    # Two scores that differ by less than a step of the third, which is far below.
    last = np.asarray([[-127] * 5, [100, 100, 100, 100, 100], [101, 99, 100, 101, 99]])
    with pytest.raises(
        ModelError,
        match=r"^--for tflite: int8 in int8 gives the same class on \d+ of 60 samples only, and 98% are asked; .*another",
    ):
        packaged(parts(*small(last)))


def test_values_too_far_off_are_refused_as_well() -> None:
    agreement = Agreement(50, (OutputAgreement("y", 40, 2.5, 0),), None, None, np.zeros((50, 1), np.int8))
    with pytest.raises(ModelError, match=r"gives 'y' 2\.5 steps off on average over 50 samples, and 2 are allowed"):
        agreement.refused("w4a8")


def test_without_the_interpreter_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    unread: Any = None
    with pytest.raises(SetupError, match=r"^--for tflite needs .*pip install 'paretoscope\[tflite\]'"):
        export_for("tflite", unread, unread, "sweep", "trial", tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"^--for nothing is unknown; choose from .*tflite"):
        export_for("nothing", unread, unread, "sweep", "trial", tmp_path / "a.zip")


def test_the_page_shows_what_the_example_gives(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "exports-tflite.md").read_text()
    (command,) = re.findall(r"^paretoscope (export .*) -o \S+$", page, re.MULTILINE)
    target = tmp_path / "resnet8-int8.zip"
    done = paretoscope(*command.split(), "-o", target, home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    told, shown = (
        re.findall(r": int8, ([\d,]+) bytes, (\d+) kinds .* (\d+) of 500 samples", text) for text in (done.stdout, page)
    )
    assert told[0][:2] == shown[0][:2]
    assert int(told[0][2]) >= 495
    with zipfile.ZipFile(target) as archive:
        assert f"{len(archive.read('model.tflite')):,}" == shown[0][0]
        assert archive.read("labels.txt").splitlines()[0] == b"T-shirt/top"
        assert set(archive.namelist()) == set(re.findall(r"^\| `(\S+)` \|", page, re.MULTILINE))


def test_the_examples_depthwise_network(tmp_path: Path) -> None:
    done = paretoscope(
        "export", EXAMPLE, "ae8fae16c5b5", "--for", "tflite", "-o", tmp_path / "a.zip", "--json", home=tmp_path / "home"
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)["tflite"]
    assert "DEPTHWISE_CONV_2D" in facts["operators"]
    assert (facts["samples"], facts["same_class"] >= 495) == (500, True)
    assert facts["outputs"]["logits"]["most_steps"] <= 3
    assert abs(facts["right"]["tflite"] - facts["right"]["onnx"]) <= 5


def test_a_float_trial_is_refused_in_one_line(tmp_path: Path) -> None:
    done = paretoscope(
        "export", EXAMPLE, "4f53cda18c2b", "--for", "tflite", "-o", tmp_path / "a.zip", home=tmp_path / "home"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Conv '/0/0.0/Conv' has weights in float" in done.stderr
    assert not (tmp_path / "a.zip").exists()
