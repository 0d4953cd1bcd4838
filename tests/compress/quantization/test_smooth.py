"""Transformers in integers: ranges moved to the weights, what stays in float between the norms, and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.compress.quantization.smooth import smooth
from engine.compress.quantize import apply, prepare, quantized
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session, save_onnx
from engine.graph.multiplying import SMOOTHING
from engine.measure.size_parts import measure_parts
from engine.spec.steps import Quantize
from tests.helpers.small_transformer import series, small_transformer

DATA = series(256).numpy()
OTHERS = series(100, seed=1).numpy()
NEAREST = {"weight_bits": 8, "activation_bits": 8, "weight_range": "safe", "rounding": "nearest"}


def answers(model: onnx.ModelProto, x: np.ndarray = OTHERS) -> np.ndarray:
    found: np.ndarray = open_session(model).run(None, {model.graph.input[0].name: x})[0]
    return found


@pytest.fixture(scope="module", params=[False, True], ids=["norm after", "norm before"])
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return small_transformer(request.param)


def off(found: onnx.ModelProto, exact: np.ndarray) -> float:
    """The median over samples: what one of 100 has beyond all that was seen before weighs more than the rest together."""
    distance, length = (np.linalg.norm(x, axis=1) for x in (answers(found) - exact, exact - exact.mean(0)))
    return float(np.median(distance) / np.median(length))


@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
def test_the_float_network_answers_as_before(model: onnx.ModelProto, strength: float) -> None:
    moved = smooth(prepare(model), DATA, strength)
    np.testing.assert_allclose(answers(moved), answers(model), rtol=1e-3, atol=1e-4)


def test_norms_that_have_no_other_reader_take_the_division_in(model: onnx.ModelProto) -> None:
    moved = smooth(prepare(model), DATA, 0.75)
    makers = {o: n.op_type for n in moved.graph.node for o in n.output}
    added = [n for n in moved.graph.node if n.name.endswith("/smooth")]
    readers = [n for n in moved.graph.node if n.op_type in ("MatMul", "Gemm")]
    by_norms = {n.input[0] for n in readers if makers.get(n.input[0]) == "LayerNormalization"}
    # Where the norm comes after the sum, its output is also added to what comes next.
    assert len(by_norms) in (0, 4)
    assert bool(by_norms) != any(makers.get(n.input[0]) == "LayerNormalization" for n in added)


def test_moving_ranges_brings_integers_closer_and_is_chosen(model: onnx.ModelProto) -> None:
    exact = answers(model)
    plain, moved = (quantized(Quantize(**NEAREST, smooth=s), model, DATA) for s in (0, "auto"))
    assert any(word.startswith("smoothed") for word in moved.chosen)
    assert off(moved.model, exact) < 0.8 * off(plain.model, exact)


def test_matrices_multiply_integers_and_norms_see_floats(model: onnx.ModelProto) -> None:
    found = apply(Quantize(**NEAREST), model, DATA)
    facts = graph_facts(found)
    weighted = [x for x in facts.layers if x.macs and x.weight_bits]
    assert {(x.weight_bits, x.activation_bits) for x in weighted} == {(7, 8)}
    makers = {o: n.op_type for n in found.graph.node for o in n.output}
    assert all(
        makers.get(n.input[0]) != "DequantizeLinear" for n in found.graph.node if n.op_type == "LayerNormalization"
    )


@pytest.mark.parametrize("far", [-1e9, float("-inf"), float(np.finfo(np.float32).min)])
def test_masks_far_out_of_range_do_not_poison_ranges(far: float) -> None:
    net = small_transformer(far=far)
    assert off(apply(Quantize(**NEAREST), net, DATA), answers(net)) < 0.1


def test_what_ranges_are_divided_by_is_a_scale_and_no_parameter(model: onnx.ModelProto, tmp_path: Path) -> None:
    found = {s: apply(Quantize(**NEAREST, smooth=s), model, DATA) for s in (0, 0.75)}
    bare, moved = found[0], found[0.75]
    factors = [t for t in moved.graph.initializer if t.name.endswith(SMOOTHING)]
    assert factors
    assert graph_facts(moved).params == graph_facts(bare).params == graph_facts(model).params
    parts = []
    for made in (bare, moved):
        save_onnx(made, tmp_path / "m.onnx")
        parts.append(measure_parts(tmp_path / "m.onnx"))
    assert parts[1].by_type["biases"] == parts[0].by_type["biases"]
    assert parts[1].by_type["scales"] - parts[0].by_type["scales"] == 4 * sum(int(np.prod(t.dims)) for t in factors)
