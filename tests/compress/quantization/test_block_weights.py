"""Weights in blocks: what is stored, what ONNX Runtime makes of it, and what learning their codes brings."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from engine.compress.quantization.block_weights import nearest_blocks, packed
from engine.compress.quantize import apply, make_scheme, prepare
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session
from engine.spec.steps import Quantize
from tests.compress.quantization.test_dynamic import DATA, products, run
from tests.helpers.tables import looked_up


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_blocks_are_no_further_from_a_matrix_than_half_a_step(bits: int, symmetric: bool) -> None:
    matrix = np.random.default_rng(1).normal(size=(50, 7)).astype(np.float32)
    blocks = nearest_blocks(matrix, bits, 16, symmetric)
    assert blocks.codes.shape == (7, 4, 16)
    step = np.repeat(blocks.scale, 16, axis=1)[:, :50].T
    off = np.abs(blocks.values() - matrix) / step
    # Clipped ends aside, of which few bits have some.
    assert np.mean(off <= 0.501) > (0.85 if bits == 4 else 0.999)
    assert blocks.symmetric == symmetric or not symmetric
    assert np.array_equal(blocks.scale.astype(np.float16).astype(np.float32), blocks.scale)


def test_codes_are_packed_with_the_first_in_the_lowest_bits() -> None:
    assert packed(np.array([[1, 2, 3]], np.uint8), 4).tolist() == [[0x21, 0x03]]
    assert packed(np.array([[200, 7]], np.uint8), 8).tolist() == [[200, 7]]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "size", "level"), [(4, 16, 0), (4, 32, 4), (8, 64, 0), (8, 16, 4)])
def test_the_runtime_multiplies_what_the_blocks_stand_for(
    transposed: bool, symmetric: bool, bits: int, size: int, level: int
) -> None:
    model = products(transposed)
    step = Quantize(
        method="block", weight_bits=bits, block_size=size, accuracy_level=level, symmetric=symmetric, rounding="nearest"
    )
    found = apply(step, model, DATA)
    assert [n.op_type for n in found.graph.node].count("MatMulNBits") == 2
    facts = graph_facts(found)
    assert [x.weight_bits for x in facts.layers if x.macs] == [bits] * 2
    assert (facts.macs, facts.params) == (graph_facts(model).macs, graph_facts(model).params)
    scheme = make_scheme(step, prepare(model), DATA)
    values = {layer.output: scheme.blocks[layer.weight].values().astype(np.float64) for layer in scheme.layers}
    w1, w2 = values.values()
    stored = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    hidden = np.maximum(DATA.astype(np.float64) @ w1 + stored["b1"], 0).reshape(len(DATA), -1)
    wanted = hidden @ w2 + stored["b2"]
    # Level 4 rounds data to 8 bits inside the kernel.
    assert np.abs(run(found, DATA) - wanted).max() < (1e-4 if level == 0 else 0.03) * np.abs(wanted).max()


def test_learned_codes_bring_answers_closer_and_stay_next_to_the_weights() -> None:
    mixing = np.random.default_rng(2).normal(size=(24, 24)).astype(np.float32)
    data, model = DATA @ mixing, products()
    exact = run(model, data)
    made = {
        rounding: apply(Quantize(method="block", accuracy_level=0, rounding=rounding), model, data)
        for rounding in ("nearest", "auto")
    }
    off = {name: np.square(run(found, data) - exact).mean() for name, found in made.items()}
    assert off["auto"] < 0.7 * off["nearest"]
    assert made["auto"].ByteSize() == made["nearest"].ByteSize()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_rows_are_looked_up_in_blocks(bits: int, symmetric: bool) -> None:
    model = looked_up(60, 40)
    step = Quantize(
        method="block", weight_bits=bits, block_size=16, accuracy_level=0, symmetric=symmetric, rounding="nearest"
    )
    found = apply(step, model, np.zeros((1, 4), np.int64))
    assert [n.op_type for n in found.graph.node if "Gather" in n.op_type] == ["GatherBlockQuantized"]
    scheme = make_scheme(step, prepare(model), np.zeros((1, 4), np.int64))
    ids = np.arange(60).reshape(-1, 4)
    table, weight = (scheme.blocks[name].values() for name in ("table", next(x.weight for x in scheme.layers)))
    wanted = table.T.astype(np.float64)[ids] @ weight
    np.testing.assert_allclose(open_session(found).run(None, {"ids": ids})[0], wanted, rtol=1e-4, atol=1e-4)
    facts = {x.op_type: x for x in graph_facts(found).layers}
    assert facts["GatherBlockQuantized"].weight_bits == bits
    assert facts["GatherBlockQuantized"].params == 60 * 40


def test_a_table_narrower_than_a_block_is_kept_a_row_at_a_time() -> None:
    found = apply(
        Quantize(method="block", block_size=64, rounding="nearest"), looked_up(60, 40), np.zeros((1, 4), np.int64)
    )
    assert "GatherBlockQuantized" not in {n.op_type for n in found.graph.node}
    assert graph_facts(found).layers[0].weight_bits == 4


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_fills_the_last_byte_of_a_row_is_no_parameter(symmetric: bool) -> None:
    step = Quantize(
        method="block", weight_bits=4, block_size=16, accuracy_level=0, symmetric=symmetric, rounding="nearest"
    )
    model, ids = looked_up(60, 41), np.zeros((1, 4), np.int64)
    facts = {x.op_type: x for x in graph_facts(apply(step, model, ids)).layers}
    codes = make_scheme(step, prepare(model), ids).blocks["table"]
    differ = (codes.codes != codes.zero_point[:, :, None]).reshape(60, -1)[:, :41]
    assert facts["GatherBlockQuantized"].params == 60 * 41
    assert facts["GatherBlockQuantized"].nonzero_params == differ.sum()
