"""Networks with states through a sweep, held against torch and against ONNX Runtime on the file itself, sample by sample."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml

from engine.datasets.load import load_dataset
from engine.errors import ModelError, SpecError
from engine.export.bundle import export_bundle
from engine.export.frontier import export_frontier
from engine.export.stream_template import TURN
from engine.export.verify_template import sha256
from engine.graph.states import State, states_of
from engine.models.call import call_function
from engine.models.sources import load_network
from engine.serve.model import Model as Served
from engine.spec.sections import Data, Model
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.bundles import unzip
from tests.helpers.run_here import swept
from tests.helpers.streams import spec_of, write_nets

BOTH = ("gru", "cell")


def run(folder: Path, net: str, **space: object) -> tuple[str, list[Trial]]:
    """A sweep of one of the networks: its id and its trials."""
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec_of(net, **space), sort_keys=False))
    sweep, trials, _ = swept(folder / "spec.yaml")
    assert not [t.error for t in trials if t.error]
    return sweep.id, trials


def bundle(sweep: str, trial: Trial, folder: Path) -> Path:
    """The unpacked bundle of a trial."""
    zipped = export_bundle(Store.open(), Artifacts.open(), sweep, trial.id, folder / f"{trial.id}.zip")
    return unzip(zipped, folder / trial.id)


@pytest.mark.parametrize("net", BOTH)
def test_a_torch_network_streams_as_torch_does(net: str, place: Path) -> None:
    x = write_nets(place)
    sweep, trials = run(place, net, quantize=[None, {"weight_bits": 8, "activation_bits": 8}])
    folders = [bundle(sweep, trial, place) for trial in trials]
    path = folders[0] / "model.onnx"
    model = onnx.load(path)
    assert [i.name for i in model.graph.input] == ["x", "h"]
    assert [o.name for o in model.graph.output][-1] == "hN"
    assert states_of(model) == (State("h", "hN", 1 if net == "gru" else 0),)

    network = call_function(f"{place / 'nets.py'}:{net}", {"num_classes": 3}, {}).eval()
    option = onnxruntime.SessionOptions()
    option.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, option)
    for n in (1, 3):
        state = torch.zeros((1, n, 16) if net == "gru" else (n, 16))
        held = state.numpy()
        for step in range(4):
            part = x[n * step : n * step + n]
            with torch.no_grad():
                given = network(torch.from_numpy(part), state)
            wanted, state = given if net == "gru" else (given["y"], given["hN"])
            found, held = session.run(None, {"x": part, "h": held})
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)
            np.testing.assert_allclose(held, state.numpy(), atol=1e-5)

    # The bundle alone, as whoever gets it runs it: what --stream says, against torch and without it against zeros for each sample.
    np.savez(place / "some.npz", x=x[:12])
    for folder, most in zip(folders, (1e-5, 0.1), strict=True):
        done = subprocess.run([sys.executable, "-I", folder / "verify.py"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "streams as recorded" in done.stdout
        for flag in ([], ["--stream"]):
            command = [sys.executable, "-I", folder / "predict.py", place / "some.npz", "--output", place / "out.npz"]
            subprocess.run([*command, *flag], capture_output=True, check=True)
            with np.load(place / "out.npz") as file:
                found = file["outputs"]
            wanted = alone_or_streamed(network, net, x[:12], bool(flag))
            assert np.abs(found - wanted).max() < most * np.abs(wanted).max()
    assert TURN < 12, "the recorded streams are begun anew"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_file_that_is_pruned_says_that_it_streams_no_more(place: Path) -> None:
    write_nets(place)
    network = call_function(f"{place / 'nets.py'}:cell", {"num_classes": 3}, {}).eval()
    names = ["x", "h", "y", "hN"]
    torch.onnx.export(
        network, (torch.zeros(2, 3, 4), torch.zeros(2, 16)), str(place / "cell.onnx"), dynamo=False, opset_version=17,
        input_names=names[:2], output_names=names[2:], dynamic_axes={name: {0: "N"} for name in names},
    )  # fmt: skip
    spec = spec_of("cell", prune=[None, {"method": "magnitude", "ratio": 0.3}])
    spec["model"]["source"], spec["data"]["inputs"]["h"] = "cell.onnx", {"state": "hN"}
    (place / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    _, trials, _ = swept(place / "spec.yaml")
    assert not [t.error for t in trials if t.error]
    takes = [len(onnx.load(Artifacts.open().local(str(t.artifact))).graph.input) for t in trials]
    assert takes == [2, 1]
    assert ["cannot stream" in " ".join(t.notes) for t in trials] == [False, True]


def alone_or_streamed(network: torch.nn.Module, net: str, x: np.ndarray, streams: bool) -> np.ndarray:
    zeros = torch.zeros((1, 1, 16) if net == "gru" else (1, 16))
    state, found = zeros, []
    for row in x:
        with torch.no_grad():
            given = network(torch.from_numpy(row[None]), state if streams else zeros)
        wanted, state = given if net == "gru" else (given["y"], given["hN"])
        found.append(wanted.numpy())
    return np.concatenate(found)


def test_a_stream_that_was_altered_is_found(place: Path) -> None:
    write_nets(place)
    sweep, trials = run(place, "cell")
    folder = bundle(sweep, trials[0], place)
    # Served, every sample of every request begins with zeros.
    served, x = Served(place / f"{trials[0].id}.zip"), write_nets(place)[:5]
    assert [[t.name for t in side] for side in (served.inputs, served.outputs)] == [["x"], ["y"]]
    network = call_function(f"{place / 'nets.py'}:cell", {"num_classes": 3}, {}).eval()
    for _ in range(2):
        found = served.run(served.fed({"": x}))[0]
        np.testing.assert_allclose(found, alone_or_streamed(network, "cell", x, False), atol=1e-5)
    model = onnx.load(folder / "model.onnx")
    for node in model.graph.node:
        # What is fed back is halved: answers that begin with zeros stay as they are.
        for i, name in enumerate(node.output):
            node.output[i] = "whole" if name == "hN" else name
        for i, name in enumerate(node.input):
            node.input[i] = "whole" if name == "hN" else name
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    model.graph.node.append(onnx.helper.make_node("Mul", ["whole", "half"], ["hN"]))
    onnx.save(model, folder / "model.onnx")
    done = subprocess.run([sys.executable, "-I", folder / "verify.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert next(line for line in lines if "predictions as recorded" in line).startswith("ok")
    assert next(line for line in lines if "streams as recorded" in line).startswith("FAIL")


def test_a_frontier_holds_each_stream_against_its_own(place: Path) -> None:
    write_nets(place)
    sweep, trials = run(place, "gru", quantize=[None, {"weight_bits": 3, "activation_bits": 8}])
    export_frontier(Store.open(), Artifacts.open(), sweep, trials, place / "frontier.zip")
    board = unzip(place / "frontier.zip", place / "board")
    # The second is as if it had been recorded with other streams.
    with np.load(board / "sample.npz") as file:
        held = dict(file)
    streams = [f"streams/{trial.id}" for trial in trials]
    assert not np.array_equal(held[streams[0]], held[streams[1]])
    held[streams[1]] *= -1
    np.savez(board / "sample.npz", **held)
    manifest = json.loads((board / "manifest.json").read_text())
    manifest["files"]["sample.npz"] = sha256(board / "sample.npz")
    (board / "manifest.json").write_text(json.dumps(manifest))
    command = [sys.executable, "-I", board / "measure.py", "--seconds", "0.05"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [line[:4] for line in done.stdout.splitlines()[:2]] == ["ok  ", "FAIL"]
    assert "streams as recorded" in done.stdout


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"state": {"g": "hN"}}, "takes no input 'g'"),
        ({"state": {"h": "hN"}, "state_shapes": {"h": ("N", "hid")}}, "size 'hid'; write model.axes"),
        ({"state": {"h": "hN"}, "state_shapes": {"h": (1, 16)}}, "write N there, once"),
        ({"state": {"h": "hN"}, "axes": {"hid": 16}}, "model.axes names 'hid', which is no size of a state"),
        ({"state": {"h": "hN"}}, "does not run where state 'h' is None"),
        ({"state": {"h": "gone"}, "state_shapes": {"h": ("N", 16)}}, "gone cannot be told"),
        ({"state": {"h": None}}, "nothing is fed back into state 'h'"),
    ],
)
def test_what_cannot_be_is_one_line(said: dict[str, object], message: str, tmp_path: Path) -> None:
    write_nets(tmp_path)
    data = load_dataset(Data(source=str(tmp_path / "cell.npz"), kind="series", preprocess="none"))
    model = Model.model_validate({"source": f"{tmp_path / 'nets.py'}:cell", "output": "y", **said})
    with pytest.raises(ModelError, match=message) as caught:
        load_network(model, data)
    assert "\n" not in str(caught.value)


def test_states_beside_arrays_are_the_models() -> None:
    spec = {**spec_of("cell"), "model": {"source": "resnet8"}}
    sweep = parse_sweep(spec)
    assert sweep.model.state == {"h": "hN"}
    assert sweep.model.state_shapes == {"h": ("N", 16)}
    assert sweep.data.inputs == {"x": "x"}
    spec["data"] = {"source": "cell.npz", "inputs": {"x": "x", "h": {"feed": "hN"}}}
    with pytest.raises(SpecError, match=r"h is \{'feed': 'hN'\}; give .* or \{state: OUTPUT\}"):
        parse_sweep(spec)
