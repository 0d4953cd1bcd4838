"""The walk-through with sounds: from class folders of .wav files and a network to a verified bundle."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_bring_your_own import walked
from tests.helpers.sounds import STATED, louder_net, sound_folders


def test_sounds_in_class_folders_and_an_onnx_file(tmp_path: Path) -> None:
    sound_folders(tmp_path / "clips", 60)
    louder_net(tmp_path / "net.onnx")
    checked, trials = walked(
        tmp_path,
        "model: {source: net.onnx}\n"
        "data: {source: clips, preprocess: {rate: 8000, window: 0.4, log_mel: 20}}\n"
        "space:\n  quantize: [null, {weight_bits: 8, activation_bits: 8}]",
    )
    assert checked["classes"] == ["high", "low"]
    assert checked["inputs"]["shape"] == [1, 20, 38]
    # What was found of the numbers stands beside what was said of the sounds.
    assert checked["spec"]["data"]["preprocess"].items() >= {**STATED, "scale": 1.0}.items()
    assert all(t["accuracy"]["value"] > 0.95 and t["accuracy"]["n"] == 24 for t in trials)
