"""The form's fields become the spec that a user would have written."""

import pytest

from engine.errors import SpecError
from engine.spec.read import read_sweep
from engine.spec.steps import Distill, Prune, Quantize
from engine.spec.sweep import parse_sweep
from engine.trials.text import duration
from pages.new_sweep.draft import ALL, AS_IT_IS, QUANTIZATIONS, TRAINED, Draft, to_spec


def recipes(draft: Draft) -> list[str]:
    return [r.label for r in parse_sweep(to_spec(draft)).all_recipes]


def test_the_empty_draft_is_the_baseline_alone():
    assert recipes(Draft()) == ["baseline"]


def test_the_form_can_say_the_default_sweep():
    from engine.paths import EXAMPLE

    shipped = read_sweep(EXAMPLE / "spec.yaml")
    draft = Draft(
        name=shipped.name,
        students=("ds_cnn",),
        channels=(0.25, 0.5, 0.7),
        quantizations=(AS_IT_IS, "int8", "4-bit weights"),
    )
    assert set(parse_sweep(to_spec(draft)).all_recipes) == set(shipped.all_recipes)


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_every_quantization_offered_is_a_step(name):
    assert len(recipes(Draft(quantizations=(AS_IT_IS, name)))) == (1 if name == AS_IT_IS else 2)


@pytest.mark.parametrize("name", TRAINED)
def test_every_training_in_low_precision_is_a_step(name):
    labels = recipes(Draft(trained=(name,), trained_epochs=3))
    assert labels[1] == ("int8 QAT 3" if name == "w8a8" else f"{name} QAT 3")


def test_every_knob_reaches_the_spec():
    draft = Draft(
        students=("recursive_resnet",),
        own_widths=(0.5,),
        repeats=(2, 4),
        temperature=3.0,
        feature_weight=1.0,
        untaught=True,
        channels=(0.5,),
        channel_quantity="macs_ratio",
        importances=("l2", "taylor"),
        allocation="global",
        patterns=("2:4",),
        rounds=2,
        mean_bits=(4,),
        quantizations=("w4a8", "fp16 weights"),
        rounding="learned",
        weight_range="safe",
        bias_correction="yes",
        equalize="no",
        per_channel=(True, False),
        formats=("u8s8", "u8u8"),
        calibrations=("minmax",),
    )
    found = parse_sweep(to_spec(draft)).all_recipes
    students = {s for r in found for s in r.steps if isinstance(s, Distill)}
    assert len(students) == 6
    assert {s.repeats for s in students} == {2, 4, None}
    assert {(s.temperature, s.feature_weight) for s in students if s.has_teacher} == {(3.0, 1.0)}
    assert sum(not s.has_teacher for s in students) == 3
    prunings = {s for r in found for s in r.steps if isinstance(s, Prune)}
    assert {(s.importance, s.allocation) for s in prunings if s.macs_ratio == 0.5} == {
        ("l2", "global"),
        ("taylor", "global"),
    }
    assert {s.pattern for s in prunings} == {"2:4", None}
    quantizations = {s for r in found for s in r.steps if isinstance(s, Quantize)}
    four = {s for s in quantizations if s.weight_bits == 4}
    assert {(s.per_channel, s.format) for s in four} == {(c, f) for c in (True, False) for f in ("u8s8", "u8u8")}
    assert {(s.rounding, s.weight_range, s.bias_correction, s.equalize, s.calibration) for s in four} == {
        ("learned", "safe", True, False, "minmax")
    }
    assert {s.mean_bits for s in quantizations} == {None, 4.0}


def test_leaving_out_the_plain_choice_leaves_only_the_baseline_without_it():
    labels = recipes(Draft(channels=(0.5,), unpruned=False, quantizations=("int8",)))
    assert labels == ["baseline", "channels −50 % · finetune 1×20k · int8"]


def test_no_training_after_pruning_is_no_step():
    assert recipes(Draft(zeros=(0.5,), finetune_epochs=0)) == ["baseline", "weights −50 %"]


def test_all_images_means_no_number_in_the_spec():
    spec = to_spec(Draft(students=("ds_cnn",), student_images=ALL, test_images=500))
    assert "samples" not in spec["space"]["distill"][1]
    assert spec["measure"]["test_samples"] == 500


def test_a_model_of_the_users_own_carries_its_weights():
    spec = to_spec(Draft(model=" /tmp/net.py:build ", weights="/tmp/w.safetensors"))
    assert spec["model"] == {"source": "/tmp/net.py:build", "weights": "/tmp/w.safetensors"}


def test_a_form_without_a_name_is_told_so():
    with pytest.raises(SpecError, match="name"):
        parse_sweep(to_spec(Draft(name="  ")))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185, "3 min 05 s"), (4_320, "1 h 12 min")]
)
def test_durations_are_told_in_two_units(seconds, text):
    assert duration(seconds) == text
