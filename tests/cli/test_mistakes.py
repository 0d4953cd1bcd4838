"""Input that is wrong: one line, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.helpers.command_line import paretoscope, refused
from tests.helpers.tiny import write_problem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model.source=resnet9", ("resnet9", "resnet8")),
        ("data.source=mnist", ("mnist",)),
        ("data.source=none.npz", ("none.npz", "does not exist")),
        ("space.pruning={}", ("pruning", "known steps")),
        ("space.prune={method: channel, ratio: 1.5}", ("space.prune.ratio", "1.5")),
        ("space.quantize={weight_bits: 0, activation_bits: 8}", ("weight_bits", "0")),
        ("space={distill: {student: lenet}}", ("lenet",)),
        ("measure.profiles=[toaster]", ("toaster", "stm32h7a3-xcubeai")),
        ("measure.held_back=1.5", ("held_back", "1.5")),
        ("replicates=0", ("replicates", "0")),
        ("search.method=luck", ("search.method", "'luck'", "'grid', 'random', 'nsga2', 'tpe', 'gp' or 'gain'")),
        ("search.trials=0", ("search.trials", "0")),
        ("nonsense=1", ("nonsense",)),
    ],
)
def test_bad_specs_are_one_line_and_leave_nothing(tmp_path: Path, change: str, words: tuple[str, ...]):
    home = tmp_path / "home"
    spec = write_problem(tmp_path)
    refused(paretoscope("run", spec, "--set", change, home=home), *words)
    assert not list(home.glob("artifacts/**/*.*"))
    sweeps = json.loads(paretoscope("sweeps", "--json", home=home).stdout)
    assert [s for s in sweeps if not s["example"]] == []


def test_damaged_files_are_one_line(tmp_path: Path):
    home = tmp_path / "home"
    spec = write_problem(tmp_path)
    (tmp_path / "w.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    refused(paretoscope("run", spec, "--set", "model.weights=w.safetensors", home=home), "w.safetensors", "cut short")
    (tmp_path / "net.onnx").write_bytes(b"\x08\x08\x12\x07pytorch" * 3)
    only_quantize = "space={quantize: [{weight_bits: 8, activation_bits: 8}]}"
    refused(
        paretoscope("run", spec, "--set", "model.source=net.onnx", "--set", only_quantize, home=home),
        "net.onnx",
        "again",
    )
    assert [s for s in json.loads(paretoscope("sweeps", "--json", home=home).stdout) if not s["example"]] == []
    (tmp_path / "data.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:1000])
    refused(paretoscope("run", spec, home=home), "data.npz")


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    refused(paretoscope("sweeps", home=blocked), str(blocked), "PARETOSCOPE_HOME")
    home = tmp_path / "home"
    refused(
        paretoscope("run", write_problem(tmp_path), "--scheduler", "tcp://127.0.0.1:9", home=home), "tcp://127.0.0.1:9"
    )
    refused(paretoscope("sweeps", home=home, PARETOSCOPE_STORE="nonsense"), "nonsense", "PARETOSCOPE_STORE")
    secret = "sqlite://me:hunter2@/nowhere/x.db"
    done = paretoscope("run", write_problem(tmp_path), home=home, PARETOSCOPE_STORE=secret)
    refused(done, "PARETOSCOPE_STORE")
    assert "hunter2" not in done.stderr


# Nothing listens on port 9.
@pytest.mark.parametrize("url", ["ftp://me:hunter2@127.0.0.1:9/bucket", "s4://bucket", "BLOCKED/artifacts"])
def test_artifacts_that_cannot_be_kept_are_told_before_anything_runs(tmp_path: Path, url: str):
    (tmp_path / "file").write_text("not a folder")
    url, spec = url.replace("BLOCKED", str(tmp_path / "file")), write_problem(tmp_path)
    for command in (("plan", spec), ("run", spec), ("app", "--headless", "--port", 8599)):
        done = paretoscope(*command, home=tmp_path / "home", PARETOSCOPE_ARTIFACTS=url)
        refused(done, "the artifact store", url.replace("me:hunter2", "…"), "PARETOSCOPE_ARTIFACTS")
    assert [
        s for s in json.loads(paretoscope("sweeps", "--json", home=tmp_path / "home").stdout) if not s["example"]
    ] == []


def test_a_taken_port_is_one_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(
            paretoscope("app", "--port", port, home=tmp_path / "home"), f"port {port} is taken", f"--port {port + 1}"
        )


@pytest.mark.parametrize(
    "arguments", [("frobnicate",), ("front",), ("front", "x", "--objectives", "beauty"), ("cancel", "none")]
)
def test_wrong_words_on_the_command_line_are_one_line(tmp_path: Path, arguments: tuple[str, ...]):
    refused(paretoscope(*arguments, home=tmp_path / "home"))


def test_a_value_that_is_no_choice_is_told_without_the_words_of_the_parser(tmp_path: Path):
    wrong = paretoscope("recipe", "example-resnet8", "8f5382100237", "--as", "foo", home=tmp_path)
    refused(
        wrong, "Invalid value for '--as': 'foo' is not one of 'olive', 'inc' (`paretoscope recipe --help` shows how)"
    )
