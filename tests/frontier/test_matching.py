"""Which trials a filter matches, held against plain Python over the same trials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import SpecError
from engine.frontier.columns import Trials
from engine.frontier.matching import match, option_values
from engine.spec.recipe import Recipe
from engine.spec.steps import Finetune, Prune, Quantize
from engine.trials.evidence import Score
from engine.trials.trial import Trial
from tests.helpers.trial_factory import sweep_trials, trial


def option(made: Trial, kind: str, name: str) -> object:
    return next((getattr(s, name) for s in made.recipe.steps if s.step == kind), None)


def bits(made: Trial) -> int | None:
    found = option(made, "quantize", "weight_bits")
    return found if isinstance(found, int) else None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("accuracy >= 91", lambda t: t.accuracy.value >= 0.91),
        ("accuracy > 90 and size < 20 kB", lambda t: t.accuracy.value > 0.9 and t.size_bytes < 20_000),
        ("not (accuracy > 90 and size < 20 kB)", lambda t: not (t.accuracy.value > 0.9 and t.size_bytes < 20_000)),
        ("Latency <= 300 us or params < 5 k", lambda t: t.latency_ms.p50 <= 0.3 or t.params < 5000),
        ("weight_bits <= 4", lambda t: bits(t) is not None and bits(t) <= 4),
        ("not weight_bits <= 4", lambda t: bits(t) is not None and bits(t) > 4),
        ("weight_bits != 4", lambda t: bits(t) == 8),
        ("student = DS_CNN", lambda t: option(t, "distill", "student") == "ds_cnn"),
        ("prune.method = channel", lambda t: option(t, "prune", "method") == "channel"),
        ("prune.ratio = 50 %", lambda t: option(t, "prune", "ratio") == 0.5),
        ("step = quantize", lambda t: bits(t) is not None),
        ("not step = quantize", lambda t: bits(t) is None),
        ("label ~ INT8 and label !~ distil", lambda t: "int8" in t.label and "distil" not in t.label),
        ('label ~ "channels -50 %"', lambda t: option(t, "prune", "ratio") == 0.5),
        ("truth = deployed", lambda t: True),
    ],
)
def test_a_filter_matches_what_plain_python_does(text, wanted):
    trials = sweep_trials()
    assert match(trials, text).rows.tolist() == [bool(wanted(t)) for t in trials]


def test_what_a_trial_lacks_is_matched_neither_way_and_is_counted():
    trials = [*sweep_trials(), trial(Recipe(steps=(Finetune(epochs=3),)), latency_ms=None)]
    for text in ("latency < 1", "not latency < 1", "latency != 0.5"):
        found = match(trials, text)
        assert not found.rows[-1]
        assert found.lacking == {"latency": 1}
    assert match(trials, "latency < 9").lacking_text() == "1 lacks latency"
    # Where one part decides, the other need not be known.
    assert match(trials, "latency < 1 or accuracy > 2").rows[-1]
    assert not match(trials, "latency < 1 and accuracy > 99").rows[-1]
    assert not match(trials, "not (latency < 1 and accuracy > 2)").rows.any()
    found = match(trials, "top5 > 90 % and weight_bits = 4")
    assert found.lacking_text() == "all lack top5, 9 lack weight_bits"
    assert match([], "accuracy > 9").lacking_text() == ""


def test_an_option_of_several_steps_counts_where_any_of_them_has_it():
    both = trial(
        Recipe(
            steps=(
                Prune(method="channel", ratio=0.5),
                Quantize(weight_bits=8, activation_bits=8, method="qat", epochs=2),
            )
        )
    )
    for text in ("method = channel", "method = qat", "prune.method = channel", "quantize.method = qat"):
        assert match([both], text).rows.all()
    assert not match([both], "method != qat").rows.any()
    assert not match([both], "prune.method = qat").rows.any()
    columns = option_values(Trials.of([both, trial()]))
    assert columns["prune.method"] == ["channel", None]
    assert columns["weight_bits"] == [8.0, None]
    assert "method" not in columns


def test_an_option_that_no_recipe_has_is_lacked_and_a_name_that_nobody_has_is_refused():
    trials = [trial(), trial(Recipe(steps=(Finetune(epochs=3),)))]
    assert match(trials, "block_size = 32").lacking_text() == "all lack block_size"
    with pytest.raises(SpecError, match=r"character 18: there is no 'weigth_bits' here; did you mean weight_bits"):
        match(trials, "accuracy > 9 and weigth_bits = 4")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accuracy ~ 9", "accuracy is a number"),
        ("accuracy > high", "not 'high'"),
        ('accuracy > "92"', "not '92'"),
        ("student > 3", "student is text here"),
        ("label < 3", "label is text here"),
        ("weight_bits = 4 kB", "option without a unit"),
        ("weight_bits ~ 4", "weight_bits is a number"),
    ],
)
def test_a_sign_or_value_that_does_not_suit_is_refused(text, said):
    with pytest.raises(SpecError, match=said):
        match(sweep_trials(), text)


def test_the_sweeps_own_metric_goes_by_its_name_and_another_device_has_its_own_times():
    own = [
        replace(t, score=Score("score:Mean IoU:max:%", 0.5 + i / 100, 0.4, 0.9, 100))
        for i, t in enumerate(sweep_trials())
    ]
    assert int(match(own, "mean_iou >= 60 %").rows.sum()) == sum(t.score.value >= 0.6 for t in own)
    device = "stm32h7a3-xcubeai"
    at = Trials.of(own).numbers("latency_ms", device).value
    assert np.array_equal(match(own, "latency < 40 ms", device).rows, at < 40)
    assert match(own, "latency < 40 ms").rows.all()
