"""A trial as C: the array and the vectors are bit for bit what was exported, as a compiler reads them; main.c finds a changed byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from engine.errors import InputError
from engine.export import c_array
from engine.export.c_array import samples_c, sources
from engine.export.predict_template import BundleError
from engine.export.targets import export_for
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers import exported
from tests.helpers.bundles import World, linear_model

COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="what is exported is compiled: needs gcc or cc")

_DUMP = """
#include <stdio.h>
#include "model.h"
#include "samples.h"
int main(void) {
    fwrite(model_onnx, 1, MODEL_SIZE, stdout);
    for (size_t i = 0; i < sample_inputs; i++) fwrite(sample_input[i].data, 1, sample_calls * sample_input[i].bytes, stdout);
    for (size_t i = 0; i < sample_outputs; i++) fwrite(sample_output[i].data, 1, sample_calls * sample_output[i].bytes, stdout);
    return (size_t)model_onnx % 64 != 0;
}
"""


def compiled(members: Mapping[str, bytes], folder: Path, *sources: str, flags: tuple[str, ...] = ()) -> Path:
    """A program of some of the files, every warning an error."""
    folder.mkdir()
    for name, content in members.items():
        (folder / name).write_bytes(content)
    strict = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic")
    command = [str(COMPILER), *strict, *sources, "model.c", "samples.c", *flags, "-lm", "-o", "program"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    return folder / "program"


def dumped(members: Mapping[str, bytes], folder: Path) -> bytes:
    program = compiled({**members, "dump.c": _DUMP.encode()}, folder, "dump.c")
    done = subprocess.run([program], capture_output=True, check=False)
    assert done.returncode == 0, "the array is not aligned"
    return done.stdout


@pytest.mark.parametrize("batch", ["N", 4])
def test_a_compiler_reads_the_same_bytes_and_numbers(world: World, batch: int | str) -> None:
    world.model = linear_model(world.folder / "m.onnx", batch=batch)
    parts, size = exported.pictures(world), 1 if batch == "N" else 4
    members, facts, _ = sources(parts)
    with np.load(_npz(world.folder, parts)) as arrays:
        images = world.data.preprocessing(arrays["inputs"])[: 8 * size]
    (scores,) = onnxruntime.InferenceSession(world.model).run(None, {"pixels": images[:4]})
    expected = [scores]
    session = onnxruntime.InferenceSession(world.model)
    expected = [session.run(None, {"pixels": images[i : i + size]})[0] for i in range(0, len(images), size)]
    wanted = world.model.read_bytes() + images.tobytes() + np.concatenate(expected).tobytes()
    assert dumped(members, world.folder / "c") == wanted
    assert facts["sha256"] == hashlib.sha256(world.model.read_bytes()).hexdigest()
    assert facts["calls"] == 8
    assert members["labels.txt"] == parts["labels.txt"]


def _npz(folder: Path, parts: Mapping[str, bytes]) -> Path:
    path = folder / "sample.npz"
    path.write_bytes(parts["sample.npz"])
    return path


def test_several_inputs_and_outputs_of_other_types(tmp_path: Path) -> None:
    for kind in (exported.tokens, exported.values):
        parts = kind(tmp_path)
        members, *_ = sources(parts)
        session = onnxruntime.InferenceSession(parts["model.onnx"])
        with np.load(_npz(tmp_path, parts)) as arrays:
            given = {
                i.name: arrays[f"inputs/{i.name}" if len(session.get_inputs()) > 1 else "inputs"][:8]
                for i in session.get_inputs()
            }
        calls = [session.run(None, {name: array[i : i + 1] for name, array in given.items()}) for i in range(8)]
        bare = parts["model.onnx"][: json.loads(parts["manifest.json"])["bare"]]
        answers = b"".join(np.concatenate(output).tobytes() for output in zip(*calls, strict=True))
        wanted = bare + b"".join(array.tobytes() for array in given.values()) + answers
        assert dumped(members, tmp_path / kind.__name__) == wanted
        assert ("labels.txt" in members) == (kind is exported.tokens)


def test_numbers_that_are_hard_to_write_down(world: World) -> None:
    members, *_ = sources(exported.pictures(world))
    floats = [0.1, -0.0, 1e-45, 3.4028235e38, np.inf, -np.inf, 1 / 3, 16777217.0]
    given = {
        'odd "name"\\?é': np.array([floats], np.float32),
        "double": np.array([[0.1, 5e-324, 1.7976931348623157e308, -0.0]]),
        "half": np.array([[0.1, 6e-8, 65504.0, -0.0, np.inf]], np.float16),
        "bool": np.array([[True, False]]),
    }
    answered = {
        f"{kind}{bits}": np.array([[np.iinfo(f"{kind}{bits}").min, np.iinfo(f"{kind}{bits}").max, 1]], f"{kind}{bits}")
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    }
    runtime = {"threads": 1}
    made = samples_c(given, answered, "float", runtime, ()).encode()
    found = dumped(members | {"samples.c": made}, world.folder / "c")
    wanted = b"".join(array.tobytes() for array in (*given.values(), *answered.values()))
    assert found == world.model.read_bytes() + wanted


def test_main_c_holds_the_bytes_against_their_sha_256_and_tells_the_vectors(world: World) -> None:
    members, *_ = sources(exported.pictures(world))
    program = compiled(members, world.folder / "c", "main.c", flags=("-DWITHOUT_ONNXRUNTIME",))
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    digest = hashlib.sha256(world.model.read_bytes()).hexdigest()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"model: {world.model.stat().st_size} bytes, SHA-256 {digest}: ok" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.startswith(("in  pixels", "out scores"))]) == 16
    rows = members["model.c"].decode().splitlines()
    at = rows.index(next(row for row in rows if row.endswith("{"))) + 1
    rows[at] = "9" + rows[at].removeprefix(rows[at].split(",")[0])
    program = compiled(
        members | {"model.c": "\n".join(rows).encode()}, world.folder / "d", "main.c", flags=("-DWITHOUT_ONNXRUNTIME",)
    )
    changed = subprocess.run([program], capture_output=True, text=True, check=False)
    assert changed.returncode == 1
    assert "NOT the exported one" in changed.stdout


@pytest.mark.skipif(
    "ONNXRUNTIME_C" not in os.environ,
    reason="running main.c needs ONNX Runtime's C headers and library, which no package here brings: ONNXRUNTIME_C=/path/to/a/release",
)
def test_main_c_runs_the_model_and_finds_other_answers(world: World, tmp_path: Path) -> None:
    home = Path(os.environ["ONNXRUNTIME_C"])
    flags = ("-isystem", f"{home}/include", f"-L{home}/lib", "-lonnxruntime", f"-Wl,-rpath,{home}/lib")
    for name, parts in (
        ("pictures", exported.pictures(world)),
        ("tokens", exported.tokens(tmp_path)),
        ("values", exported.values(tmp_path)),
    ):
        members, *_ = sources(parts)
        done = subprocess.run(
            [compiled(members, tmp_path / name, "main.c", flags=flags)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        outputs = [line for line in done.stdout.splitlines() if "max difference" in line]
        assert len(outputs) == (4 if name == "values" else 1)
        assert ("the same class in 8 of 8 calls" in done.stdout) == (name != "values")
        text = members["samples.c"].decode()
        head, _, numbers = text.partition("output_0[] = {\n")
        first, _, rest = numbers.partition(",")
        other = f"{head}output_0[] = {{\n{float(first.rstrip('f')) + 100:.3f}f,{rest}".encode()
        program = compiled(members | {"samples.c": other}, tmp_path / f"{name}-other", "main.c", flags=flags)
        assert subprocess.run([program], capture_output=True, check=False).returncode == 1


def test_the_makefile_and_cmake_build_what_the_readme_says(world: World) -> None:
    members, *_ = sources(exported.pictures(world))
    folder = world.folder / "c"
    compiled(members, folder, "main.c", flags=("-DWITHOUT_ONNXRUNTIME",))
    if shutil.which("make"):
        done = subprocess.run(["make", "check"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ": ok" in done.stdout
    readme = (folder / "README.md").read_text()
    targets = {
        line.split(":")[0]
        for line in (folder / "Makefile").read_text().splitlines()
        if line[:1].isalpha() and ":" in line
    }
    assert {"check", "run"} <= targets
    assert "make check" in readme
    assert "make run ORT=" in readme


def test_what_cannot_be_an_array_is_one_clear_line(
    world: World, stored: tuple[Store, Artifacts], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, target = world.trial.id, world.folder / "c.zip"
    first, second = (
        export_for("c", *stored, "first look", trial, world.folder / name)[0].read_bytes()
        for name in ("a.zip", "b.zip")
    )
    assert first == second
    monkeypatch.setattr(c_array, "LARGEST_MODEL", 1000)
    with pytest.raises(InputError, match=r"--for c: the file has .* MB; as a C array .* load model\.onnx") as refused:
        export_for("c", *stored, "first look", trial, target)
    assert "\n" not in str(refused.value)
    monkeypatch.undo()
    parts = exported.pictures(world)
    manifest = json.loads(parts["manifest.json"])
    manifest["runtime"]["provider"] = "CUDA"
    with pytest.raises(BundleError):
        sources(parts | {"manifest.json": json.dumps(manifest).encode()})
