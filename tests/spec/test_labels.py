"""What steps are called on charts."""

from __future__ import annotations

import pytest

from engine.spec.recipe import Recipe
from engine.spec.steps import Distill, Finetune, Prune, Quantize


@pytest.mark.parametrize(
    ("steps", "label"),
    [
        ((), "baseline"),
        ((Prune(method="channel", ratio=0.25), Finetune(epochs=1)), "channels −25 % · finetune 1"),
        ((Quantize(weight_bits=8, activation_bits=8),), "int8"),
        ((Quantize(weight_bits=16, activation_bits=32),), "fp16 weights"),
        ((Distill(student="ds_cnn", alpha=0),), "train ds_cnn"),
        ((Distill(student="self", width=0.5, depth=0.5, feature_weight=1),), "distil self ×0.5 ×0.5 deep (features)"),
        (
            (Distill(student="recursive_resnet", repeats=5, teacher="resnet20"),),
            "distil recursive_resnet R5 (from resnet20)",
        ),
        ((Distill(student="current", epochs=3),), "distil on 3"),
        (
            (Prune(method="channel", macs_ratio=0.5, importance="taylor", allocation="global"),),
            "channels −50 % MACs (global, Taylor)",
        ),
        ((Prune(method="nm"),), "2:4 sparse"),
        ((Quantize(weight_bits=3, activation_bits=4, method="qat", epochs=2),), "w3a4 QAT 2"),
        (
            (Quantize(weight_bits=8, activation_bits=8, format="u8u8", per_channel=False, calibration="mse"),),
            "int8 (u8u8, per layer, mse)",
        ),
        ((Quantize(weight_bits=8, activation_bits=8, mean_bits=3.5),), "wmixed3.5a8"),
    ],
)
def test_labels_are_what_people_say(steps, label):
    assert Recipe(steps=steps).label == label
