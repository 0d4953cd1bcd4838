"""`paretoscope add`, from a colleague's int8 file to its bundle, as commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from tests.helpers.command_line import paretoscope, refused
from tests.helpers.tiny import images, write_problem


class Reader(CalibrationDataReader):
    def __init__(self, name: str, batch: np.ndarray) -> None:
        self.left = iter([{name: batch}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def test_a_file_made_elsewhere_goes_all_the_way(tmp_path: Path):
    home, spec = tmp_path / "home", write_problem(tmp_path)

    def told(*arguments: object) -> Any:
        done = paretoscope(*arguments, "--json", home=home)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    # Of the spec the baseline alone, its pixels as they are.
    options = ("--set", "space={}", "--set", "measure.latency=null", "--set", "data.preprocess={mean: [0], std: [1]}")
    sweep = told("run", spec, *options)["sweep"]
    (baseline,) = told("trials", sweep)
    source = next((home / "artifacts").rglob(baseline["artifact"]))
    (name,) = (i.name for i in onnxruntime.InferenceSession(source).get_inputs())
    x, y = images(300, 1)
    # A colleague's own network: it names the most frequent class, whatever it sees.
    model, often = onnx.load(source), int(np.bincount(y).argmax())
    bias = next(t for t in model.graph.initializer if t.name == model.graph.node[-1].input[2])
    bias.CopyFrom(
        numpy_helper.from_array(
            numpy_helper.to_array(bias) + 100 * (np.arange(3) == often).astype(np.float32), bias.name
        )
    )
    onnx.save(model, tmp_path / "float.onnx")
    made = tmp_path / "made.onnx"
    pixels = images(50, 0)[0][:, None] / np.float32(255)
    quantize_static(tmp_path / "float.onnx", made, Reader(name, pixels))

    trial = told("add", sweep, made, "--name", "colleague's int8")["trial"]
    assert (trial["label"], trial["provenance"], trial["recipe"][0]["step"]) == (
        "colleague's int8",
        "deployed",
        "imported",
    )
    scores = onnxruntime.InferenceSession(made).run(None, {name: x[:, None] / np.float32(255)})[0]
    assert trial["accuracy"]["value"] == (scores.argmax(1) == y).mean() == (y == often).mean()
    assert trial["accuracy"]["value"] != baseline["accuracy"]["value"]
    assert told("trials", sweep) == [baseline, trial | {"measured": []}]
    assert trial["id"] in [t["id"] for t in told("front", sweep, "--objectives", "accuracy,size_bytes")]

    bundle = tmp_path / "bundle.zip"
    told("export", sweep, trial["id"], "-o", bundle)
    assert told("verify", bundle)["ok"]
    made.rename(tmp_path / "moved.onnx")
    resumed = paretoscope("resume", sweep, home=home)
    assert "nothing to do, all 2 recipes are measured already" in resumed.stdout
    assert told("trials", sweep) == [baseline, trial | {"measured": []}]

    again = paretoscope("add", sweep, tmp_path / "moved.onnx", "--name", "colleague's int8", home=home)
    assert (again.returncode, "already there" in again.stdout) == (0, True)
    refused(
        paretoscope("add", sweep, source, "--name", "colleague's int8", home=home), "another file", "another --name"
    )
    refused(paretoscope("add", sweep, spec, "--name", "x", home=home), "is not an ONNX file")
    refused(paretoscope("add", sweep, source, home=home), "--name")
    refused(paretoscope("add", "nothing", source, "--name", "x", home=home), "nothing", "sweeps")
