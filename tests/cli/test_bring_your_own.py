"""The walk-throughs: from what a user has, a network and data of their own, to a verified bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from engine.export.bundle import verify_bundle
from engine.graph.graph import save_onnx
from engine.models.export import export_onnx
from tests.helpers.brightness import CENTRES, brightness_net
from tests.helpers.command_line import paretoscope

CLASSES = ("bright", "dark", "dim", "light")
"""In the order of their folders' names."""


def walked(folder: Path, spec: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Check, run, export the last trial and verify it, as docs/bring-your-own.md says; what `check` said, and the trials."""
    home, path = folder / "home", folder / "spec.yaml"
    path.write_text(f"name: mine\n{spec}\nmeasure: {{latency: null}}\n")
    checked = paretoscope("check", path, "--json", home=home)
    assert checked.returncode == 0, (checked.stdout, checked.stderr)
    done = paretoscope("run", path, "--json", home=home)
    assert done.returncode == 0, done.stderr
    sweep = json.loads(done.stdout)["sweep"]
    trials = json.loads(paretoscope("trials", sweep, "--json", home=home).stdout)
    assert not [t["error"] for t in trials if t["error"]]
    bundle = folder / "mine.zip"
    written = paretoscope("export", sweep, trials[-1]["id"], "-o", bundle, home=home)
    assert written.returncode == 0, written.stderr
    report = verify_bundle(bundle)
    assert report.ok, report.checks
    return json.loads(checked.stdout), trials


def pictures(folder: Path, each: int, seed: int, in_classes: bool = True) -> None:
    """PNG files of many sizes, as bright as their class says; in a folder for each class, or together."""
    rng = np.random.default_rng(seed)
    for number, centre in enumerate(CENTRES):
        name = ("dark", "dim", "light", "bright")[number]
        for i in range(each):
            side = int(rng.integers(24, 48)), int(rng.integers(24, 48))
            pixels = np.clip(255 * (centre + rng.normal(0, 0.05, (*side, 3))), 0, 255).astype(np.uint8)
            path = folder / name / f"{i}.png" if in_classes else folder / f"{i:03}-{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


def test_folders_of_pictures_and_a_pytorch_network_with_its_checkpoint(tmp_path: Path) -> None:
    pictures(tmp_path / "photos" / "train", 40, 0)
    pictures(tmp_path / "photos" / "test", 20, 1)
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.stem = nn.Conv2d(3, 4, 1)\n"
        "        self.head = nn.Linear(4, num_classes)\n\n"
        "    def forward(self, x):\n"
        "        return self.head(self.stem(x).relu().mean((2, 3)))\n\n"
        "def build(num_classes):\n"
        "    return Net(num_classes)\n"
    )
    # Trained on pixels in 0 … 1, with DataParallel around it: means of the colours, then the nearest centre.
    means = np.array([CENTRES[("dark", "dim", "light", "bright").index(name)] for name in CLASSES])
    head = np.zeros((4, 4), np.float32)
    head[:, 0] = 2 * means
    state = {
        "module.stem.weight": torch.eye(4, 3).reshape(4, 3, 1, 1),
        "module.stem.bias": torch.zeros(4),
        "module.head.weight": torch.from_numpy(head),
        "module.head.bias": torch.from_numpy(-(means**2).astype(np.float32)),
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "best.th")
    checked, trials = walked(
        tmp_path,
        "model: {source: 'net.py:build', weights: best.th}\n"
        "data: {source: photos, preprocess: {resize: 32, crop: 28}}\n"
        "space:\n  quantize: [null, {weight_bits: 8, activation_bits: 8}]",
    )
    assert checked["classes"] == list(CLASSES)
    assert next(p["preprocess"] for p in checked["preprocessing"] if p["chosen"]).startswith("{scale: 0.0039")
    assert checked["spec"]["data"]["preprocess"]["crop"] == 28
    assert all(t["accuracy"]["value"] > 0.95 and t["accuracy"]["n"] == 80 for t in trials)


def test_an_onnx_file_and_pictures_without_labels(tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 30, 0, in_classes=False)
    brightness_net(tmp_path / "net.onnx", channels=3, side=28, scale=255.0)
    checked, trials = walked(
        tmp_path,
        "model: {source: net.onnx}\n"
        "data: {source: photos, preprocess: {scale: 1.0, resize: 32, crop: 28}}\n"
        "space:\n  quantize: [null, {weight_bits: 8, activation_bits: 8}]",
    )
    assert (checked["baseline"], len(checked["classes"])) == (None, 4)
    assert trials[1]["accuracy"] is None
    assert trials[1]["fidelity"]["agreement"]["value"] > 0.9


def series(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two channels of 48 samples; classes by how fast the first one swings."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    swing = np.sin(np.arange(48) * (0.3 + 0.5 * labels[:, None]) + rng.uniform(0, 6, (n, 1)))
    return np.stack([swing, rng.normal(0, 1, (n, 48))], 1).astype(np.float32) + rng.normal(0, 0.1, (n, 2, 48)).astype(
        np.float32
    ), labels


def trained(network: nn.Module, inputs: np.ndarray, labels: np.ndarray) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(labels)).backward()
        optimizer.step()
    return network.eval()


ONE_D = """
from torch import nn

def build(num_classes=3, in_channels=2, width=8):
    return nn.Sequential(
        nn.Conv1d(in_channels, width, 7, padding=3), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, num_classes),
    )
