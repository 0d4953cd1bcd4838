"""What steps are called on charts."""

from __future__ import annotations

import pytest

from engine.spec.frozen import Frozen
from engine.spec.labels import source_name
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
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
        ((Prune(method="heads", ratio=0.25), Finetune(epochs=1)), "heads −25 % · finetune 1"),
        ((Prune(method="mlp", ratio=0.5, round_to=8),), "MLP width −50 % (multiples of 8)"),
        ((Prune(method="heads_and_mlp", ratio=0.5, importance="taylor"),), "heads and MLP width −50 % (Taylor)"),
        ((Distill(student="self", depth=0.5, start="taken"),), "distil self ×0.5 deep (own layers)"),
        ((Prune(method="nm"),), "2:4 sparse"),
        ((Quantize(weight_bits=3, activation_bits=4, method="qat", epochs=2),), "w3a4 QAT 2"),
        (
            (Quantize(weight_bits=8, activation_bits=8, format="u8u8", per_channel=False, calibration="mse"),),
            "int8 (u8u8, per layer, mse)",
        ),
        ((Quantize(weight_bits=8, activation_bits=8, mean_bits=3.5),), "wmixed3.5a8"),
        (
            (Finetune(learning_rate=0.05, samples=2000, augment="shift"),),
            "finetune 1×2k (rate 0.05, shift)",
        ),
        ((Distill(student="ds_cnn", samples=25_000),), "distil ds_cnn (2×25k)"),
        ((Distill(student="current", samples=1234),), "distil on 2×1,234"),
        (
            (Quantize(weight_bits=4, activation_bits=8, method="qat", learning_rate=0.02, calibration_samples=64),),
            "w4a8 QAT 1 (64 calibration images, rate 0.02)",
        ),
    ],
)
def test_labels_are_what_people_say(steps, label):
    assert Recipe(steps=steps).label == label


# For every step a way to write it, and for every knob of it another value, with what must go with that.
KNOBS: list[tuple[type[Frozen], dict[str, object], dict[str, dict[str, object]]]] = [
    (
        Distill,
        {"student": "self"},
        {
            "student": {"student": "ds_cnn"}, "width": {"width": 0.5}, "depth": {"depth": 0.5}, "repeats": {"repeats": 2},
            "teacher": {"teacher": "previous"}, "temperature": {"temperature": 2}, "alpha": {"alpha": 0.5},
            "feature_weight": {"feature_weight": 0.5}, "epochs": {"epochs": 5}, "samples": {"samples": 100},
            "learning_rate": {"learning_rate": 0.05}, "augment": {"augment": "mirror"},
            "start": {"start": "taken"},
        },
    ),
    (
        Finetune,
        {},
        {
            "epochs": {"epochs": 5}, "samples": {"samples": 100}, "learning_rate": {"learning_rate": 0.05},
            "augment": {"augment": "mirror"},
        },
    ),
    (
        Prune,
        {"method": "channel", "ratio": 0.5},
        {
            "method": {"method": "magnitude"}, "ratio": {"ratio": 0.25}, "macs_ratio": {"ratio": None, "macs_ratio": 0.5},
            "pattern": {"method": "nm", "ratio": None, "pattern": "1:4"}, "allocation": {"allocation": "global"},
            "importance": {"importance": "taylor"}, "round_to": {"round_to": 8},
        },
    ),
    (
        Quantize,
        {"weight_bits": 4, "activation_bits": 8, "method": "qat"},
        {
            "weight_bits": {"weight_bits": 5}, "activation_bits": {"activation_bits": 7}, "method": {"method": "ptq"},
            "per_channel": {"per_channel": False}, "symmetric": {"per_channel": False, "symmetric": False},
            "format": {"format": "u8u8"}, "weight_range": {"weight_range": "safe"}, "calibration": {"calibration": "mse"},
            "calibration_samples": {"calibration_samples": 9},
            "equalize": {"equalize": True}, "smooth": {"smooth": 0.5}, "bias_correction": {"bias_correction": True},
            "rounding": {"rounding": "learned"},
            "ends_8bit": {"ends_8bit": True}, "mean_bits": {"mean_bits": 3}, "max_latency": {"max_latency": 0.5},
            "max_drop": {"max_drop": 0.5, "method": "ptq"}, "float_layers": {"float_layers": 2},
            "cheapest": {"max_drop": 0.5, "cheapest": True, "method": "ptq"},
            "block_size": {"method": "block", "activation_bits": 32, "block_size": 64},
            "accuracy_level": {"method": "block", "activation_bits": 32, "accuracy_level": 0},
            "compute": {"weight_bits": 16, "activation_bits": 32, "compute": "float16", "method": "ptq"},
            "layers": {"layers": {"a": 3}}, "epochs": {"epochs": 3}, "samples": {"samples": 100},
            "learning_rate": {"learning_rate": 0.05},
        },
    ),
    (
        Runtime,
        {"threads": 1},
        {
            "threads": {"threads": 2}, "batch": {"batch": 2}, "graph_optimisation": {"graph_optimisation": "basic"},
            "provider": {"provider": "CUDA"},
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("step", "usual", "others"), KNOBS, ids=[step.__name__ for step, *_ in KNOBS])
def test_recipes_that_differ_in_one_knob_have_different_labels(
    step: type[Frozen], usual: dict[str, object], others: dict[str, dict[str, object]]
) -> None:
    assert others.keys() == step.model_fields.keys() - {"step"}
    made = {"": step(**usual)} | {name: step(**{**usual, **other}) for name, other in others.items()}
    labels = {name: Recipe(steps=(one,)).label for name, one in made.items()}
    assert len(set(labels.values())) == len(labels), labels


def test_other_values_of_the_same_knob_have_different_labels() -> None:
    first, second = (Quantize(weight_bits=8, activation_bits=8, layers=dict.fromkeys("abcd", bits)) for bits in (3, 4))
    assert "4 of 3" in Recipe(steps=(first,)).label
    assert Recipe(steps=(first,)).label != Recipe(steps=(second,)).label
    six, eight = (Quantize(weight_bits=bits, activation_bits=8, mean_bits=3) for bits in (6, 8))
    assert Recipe(steps=(six,)).label != Recipe(steps=(eight,)).label


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/ann/pets", "pets"),
        ("/home/ann/pets/", "pets"),
        ("/home/ann/x.npy", "x.npy"),
        ("/home/ann/table.parquet", "table.parquet"),
        ("/home/ann/own.py:build", "own.py:build"),
        ("fashion_mnist", "fashion_mnist"),
        ("torchvision:CIFAR10", "torchvision:CIFAR10"),
    ],
)
def test_what_is_given_away_names_no_folders(source: str, name: str) -> None:
    assert source_name(source) == name
