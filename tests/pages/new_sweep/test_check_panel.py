"""A user's own network is checked before its sweep can be started."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from engine.graph.graph import save_onnx
from engine.models.export import export_onnx
from tests.helpers.brightness import brightness_data, brightness_net
from tests.helpers.new_sweep import errors, press, typed
from tests.helpers.several_inputs import token_data, token_net

TEXT = """
name: mine
model: {{source: {folder}/net.onnx}}
data: {{source: {folder}/data.npz{more}, classes: [dark, dim, light, bright]}}
space: {{quantize: [null, {{weight_bits: 8, activation_bits: 8}}]}}
measure: {{latency: null}}
"""


def labels(app) -> list[str]:
    return [b.label for b in app.button]


def test_a_sweep_of_an_own_network_starts_once_it_is_checked(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx", scale=255.0)
    app = typed(TEXT.format(folder=tmp_path, more=""))
    assert "Check model and data" in labels(app)
    assert "Start sweep" not in labels(app)
    app = press(app, "Check model and data")
    assert not app.exception
    assert "Start sweep" in labels(app)
    assert any("right on 100.00 %" in m.value for m in app.markdown)
    assert [e.label for e in app.expander if e.label.startswith("Numbers are read")] == ["Numbers are read: as stored"]


def test_a_mistake_is_shown_and_nothing_can_be_started(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx", scale=255.0)
    app = press(typed(TEXT.format(folder=tmp_path, more=", preprocess: standardize")), "Check model and data")
    assert any("write data.preprocess: none" in e for e in errors(app))
    assert "Start sweep" not in labels(app)


def test_a_built_in_network_needs_no_check() -> None:
    app = typed(
        "name: ours\nmodel: {source: resnet8}\nspace: {quantize: [null, {weight_bits: 8, activation_bits: 8}]}\n"
    )
    assert "Check model and data" not in labels(app)
    assert {"Start sweep"} <= set(labels(app))


def test_values_are_told_in_the_metrics_own_words(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (60, 4)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, y=x @ np.array([1, 2, 3, 4], np.float32) / 10)
    net = torch.nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    save_onnx(export_onnx(net, (4,)), tmp_path / "net.onnx")
    app = press(
        typed(TEXT.format(folder=tmp_path, more="").replace(", classes: [dark, dim, light, bright]", "")),
        "Check model and data",
    )
    assert not app.exception
    # By float32's rounding alone.
    assert any(re.search(r"\*\*MAE is (0|[\d.]*×?10⁻[⁷⁸⁹])", m.value) for m in app.markdown)
    assert any("Items" in c.value and "regression" in c.value for c in app.caption)
    assert "Error, of the targets’ deviation" in app.table[0].value.columns
    assert "Start sweep" in labels(app)


def test_several_inputs_are_told_one_by_one(tmp_path: Path) -> None:
    net, data = token_net(tmp_path / "net.onnx"), token_data(tmp_path / "data.npz")
    app = press(
        typed(
            f"name: mine\nmodel: {{source: {net}, output: scores}}\n"
            f"data: {{source: {data}, inputs: [tokens, mask]}}\nmeasure: {{latency: null}}\n"
        ),
        "Check model and data",
    )
    assert not app.exception
    assert any("tokens 16 of int64" in c.value and "mask 16 of int64" in c.value for c in app.caption)
    assert "Start sweep" in labels(app)