"""


def test_a_network_of_one_dimension_with_an_option_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(ONE_D)
    scope: dict[str, Any] = {}
    exec(ONE_D, scope)
    torch.manual_seed(0)
    (x, y), (x_test, y_test) = series(300, 0), series(150, 1)
    network = trained(scope["build"](width=12), x, y)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    checked, trials = walked(
        tmp_path,
        "model: {source: 'net.py:build', weights: net.pt, options: {width: 12}}\n"
        "data: {source: data.npz, kind: series, classes: [slow, medium, fast]}\n"
        "space:\n  prune: [null, {method: channel, ratio: 0.3, finetune_epochs: 2}]\n"
        "  quantize: [null, {weight_bits: 8, activation_bits: 8}]",
    )
    assert checked["inputs"]["shape"] == [2, 48]
    with torch.no_grad():
        right = (network(torch.from_numpy(x_test)).argmax(1).numpy() == y_test).mean()
    assert trials[0]["accuracy"]["value"] == pytest.approx(right)
    assert len(trials) == 4
    assert trials[-1]["accuracy"]["value"] > 0.9
    assert trials[-1]["params"] < trials[0]["params"]


def test_vectors_with_classes_as_text_and_no_split(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    x = (np.eye(4, 12)[labels] * 40 + rng.normal(0, 8, (400, 12))).astype(np.float32)
    names = np.array(["ash", "birch", "cedar", "elm"])
    np.savez(tmp_path / "trees.npz", X=x, y=names[labels])
    torch.manual_seed(0)
    network = trained(nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 4)), x, labels)
    save_onnx(export_onnx(network, (12,)), tmp_path / "net.onnx")
    checked, trials = walked(
        tmp_path,
        "model: {source: net.onnx}\ndata: {source: trees.npz}\n"
        "space:\n  quantize: [null, {weight_bits: 8, activation_bits: 8}, {weight_bits: 4, activation_bits: 32}]",
    )
    assert checked["classes"] == ["ash", "birch", "cedar", "elm"]
    assert [p["name"] for p in checked["preprocessing"] if p["chosen"]] == ["as stored"]
    assert all(t["accuracy"]["value"] > 0.95 and t["accuracy"]["n"] == 80 for t in trials)
    assert trials[2]["size_bytes"] < trials[0]["size_bytes"]
