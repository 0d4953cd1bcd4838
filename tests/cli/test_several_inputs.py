"""From a network that reads several inputs to a verified bundle, what it says held against another runtime's answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from tests.cli.test_bring_your_own import walked
from tests.helpers.several_inputs import TWO_INPUTS, pictures_and_vectors, token_data, token_net, tokens_and_masks


def test_a_torch_network_of_a_picture_and_a_vector(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(TWO_INPUTS)
    scope: dict = {}
    exec(TWO_INPUTS, scope)
    torch.manual_seed(0)
    (image, vector, y), (image_test, vector_test, y_test) = pictures_and_vectors(300, 0), pictures_and_vectors(160, 1)
    network = scope["build"](4)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        said = network(torch.from_numpy(image), torch.from_numpy(vector))["logits"]
        F.cross_entropy(said, torch.from_numpy(y)).backward()
        optimizer.step()
    torch.save(network.eval().state_dict(), tmp_path / "net.pt")
    np.savez(
        tmp_path / "data.npz",
        pixels_train=image,
        age_train=vector,
        y_train=y,
        pixels_test=image_test,
        age_test=vector_test,
        y_test=y_test,
    )
    checked, trials = walked(
        tmp_path,
        "model: {source: 'net.py:build', weights: net.pt, output: logits}\n"
        "data: {source: data.npz, inputs: {image: pixels, vector: age, gain: 2.0}}\n"
        "space:\n  prune: [null, {method: channel, ratio: 0.3, finetune_epochs: 1}]\n"
        "  quantize: [null, {weight_bits: 4, activation_bits: 8, method: qat, epochs: 1},"
        " {weight_bits: 8, activation_bits: 8}]",
    )
    assert set(checked["inputs"]) == {"image", "vector"}
    with torch.no_grad():
        said = network(torch.from_numpy(image_test), torch.from_numpy(vector_test))["logits"]
    assert trials[0]["accuracy"]["value"] == pytest.approx((said.argmax(1).numpy() == y_test).mean())
    assert len(trials) == 6
    assert all(t["accuracy"]["value"] > 0.85 for t in trials)
    assert trials[3]["params"] < trials[0]["params"]
    # Two convolutions of 8×8 pictures, and the matrices.
    assert trials[0]["macs"] == 64 * 9 * 6 + 64 * 9 * 36 + 4 * 8 + 14 * 4


def test_an_onnx_file_of_tokens_and_a_mask_with_two_outputs(tmp_path: Path) -> None:
    token_net(tmp_path / "net.onnx")
    token_data(tmp_path / "data.npz")
    _, trials = walked(
        tmp_path,
        "model: {source: net.onnx, output: scores}\n"
        "data: {source: data.npz, inputs: [tokens, mask]}\n"
        "space:\n  quantize: [null, {weight_bits: 16, activation_bits: 32}, {weight_bits: 4, activation_bits: 32},"
        " {weight_bits: 8, activation_bits: 8}]",
    )
    tokens, mask, labels = tokens_and_masks(120, 120)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    said = session.run(["scores"], {"tokens": tokens, "mask": mask})[0].argmax(1)
    right = float((said == labels).mean())
    assert trials[0]["accuracy"]["value"] == pytest.approx(right)
    assert right > 0.9
    assert all(t["accuracy"]["value"] > 0.85 for t in trials)
    assert [t["macs"] for t in trials] == [8 * 8 + 8 * 4] * 4
