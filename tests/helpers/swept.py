"""A spec taken through the command line as its user would, and its files beside those of the peers, for benchmarks of whole networks."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from engine.graph.counts import graph_facts
from engine.graph.graph import first_line, read_onnx

PACKAGES = ("nncf==3.4.0", "onnxruntime==1.32.0", "torch==2.14.1")
PEERS = ("onnxruntime-dynamic", "onnxruntime", "onnxruntime-reduced", "nncf-performance", "nncf-mixed")
TURNS = 15
RECURRENT = (
    None,
    {"weight_bits": 8, "activation_bits": 8},
    {"weight_bits": 8, "activation_bits": 8, "weight_range": "safe"},
    {"weight_bits": 8, "activation_bits": 8, "max_drop": 0.2},
    {"weight_bits": 4, "activation_bits": 8},
    {"method": "dynamic"},
    {"method": "dynamic", "weight_bits": 4},
    {"weight_bits": 8, "activation_bits": 32},
    {"weight_bits": 4, "activation_bits": 32},
    {"weight_bits": 16, "activation_bits": 32},
)
"""Quantizations that say something of a network with recurrent layers; None is the network itself."""


@dataclass(frozen=True)
class File:
    """`said`: the metric as the sweep has it, None of a peer's file. `seconds`: what making it took, None of ours."""

    name: str
    path: Path
    said: float | None = None
    seconds: float | None = None


def arguments(*paths: str) -> argparse.Namespace:
    """The command line of such a benchmark: the peers' Python, the paths that are named, and a folder to keep everything in."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True)
    for name in paths:
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    return parser.parse_args()


def paretoscope(home: Path, *arguments: object, check: bool = True) -> str:
    """What a command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", *map(str, arguments)], capture_output=True, text=True, check=False,
        env=os.environ | {"PARETOSCOPE_HOME": str(home), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()[-400:]}")
    return done.stdout


def swept(spec: Path, home: Path) -> list[File]:
    """Check and run a spec; every recipe's file, as a bundle takes it home.

    Prints those that failed with the reason, and what `verify` says of the last one's bundle.
    """
    paretoscope(home, "check", spec)
    paretoscope(home, "run", spec)
    trials = json.loads(paretoscope(home, "trials", "latest", "--json"))
    found = []
    for trial in trials:
        if trial["state"] == "done":
            path = next((home / "artifacts").rglob(trial["artifact"]))
            found.append(File(f"ours, {trial['label']}", path, trial["metric"]["value"]))
        else:
            print(f"{trial['label']}: {trial['error']}")
    last = next(t for t in reversed(trials) if t["state"] == "done")
    paretoscope(home, "export", "latest", last["id"], "-o", home / "last.zip")
    print(paretoscope(home, "verify", home / "last.zip").strip())
    with zipfile.ZipFile(home / "last.zip") as members:
        # What the file says of itself comes behind the measured bytes.
        assert members.read("model.onnx").startswith(found[-1].path.read_bytes())
    return found


def peers(python: str, names: tuple[str, ...], source: Path, images: np.ndarray, folder: Path) -> list[File]:
    """The float file quantized by each; prints those that fail."""
    np.save(folder / "calibration.npy", images)
    script, found = Path(__file__).with_name("peers.py"), []
    for name in names:
        out = folder / f"{name}.onnx"
        done = subprocess.run(
            [python, script, name, source, folder / "calibration.npy", out], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"{name}: {(done.stderr.strip().splitlines() or ['failed'])[-1][:120]}")
        else:
            found.append(File(name, out, seconds=float(done.stdout.strip().splitlines()[-1])))
    return found


def session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime alone, one thread, nothing of ours around it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def in_integers(path: Path) -> float:
    """The share of the layers' MACs whose both factors are rounded to 8 bits or fewer."""
    layers = graph_facts(read_onnx(path)).layers
    rounded = sum(layer.macs for layer in layers if max(layer.weight_bits, layer.activation_bits) <= 8)
    return rounded / sum(layer.macs for layer in layers)


def table(
    files: list[File],
    baseline: File,
    inputs: np.ndarray,
    rated: Callable[[np.ndarray], np.ndarray],
) -> None:
    """A row for each file: the metric of its answers, sample by sample, counted here; the drop with its standard error, pair by pair."""
    exact = session(baseline.path)
    name = exact.get_inputs()[0].name
    answers = lambda s: np.concatenate([s.run(None, {name: inputs[i : i + 1]})[0] for i in range(len(inputs))])  # noqa: E731
    wanted = answers(exact)
    base, whole = rated(wanted), baseline.path.stat().st_size
    print(f"{'':58}{'metric':>8}{'drop':>7}{'±':>6}{'apart':>8}{'bytes':>8}{'time':>7}{'integers':>10}{'s':>6}")
    for file in files:
        try:
            other = session(file.path)
        except Exception as error:  # the runtime's own classes share no base below Exception
            print(f"{file.name:58}does not load: {first_line(error)[:100]}", flush=True)
            continue
        found = answers(other)
        scores = rated(found)
        if file.said is not None and abs(file.said - scores.mean()) > 1e-6:
            print(f"{file.name}: the sweep says {file.said:.6f}, counted here {scores.mean():.6f}")
        drop = 100 * (base - scores)
        times: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(TURNS):
            for i, one in enumerate((other, exact)):
                begin = time.perf_counter()
                one.run(None, {name: inputs[:1]})
                times[i].append(time.perf_counter() - begin)
        ratio = statistics.median(times[0]) / statistics.median(times[1])
        seconds = "" if file.seconds is None else f"{file.seconds:6.0f}"
        print(
            f"{file.name:58}{100 * scores.mean():8.2f}{drop.mean():7.2f}{drop.std() / np.sqrt(len(drop)):6.2f}"
            f"{np.abs(found - wanted).mean():8.4f}{file.path.stat().st_size / whole:8.1%}"
            f"{ratio:7.2f}{in_integers(file.path):10.0%}{seconds}",
            flush=True,
        )
