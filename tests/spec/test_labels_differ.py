"""Recipes that differ in one option never share a label: every option of every step, in every context of one other option or two."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from engine.spec.frozen import Frozen
from engine.spec.recipe import Recipe
from engine.spec.space import expand_space
from engine.spec.steps import FAMILIES, Distill, Finetune, Prune, Quantize
from engine.spec.torch_steps import CURRENT

_MANY = "abcdef"
VALUES: dict[str, dict[str, list[Any]]] = {
    "distill": {
        "student": ["self", CURRENT, "ds_cnn", "recursive_resnet"], "width": [1.0, 0.5], "depth": [1.0, 0.5], "repeats": [None, 2, 5],
        "teacher": ["baseline", "previous", "resnet20"], "temperature": [4.0, 2.0], "alpha": [0.9, 0, 0.5], "feature_weight": [0, 0.5, 1],
        "epochs": [2, 5], "samples": [None, 100, 25_000], "learning_rate": [0.1, 0.05], "augment": ["none", "mirror", "shift"],
        "start": ["fresh", "taken"],
    },
    "finetune": {
        "epochs": [1, 5], "samples": [None, 100, 20_000], "learning_rate": [0.02, 0.05], "augment": ["none", "mirror", "shift"],
    },
    "prune": {
        "method": ["magnitude", "nm", "channel", "heads", "mlp", "heads_and_mlp"], "ratio": [None, 0.5, 0.25],
        "macs_ratio": [None, 0.5, 0.25], "pattern": [None, "2:4", "4:8", "1:4"],
        "allocation": [None, "uniform", "global", "sensitivity"], "importance": [None, "l2", "bn_scale", "taylor"],
        "round_to": [None, 1, 4, 8],
    },
    "quantize": {
        "weight_bits": [8, 2, 4, 7, 16], "activation_bits": [8, 4, 16, 32], "method": ["ptq", "qat", "dynamic", "block"],
        "per_channel": [True, False], "symmetric": [True, False], "format": ["u8s8", "u8u8", "s8s8"],
        "weight_range": ["auto", "full", "safe"], "calibration": ["auto", "minmax", "percentile", "entropy", "mse"],
        "calibration_samples": [256, 9], "equalize": ["auto", True, False], "smooth": ["auto", 0, 0.5],
        "bias_correction": ["auto", True, False], "rounding": ["auto", "nearest", "learned"], "ends_8bit": [None, True, False],
        "mean_bits": [None, 3, 3.5], "max_latency": [None, 0.5, 0.7], "max_drop": [None, 0.5, 1], "cheapest": [False, True],
        "float_layers": [None, 1, 2], "compute": [None, "float16"],
        "layers": [
            None, {"a": 3}, {"a": 4}, dict.fromkeys(_MANY, 3), dict.fromkeys(_MANY[:-1] + "g", 3),
            dict.fromkeys(_MANY, 4) | {"a": 3}, dict.fromkeys(_MANY, 4) | {"b": 3},
        ],
        "block_size": [None, 16, 64], "accuracy_level": [None, 0, 4], "epochs": [None, 1, 3], "samples": [None, 100],
        "learning_rate": [None, 0.001, 0.02],
    },
    "runtime": {
        "threads": [None, 1, 2], "batch": [None, 1, 8], "graph_optimisation": [None, "disable", "basic", "extended", "all"],
        "provider": [None, "CPU", "CUDA"],
    },
}  # fmt: skip
# Options that say what kind of step it is: every combination of them is a context.
KINDS = {
    "quantize": ("weight_bits", "activation_bits", "method"),
    "prune": ("method", "ratio"),
    "distill": ("student",),
}


def steps_of(family: str) -> Iterator[Frozen]:
    """Every valid step with up to two options beside its kind at another value than their first."""
    values = VALUES[family]
    kinds = KINDS.get(family, ())
    others = [name for name in values if name not in kinds]
    for kind in itertools.product(*(values[name] for name in kinds)):
        for count in range(3):
            for names in itertools.combinations(others, count):
                for chosen in itertools.product(*(values[name][1:] for name in names)):
                    made = _made(family, dict(zip(kinds, kind, strict=True)) | dict(zip(names, chosen, strict=True)))
                    if made is not None:
                        yield made


def _made(family: str, options: Mapping[str, Any]) -> Frozen | None:
    try:
        return FAMILIES[family](**{k: v for k, v in options.items() if v is not None})
    except ValidationError:
        return None


@pytest.mark.parametrize("family", list(VALUES))
def test_no_two_steps_share_a_label(family: str) -> None:
    assert VALUES[family].keys() == FAMILIES[family].model_fields.keys() - {"step"}
    by_label: dict[str, set[Frozen]] = defaultdict(set)
    tried: dict[str, set[str]] = defaultdict(set)
    for step in steps_of(family):
        by_label[Recipe(steps=(step,)).label].add(step)
        for name in VALUES[family]:
            tried[name].add(repr(getattr(step, name)))
    # Each option was there in several values.
    assert {name for name, found in tried.items() if len(found) < 2} == set()
    shared = {
        label: [s.model_dump(exclude_defaults=True) for s in steps]
        for label, steps in by_label.items()
        if len(steps) > 1
    }
    assert shared == {}


def test_what_is_stated_reads_otherwise_than_what_auto_came_to() -> None:
    auto = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),))
    for chosen, stated in (
        ("7-bit weights", {"weight_range": "safe"}),
        ("smoothed 0.75", {"smooth": 0.75}),
        ("equalised", {"equalize": True}),
        ("nearest rounding", {"rounding": "nearest"}),
    ):
        other = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8, **stated),))
        assert auto.label_with((chosen,)) not in {other.label, other.label_with((chosen,))}


def test_recipes_of_a_space_have_labels_of_their_own() -> None:
    recipes = expand_space(
        {
            "distill": [None, {"student": "self", "depth": 0.5, "start": ["fresh", "taken"]}],
            "prune": [None, {"method": "channel", "ratio": [0.25, 0.5], "rounds": [1, 2], "finetune_epochs": [1, 2]}],
            "finetune": [None, {"epochs": 3}],
            "quantize": [None, {"weight_bits": [8, 4], "activation_bits": 8, "method": ["ptq", "qat"]}],
            "runtime": [None, {"threads": [1, 2]}],
        }
    )
    assert len({r.label for r in recipes}) == len(recipes) > 200
    assert {type(s) for r in recipes for s in r.steps} >= {Distill, Prune, Finetune, Quantize}
