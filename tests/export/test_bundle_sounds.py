"""A bundle of a network that reads sound: predict.py prepares .wav files and arrays as the engine did, without it; verify agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from engine.datasets import audio
from engine.datasets.load import load_dataset
from engine.export.bundle import verify_bundle
from engine.export.verify_template import Limits
from engine.measure.session import Runner
from engine.spec.sections import Data
from tests.helpers.bundles import World, make_sweep, make_trial, measured_accuracy, run_verify, unzip
from tests.helpers.sounds import STATED, louder_net, sine, sound_folders


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Low and high sounds, and a network that tells which bands are louder."""
    sound_folders(tmp_path / "sounds", 50)
    model = louder_net(tmp_path / "model.onnx")
    stated = {"source": str(tmp_path / "sounds"), "preprocess": {**STATED, "scale": 1.0}}
    data, sweep = load_dataset(Data.model_validate(stated)), make_sweep(data=stated)
    accuracy = measured_accuracy(model, data)
    assert accuracy == 1
    trial = make_trial(accuracy, len(data.test))
    return World(tmp_path, model, data, trial, make_trial(accuracy, len(data.test)), sweep)


def predicted(folder: Path, *inputs: Path) -> subprocess.CompletedProcess[str]:
    """As the person who gets the bundle would: from elsewhere, without this project on the path."""
    command = [sys.executable, "-W", "error", "-I", str(folder / "predict.py"), *map(str, inputs)]
    output = folder.parent / "said.npz"
    return subprocess.run(
        [*command, "--output", str(output)], cwd=folder.parent, capture_output=True, text=True, check=False
    )


def test_wav_files_and_arrays_are_prepared_as_they_were_measured(world: World) -> None:
    bundle = world.write()
    folder = unzip(bundle, world.folder / "out")
    assert json.loads((folder / "preprocess.json").read_text())["audio"] == STATED
    new = world.folder / "new.wav"
    wavfile.write(new, 44_100, (np.stack([sine(2000, 0.3, 44_100)] * 2, 1) * 32767).astype(np.int16))
    old = sorted((world.folder / "sounds" / "low").iterdir())[0]
    np.save(world.folder / "raw.npy", np.stack([sine(300, 0.4), sine(2000, 0.4)]))
    done = predicted(folder, new, old, world.folder / "raw.npy")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["high", "low", "low", "high"]
    # To the bit what the engine measures: the file by its own reader, in its own session.
    with new.open("rb") as first, old.open("rb") as second:
        mels = np.concatenate([audio.file_prepared(file, STATED) for file in (first, second)])
    mels = np.concatenate([mels, audio.array_prepared(np.load(world.folder / "raw.npy"), STATED)])
    runner = Runner(world.model, 1)
    with np.load(world.folder / "said.npz") as said:
        np.testing.assert_allclose(said["outputs"], runner(world.data.preprocessing(mels)), rtol=1e-5)
    assert run_verify(folder).returncode == 0
    assert verify_bundle(bundle, limits=Limits(max_p95_ms=1e6)).ok


def test_verify_takes_sounds_of_ones_own(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    x, y = np.stack([sine((2000, 300)[i % 2], 0.4) for i in range(20)]), np.arange(20) % 2
    np.savez(world.folder / "own.npz", x_test=x, y_test=y)
    done = run_verify(folder, "--data", str(world.folder / "own.npz"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "100.0" in done.stdout


def test_wrong_sounds_are_one_line(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    bad = world.folder / "bad.wav"
    bad.write_bytes(b"no sound at all")
    done = predicted(folder, bad)
    assert (done.returncode, done.stderr) == (2, "error: bad.wav is no WAV file; convert it to one\n")
    np.save(world.folder / "ints.npy", np.zeros((3, 3200), np.int16))
    done = predicted(folder, world.folder / "ints.npy")
    assert done.stderr.startswith("error: ints.npy is int16 of shape (3, 3200); sounds are float32 from -1 to 1")
