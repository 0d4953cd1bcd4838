"""A user's own network is checked before its sweep can be started."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.brightness import brightness_data, brightness_net
from tests.helpers.new_sweep import errors, press, typed

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
    assert any("right on 100.0 %" in m.value for m in app.markdown)
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
