"""What a quantize step does where everything is left to it, and that it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from engine.compress.quantization import rounding
from engine.compress.quantize import apply, make_scheme, quantized
from engine.errors import SpecError
from engine.measure.machine import machine
from engine.run.planner import make_plan
from engine.spec.read import parse_sweep
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import relative_error
from tests.helpers.tiny_trained import run, tiny_data, tiny_graph

DATA = tiny_data()
CALIBRATION = DATA.preprocessing(DATA.calibration.inputs)
TEST = DATA.preprocessing(DATA.test.inputs)
INT8 = {"weight_bits": 8, "activation_bits": 8}
PLAIN = {"rounding": "nearest", "equalize": False, "bias_correction": False, "calibration": "percentile"}


def distance(options: dict[str, object]) -> float:
    """Of the file's answers from the float network's, on images that no method saw."""
    found = apply(Quantize(**options), tiny_graph(), CALIBRATION)
    return relative_error(run(found, TEST), run(tiny_graph(), TEST))


@pytest.mark.parametrize("bits", [8, 4])
def test_the_default_is_closer_to_the_float_network_than_the_plain_form(bits: int) -> None:
    safe = {"weight_bits": bits, "activation_bits": 8, "weight_range": "safe"}
    assert distance(safe) < 0.8 * distance(safe | PLAIN)


@pytest.mark.parametrize("options", [{}, {"weight_bits": 3}, {"format": "s8s8"}, {"layers": {"x": 8}}])
def test_safe_weights_keep_to_seven_bits(options: dict[str, object]) -> None:
    step = Quantize(**INT8 | {"weight_range": "safe"} | options)
    scheme = make_scheme(step, tiny_graph(), CALIBRATION)
    assert all(codes.bits <= 7 and np.abs(codes.codes).max() <= 64 for codes in scheme.weights.values())


def test_kernels_that_cannot_overflow_use_all_eight_bits() -> None:
    step = Quantize(**INT8, weight_range="safe", format="u8u8")
    assert {codes.bits for codes in make_scheme(step, tiny_graph(), CALIBRATION).weights.values()} == {8}
    assert quantized(step, tiny_graph(), CALIBRATION).chosen == ()


def test_the_choice_is_said() -> None:
    assert quantized(Quantize(**INT8, weight_range="safe"), tiny_graph(), CALIBRATION).chosen == ("7-bit weights",)
    recipe = Recipe(steps=(Quantize(**INT8),))
    assert recipe.label == "int8"
    assert recipe.label_with(("7-bit weights",)) == "int8 (7-bit weights)"
    plain = Recipe(steps=(Quantize(**INT8 | PLAIN),)).label
    assert plain == "int8 (percentile, not equalised, biases as they are, rounded to the nearest)"


def test_layers_too_wide_to_be_learned_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "LARGEST_FAN_IN", 50)
    done = quantized(Quantize(**INT8), tiny_graph(), CALIBRATION)
    assert done.note is not None
    assert done.note.startswith("Rounded to the nearest, not as learned, for more than 50 inputs to each output: ")
    assert "\n" not in done.note
    assert relative_error(run(done.model, TEST), run(tiny_graph(), TEST)) < 0.1


def test_with_one_scale_per_layer_the_better_of_both_is_taken() -> None:
    step = Quantize(**INT8, per_channel=False, weight_range="full")

    def distance_of(model: onnx.ModelProto) -> float:
        return float(np.square(run(model, CALIBRATION[:128]) - run(tiny_graph(), CALIBRATION[:128])).sum())

    done = quantized(step, tiny_graph(), CALIBRATION)
    both = {
        yes: distance_of(apply(step.model_copy(update={"equalize": yes}), tiny_graph(), CALIBRATION))
        for yes in (True, False)
    }
    assert distance_of(done.model) == pytest.approx(min(both.values()), rel=1e-5)
    assert ("equalised" in done.chosen) == (both[True] < both[False])


@pytest.mark.parametrize(
    ("flags", "options", "expected"),
    [
        (("avx2",), {}, "safe"),
        (("avx2", "avx_vnni"), {}, "full"),
        (("avx2",), {"format": "u8u8"}, "full"),
        (("avx2",), {"weight_range": "full"}, "full"),
        (("avx2", "avx_vnni"), {"weight_range": "safe"}, "safe"),
        (("avx2",), {"activation_bits": 32}, "auto"),
    ],
)
def test_the_range_is_what_the_measuring_machine_adds_exactly(
    flags: tuple[str, ...], options: dict[str, str], expected: str
) -> None:
    spec = {"model": {"source": "resnet8"}, "space": {"quantize": [INT8 | options]}}
    plan = make_plan(parse_sweep(spec), replace(machine(), flags=flags, os="Linux x86_64", fingerprint="f"))
    steps = [Quantize(**n.options) for n in plan.nodes.values() if n.kind == "quantize"]
    assert {step.weight_range for step in steps} == {expected}


def test_a_range_of_weights_is_one_of_integer_kernels() -> None:
    with pytest.raises(SpecError, match=r"weight_range safe is one of integer kernels"):
        parse_sweep(
            {
                "model": {"source": "resnet8"},
                "space": {"quantize": [{"weight_bits": 4, "activation_bits": 32, "weight_range": "safe"}]},
            }
        )
