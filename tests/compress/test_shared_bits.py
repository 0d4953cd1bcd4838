"""Bits that a step shares out by itself: kept where they answer calibration samples closer, and said."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engine.compress import shared_bits
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantize import prepare, quantized
from engine.compress.shared_bits import better_shared
from engine.graph.graph import open_session
from engine.spec.steps import Quantize
from tests.helpers.tiny_trained import tiny_graph

SAMPLES = np.random.default_rng(0).normal(size=(32, 1, 12, 12)).astype(np.float32)


def off(model: onnx.ModelProto) -> float:
    answers = []
    for graph in (tiny_graph(), model):
        session = open_session(graph)
        answers.append(session.run(None, {session.get_inputs()[0].name: SAMPLES})[0])
    return float(np.square(answers[0] - answers[1]).sum())


@pytest.mark.parametrize(("good", "classes"), [(True, True), (False, True), (True, False), (False, False)])
def test_the_closer_of_shared_out_and_alike_is_kept(good: bool, classes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of so small a network any other form is larger by more than is worth it.
    monkeypatch.setattr(shared_bits, "_MOST_BYTES", 10.0)
    prepared = prepare(tiny_graph())
    weights = list(dict.fromkeys(x.weight for x in find_layers(prepared.graph.node, weight_names(prepared.graph))))
    bits = dict.fromkeys(weights, 7 if good else 2) | {weights[1]: 6 if good else 3}
    step = Quantize(weight_bits=4, activation_bits=8)
    done, has_bits = better_shared(step, tiny_graph(), SAMPLES, bits, classes)
    alike, shared = (off(quantized(step, tiny_graph(), SAMPLES, b).model) for b in (None, bits))
    assert (shared < alike) == good == has_bits
    assert off(done.model) == pytest.approx(min(shared, alike))
    assert done.chosen == (("layers in 6 to 7 bits",) if good else ())


def test_what_is_much_larger_is_not_kept() -> None:
    prepared = prepare(tiny_graph())
    weights = list(dict.fromkeys(x.weight for x in find_layers(prepared.graph.node, weight_names(prepared.graph))))
    done, has_bits = better_shared(
        Quantize(weight_bits=4, activation_bits=8),
        tiny_graph(),
        SAMPLES,
        dict.fromkeys(weights, 7) | {weights[1]: 6},
        True,
    )
    assert not has_bits
    assert done.chosen == ()


def test_stated_bits_are_not_compared() -> None:
    prepared = prepare(tiny_graph())
    layer = find_layers(prepared.graph.node, weight_names(prepared.graph))[0]
    step = Quantize(weight_bits=4, activation_bits=8, layers={layer.node.name or layer.output: 2})
    done, has_bits = better_shared(step, tiny_graph(), SAMPLES, {layer.weight: 2}, True)
    assert has_bits
    assert off(done.model) == pytest.approx(off(quantized(step, tiny_graph(), SAMPLES, {layer.weight: 2}).model))
