"""How few layers stay in float: the search, and what it makes of a real network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.compress.quantization.allocation import mixed_bits, ranked
from engine.compress.quantization.part import in_float
from engine.compress.quantization.sensitivity import measure_sensitivity
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import Quantized, make_scheme, prepare, quantized
from engine.datasets.splits import Split
from engine.graph.graph import save_onnx
from engine.measure.answers import answers
from engine.quality.drop import drop
from engine.run import float_layers
from engine.run.float_layers import climbed, fewest_in_float
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import run
from tests.helpers.tiny_trained import tiny_data, tiny_graph

torch.set_num_threads(1)
DATA = tiny_data()


@pytest.mark.parametrize("needed", range(34))
def test_the_fewest_are_found_in_few_tries(needed: int) -> None:
    tried: list[int] = []

    def lost(count: int) -> float:
        tried.append(count)
        return 0.4 if count >= needed else 0.6

    assert climbed(lost, 33, 0.5) == needed
    assert len(tried) == len(set(tried))
    assert len(tried) <= 12


@pytest.mark.parametrize("guess", [1, 5, 20, 33, 50])
@pytest.mark.parametrize("needed", [0, 1, 4, 19, 20, 21, 33])
def test_a_guess_decides_how_many_are_tried_not_what_is_found(needed: int, guess: int) -> None:
    tried: list[int] = []

    def lost(count: int) -> float:
        tried.append(count)
        return 0.4 if count >= needed else 0.6

    assert climbed(lost, 33, 0.5, guess) == needed
    assert len(tried) == len(set(tried))
    assert max(tried) <= 33
    assert len(tried) <= (3 if needed in (0, guess) else 12)


def test_where_no_number_is_enough_the_best_of_them_is_taken() -> None:
    assert climbed(lambda count: 2 - 0.1 * count, 7, 0.5) == 7
    assert climbed(lambda count: {0: 3.0, 1: 2.0, 2: 2.5, 4: 2.0, 5: 4.0}[count], 5, 0.5) == 1


@pytest.fixture(scope="module")
def ranks() -> dict[str, dict[str, float]]:
    step = Quantize(weight_bits=8, activation_bits=8)
    return measure_sensitivity(step, tiny_graph(), DATA)


def test_one_width_of_a_sensitivity_is_what_all_of_them_say_of_it(ranks: dict[str, dict[str, float]]) -> None:
    alone = measure_sensitivity(Quantize(weight_bits=8, activation_bits=8), tiny_graph(), DATA, (4,))
    assert alone == {name: {"4": costs["4"]} for name, costs in ranks.items()}


COARSE = {"weight_bits": 2, "activation_bits": 4, "ends_8bit": False, "rounding": "nearest"}
COARSE |= {"per_channel": False, "format": "u8u8", "bias_correction": False}


def found(tmp_path: Path, ranks: dict[str, dict[str, float]], **options: object):
    path = tmp_path / "float.onnx"
    save_onnx(tiny_graph(), path)
    return fewest_in_float(Quantize(**COARSE, **options), path, DATA, ranks, None)


def test_a_rung_is_the_recipe_of_as_many_float_layers(tmp_path: Path, ranks: dict[str, dict[str, float]]) -> None:
    """So `float_layers: [1, 2, 4]` makes points of the ladder's rungs, each measured like any other."""
    done, shown = found(tmp_path, ranks, max_drop=0.01)
    count = sum(bits == 32 for bits in shown["layer_bits"].values())
    assert 0 < count < len(shown["layer_bits"])
    step = Quantize(**COARSE, float_layers=count)
    bits = mixed_bits(step, prepare(tiny_graph()), ranks)
    images = DATA.preprocessing(DATA.calibrating(step.calibration_samples).inputs)
    assert quantized(step, tiny_graph(), images, bits).model == done.model


