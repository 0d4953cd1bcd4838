"""What is expected of recipes before anything runs: held against the shipped networks and against what pruning and bits say."""

from __future__ import annotations

import numpy as np
import pytest

from engine.models.catalog import zoo_index
from engine.search.evidence import Scale
from engine.search.guess import Guesses, guess
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from engine.spec.torch_steps import Distill, Prune

STUDENT = Distill(student="ds_cnn")
CHANNELS = Prune(method="channel", ratio=0.75)
ZEROS = Prune(method="magnitude", ratio=0.75)


def of(*steps: object) -> Recipe:
    return Recipe.from_json([step.model_dump(mode="json") for step in steps])


def test_the_baseline_is_the_baseline():
    found = guess(Recipe(), "resnet8")
    assert (found.bytes, found.time, found.harm) == (0, 0, 0)


def test_bytes_follow_from_bits_channels_and_students():
    zoo = zoo_index()
    assert np.exp(guess(of(Quantize(weight_bits=8, activation_bits=32)), "resnet8").bytes) == pytest.approx(0.25)
    assert np.exp(guess(of(CHANNELS), "resnet8").bytes) == pytest.approx(0.25)
    mixed = Quantize(weight_bits=8, activation_bits=32, mean_bits=4)
    assert np.exp(guess(of(mixed), "resnet8").bytes) == pytest.approx(0.125)
    student = guess(of(STUDENT), "resnet8")
    assert np.exp(student.bytes) == pytest.approx(zoo["ds_cnn"].params / zoo["resnet8"].params)
    # Zeros leave the time as it is; channels that are gone do not.
    assert guess(of(ZEROS), "resnet8").time == 0 > guess(of(CHANNELS), "resnet8").time
    both = guess(of(STUDENT, CHANNELS, Quantize(weight_bits=8, activation_bits=8)), "resnet8")
    assert both.bytes == pytest.approx(student.bytes + 2 * np.log(0.25))
    # A fresh student begins anew, whatever was pruned before.
    assert guess(of(CHANNELS, Distill(student="ds_cnn", teacher="previous")), "resnet8").bytes == student.bytes


def test_more_of_a_step_harms_more_and_training_with_it_less():
    harms = [guess(of(Quantize(weight_bits=b, activation_bits=8)), "resnet8").harm for b in (8, 4, 2)]
    assert harms == sorted(harms)
    trained = Quantize(weight_bits=2, activation_bits=8, method="qat", epochs=1)
    assert guess(of(trained), "resnet8").harm < harms[-1]
    assert guess(of(CHANNELS), "resnet8").harm > 0
    larger = guess(of(STUDENT), "ds_cnn")
    assert larger.harm == 0


def test_of_what_is_not_known_nothing_is_said():
    # A network of the user's own has no figures in the zoo, and a metric that is no size, time or share follows from none.
    assert guess(of(STUDENT), "own.onnx").bytes == 0
    found = Guesses.of([Recipe(), of(CHANNELS)], "resnet8")
    assert found.of_metric(Scale("nll", "host", "plain")).tolist() == [0, 0]
    assert found.of_metric(Scale("accuracy", "host", "share"))[1] < 0
    assert found.of_metric(Scale("size_bytes", "host", "size"))[1] == found.bytes[1] < 0
    assert found.of_metric(Scale("params", "host", "size"))[1] == 0


def test_harm_makes_a_share_less_and_an_error_more():
    found = Guesses.of([Recipe(), of(CHANNELS), of(Quantize(weight_bits=2, activation_bits=8))], "resnet8")
    # Energy is a time, and times become less by what makes the network smaller.
    up, down = [("ece", "size"), ("nll", "size"), ("flip_rate", "size")], [("top5", "share"), ("energy_mj", "size")]
    for (key, kind), sign in [*((one, 1) for one in up), *((one, -1) for one in down)]:
        told = found.of_metric(Scale(key, "host", kind))
        assert told[0] == 0, key
        assert (sign * told[1:] > 0).all(), key
    # 3.57 % wrong: log-odds of a right answer of 3.3; half a unit less of them is about half a unit more of the error's logarithm.
    right = 1 / (1 + np.exp(-3.3))
    harmed = 1 / (1 + np.exp(-3.3 + found.harm[1]))
    assert np.log((1 - harmed) / (1 - right)) == pytest.approx(
        found.of_metric(Scale("ece", "host", "size"))[1], rel=0.05
    )
