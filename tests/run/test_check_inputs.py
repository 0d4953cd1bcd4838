"""What a sweep names fits together, or it is told before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ModelError, SpecError
from engine.run.check_inputs import check_labels, check_taken
from engine.spec.sweep import parse_sweep
from tests.helpers.brightness import brightness_data

QAT = {"quantize": [{"weight_bits": 8, "activation_bits": 8, "method": "qat"}]}


@pytest.mark.parametrize(
    ("space", "step"),
    [
        ({"prune": [{"method": "channel", "ratio": 0.5, "finetune_epochs": 1}]}, "finetune 1"),
        ({"prune": [{"method": "channel", "ratio": 0.5, "importance": "taylor"}]}, "channels −50 %"),
        ({"prune": [{"method": "magnitude", "ratio": 0.5, "allocation": "sensitivity"}]}, "weights −50 %"),
        ({"distill": [{"student": "ds_cnn", "alpha": 0}]}, "train ds_cnn"),
        ({"distill": [{"student": "ds_cnn"}]}, None),
        ({"prune": [{"method": "channel", "ratio": 0.5}], **QAT}, None),
    ],
)
def test_steps_that_learn_from_labels_need_them(tmp_path: Path, space: dict[str, Any], step: str | None) -> None:
    brightness_data(tmp_path / "labelled.npz")
    np.savez(tmp_path / "bare.npz", x=np.load(tmp_path / "labelled.npz")["x_train"])
    (tmp_path / "net.py").write_text("def build(num_classes): ...\n")
    told = {"name": "mine", "model": {"source": "net.py:build"}, "space": space}
    check_labels(parse_sweep({**told, "data": {"source": "labelled.npz"}}, tmp_path))
    bare = parse_sweep({**told, "data": {"source": "bare.npz", "classes": 4}}, tmp_path)
    if step is None:
        check_labels(bare)
        return
    with pytest.raises(SpecError, match=f"bare.npz has no labels, which {step}[^\n]* learns from; give labels"):
        check_labels(bare)


@pytest.mark.parametrize(
    ("depth", "said"),
    [(0.9, "depth 0.9 leaves out none of its 4 layers; give one that does .0.75, say."), (0.75, None)],
)
def test_a_depth_that_leaves_nothing_out_is_told_before_anything_runs(depth: float, said: str | None) -> None:
    steps = {"distill": [{"student": "self", "depth": depth, "start": "taken", "epochs": 1}]}
    told = {"name": "mine", "model": {"source": "series_transformer"}, "data": {"source": "pen_digits"}, "space": steps}
    if said is None:
        check_taken(parse_sweep(told, Path()))
        return
    with pytest.raises(ModelError, match=said) as caught:
        check_taken(parse_sweep(told, Path()))
    assert "\n" not in str(caught.value)