@pytest.mark.parametrize(("samples", "shows"), [(2000, True), (60, False)])
def test_the_interval_has_to_end_within_the_limit_where_it_can(
    tmp_path: Path, ranks: dict[str, dict[str, float]], samples: int, shows: bool
) -> None:
    """60 samples leave 6 points open whatever is answered, so that the number itself decides; and that is said."""
    many = np.arange(samples) % len(DATA.validation)
    data = replace(DATA, validation=Split(DATA.validation.inputs[many], DATA.validation.labels[many]))
    path = tmp_path / "float.onnx"
    save_onnx(tiny_graph(), path)
    done, _ = fewest_in_float(Quantize(**COARSE, max_drop=2.0), path, data, ranks, None)
    after, _ = answers(written(done, tmp_path), data.validation, data, None)
    before, _ = answers(path, data.validation, data, None)
    lost = drop(after, before, data.validation.labels, data.classes, None)
    assert lost.value <= 2
    assert (lost.high <= 2) == shows
    assert done.note is not None
    assert ("too few samples to show it" in done.note) != shows


def written(done: Quantized, folder: Path) -> Path:
    save_onnx(done.model, folder / "done.onnx")
    return folder / "done.onnx"


def test_a_limit_that_cannot_be_kept_says_how_far_off_the_best_is(
    tmp_path: Path, ranks: dict[str, dict[str, float]]
) -> None:
    prepared = prepare(tiny_graph())
    names = [layer.node.name for layer in find_layers(prepared.graph.node, weight_names(prepared.graph))]
    done, shown = found(tmp_path, ranks, max_drop=1e-6, layers=dict.fromkeys(names[1:], 2))
    assert done.note is not None
    assert done.note.startswith("the limit cannot be kept: at best no layer of 1 in float: ")
    assert "1e-06 allowed" in done.note
    assert set(shown["layer_bits"].values()) == {2}


def test_guessing_finds_what_going_up_from_none_finds(
    tmp_path: Path, ranks: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On fewer networks that are rounded as the step says; the rough ones are not among them."""
    found_by, made = {}, []

    def counted(*arguments: object) -> Quantized:
        made.append(arguments)
        return quantized(*arguments)

    monkeypatch.setattr(float_layers, "quantized", counted)
    for worth in (1, 1000):
        monkeypatch.setattr(float_layers, "_WORTH_GUESSING", worth)
        made.clear()
        found_by[worth] = found(tmp_path, ranks, max_drop=1.0)
        assert len(made) == len(set(map(str, (m[3] for m in made))))
    guessed, climbing = found_by.values()
    assert guessed[1] == climbing[1]
    assert guessed[0].model == climbing[0].model


@pytest.mark.parametrize("stated", [0, 2])
def test_layers_left_in_float_are_as_they_were_and_the_others_as_rounded(stated: int) -> None:
    """Those that the step itself states in float stay so beside them."""
    step = Quantize(weight_bits=4, activation_bits=8, rounding="nearest")
    prepared, images = prepare(tiny_graph()), DATA.preprocessing(DATA.calibration.inputs)
    names = list(make_scheme(step, prepared, images).weights)
    whole = make_scheme(step, prepared, images, dict.fromkeys(names[2 : 2 + stated], 32))
    part, own = in_float(whole, names[:2]), make_scheme(step, prepared, images, dict.fromkeys(names[: 2 + stated], 32))
    assert list(part.weights) == names[2 + stated :]
    assert part.activations.keys() == own.activations.keys()
    assert part.biases.keys() == own.biases.keys()
    x = DATA.preprocessing(DATA.test.inputs)
    exact, rough, real = (run(m, x) for m in (prepared, write(part), write(own)))
    # What was calibrated together may differ in the last digits of a scale.
    assert np.linalg.norm(rough - real) < 0.1 * np.linalg.norm(real - exact)


def test_the_cheapest_come_first_by_harm_for_each_millisecond() -> None:
    bits = dict.fromkeys("abcd", 8)
    harm = {"a": {"8": 4.0}, "b": {"8": 1.0}, "c": {"8": 2.0}, "d": {"8": 0.5}}
    times = {"": (1.0, 1.0), "a": (9.0, 1.0), "b": (2.0, 1.0), "c": (3.0, 2.5), "d": (1.0, 1.2)}
    assert ranked(harm, bits, {}) == ["a", "c", "b", "d"]
    assert ranked(harm, bits, {}, times) == ["d", "c", "b", "a"]
    assert ranked(harm, bits, {"c": 8}, times) == ["d", "b", "a"]
