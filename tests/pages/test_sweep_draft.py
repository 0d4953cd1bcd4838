"""The form's fields become the spec that a user would have written."""

import pytest

from engine.errors import SpecError
from engine.spec import parse_sweep, read_sweep
from engine.words import duration
from pages.ui.draft import ALL, AS_IT_IS, QUANTIZATIONS, Draft, to_spec


def recipes(draft: Draft) -> list[str]:
    return [r.label for r in parse_sweep(to_spec(draft)).recipes]


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
    assert set(parse_sweep(to_spec(draft)).recipes) == set(shipped.recipes)


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_every_quantization_offered_is_a_step(name):
    assert len(recipes(Draft(quantizations=(AS_IT_IS, name)))) == (1 if name == AS_IT_IS else 2)


def test_leaving_out_the_plain_choice_leaves_only_the_baseline_without_it():
    labels = recipes(Draft(channels=(0.5,), unpruned=False, quantizations=("int8",)))
    assert labels == ["baseline", "channels −50 % · finetune 1 · int8"]


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
