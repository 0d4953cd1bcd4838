"""What a spec says of the quantize methods `dynamic` and `block`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from engine.spec.recipe import Recipe
from engine.spec.sentences import step_text
from engine.spec.steps import Quantize


def test_a_method_is_enough() -> None:
    dynamic, block = Quantize(method="dynamic"), Quantize(method="block")
    assert (dynamic.weight_bits, dynamic.activation_bits) == (8, 8)
    assert (block.weight_bits, block.activation_bits, block.block_size, block.accuracy_level) == (4, 32, 32, 4)
    assert dynamic.learns_rounding
    assert block.learns_rounding
    assert dynamic.can_overflow
    assert not block.can_overflow
    # With zero points the codes are signed all the same.
    assert Quantize(weight_bits=8, activation_bits=8, per_channel=False, symmetric=False).can_overflow
    assert [Recipe(steps=(s,)).label for s in (dynamic, block)] == ["int8 dynamic", "4-bit blocks of 32"]
    assert "rounded as they come" in step_text(dynamic)
    assert "one scale for every 32 inputs" in step_text(block)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "block", "weight_bits": 16}, "weight_bits 16 is not one of method block; use 4 or 8"),
        ({"method": "block", "weight_bits": 5}, "weight_bits 5 is not one of method block; use 4 or 8"),
        ({"method": "dynamic", "activation_bits": 4}, "goes with activation_bits 8"),
        ({"method": "block", "activation_bits": 8}, "goes with activation_bits 32"),
        ({"method": "dynamic", "calibration": "mse"}, "calibrates no ranges"),
        ({"method": "dynamic", "mean_bits": 4}, "mean_bits and max_latency are no knobs of method dynamic"),
        ({"method": "block", "max_drop": 1}, "max_drop and float_layers are no knobs of method block; use layers"),
        ({"method": "block", "float_layers": 1}, "float_layers are no knobs of method block; use layers"),
        ({"method": "dynamic", "format": "s8s8"}, "format s8s8 is not one of method dynamic.*; use u8s8 or u8u8"),
        (
            {"weight_bits": 8, "activation_bits": 8, "max_drop": 1, "float_layers": 2},
            "without mean_bits or float_layers",
        ),
        ({"weight_bits": 8, "activation_bits": 8, "max_drop": 1, "method": "qat"}, "no knob of method qat"),
        ({"method": "block", "equalize": True}, "equalize is no knob of method block"),
        ({"method": "block", "layers": {"a": 5}}, "4, 8 or 32 bits"),
        ({"method": "block", "epochs": 2}, "epochs is a knob of method qat"),
        ({"method": "dynamic", "block_size": 32}, "block_size is a knob of method block; this one is dynamic"),
        (
            {"weight_bits": 8, "activation_bits": 8, "accuracy_level": 4},
            "accuracy_level is a knob of method block; this one is ptq",
        ),
        ({"method": "block", "block_size": 48}, "block_size"),
    ],
)
def test_knobs_of_other_methods_are_refused_in_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Quantize(**options)
