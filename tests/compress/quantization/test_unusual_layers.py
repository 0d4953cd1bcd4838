"""Layers as few exporters write them: one number as bias, odd tables, a recurrent layer's last state alone; and graphs without products."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.allocation import mixed_bits
from engine.compress.quantize import make_scheme, prepare, quantized
from engine.errors import StepError
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session
from engine.measure.emulation import Emulator
from engine.spec.steps import Quantize
from tests.compress.quantization.test_shared_weights import anywhere, embedded, graph, node, off

RNG = np.random.default_rng(4)
SERIES = RNG.normal(size=(16, 5, 24)).astype(np.float32)
TOKENS = RNG.integers(-40, 40, size=(24, 9))


def recurrent(operator: str, gates: int, zeros: float = 0.0) -> onnx.ModelProto:
    """(n, 5, 24) -> the last state of 20 units -> MatMul, Gemm with one number as bias -> (n, 4)."""

    def sparse(*shape: int) -> np.ndarray:
        return RNG.normal(size=shape) * 0.3 * (RNG.random(shape) >= zeros)

    nodes = [
        node("Transpose", ["x"], ["s"], perm=[1, 0, 2]),
        node(operator, ["s", "w", "r"], ["", "last"], "rec", hidden_size=20),
        node("Squeeze", ["last", "first"], ["h"]),
        node("MatMul", ["h", "a"], ["p"], "a"),
        node("Gemm", ["p", "b", "c"], ["y"], "b"),
    ]
    stored = {
        "w": sparse(1, 20 * gates, 24), "r": sparse(1, 20 * gates, 20), "a": sparse(20, 20), "b": sparse(20, 4),
        "c": np.array([0.5]), "first": np.array([0]),
    }  # fmt: skip
    return graph(nodes, helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 24]), **stored)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("step", [
    {"weight_bits": 8, "activation_bits": 8}, {"method": "dynamic"}, {"method": "dynamic", "format": "u8u8"},
    {"method": "dynamic", "weight_bits": 7, "format": "u8u8"}, {"method": "block", "weight_bits": 8, "block_size": 16},
])  # fmt: skip
def test_a_recurrent_layer_of_which_only_the_last_state_is_used(operator: str, gates: int, step: dict) -> None:
    model = recurrent(operator, gates)
    assert off(model, quantized(anywhere(step), model, SERIES).model, SERIES) < 0.02


@pytest.mark.parametrize("bits", [8, 6])
def test_an_lstm_of_unsigned_weights_is_exact_on_every_cpu(bits: int) -> None:
    model = recurrent("LSTM", 4, zeros=0.5)
    found = quantized(Quantize(method="dynamic", weight_bits=bits, format="u8u8"), model, SERIES).model
    assert not Emulator(found).possible
    signed = quantized(Quantize(method="dynamic", weight_bits=bits), model, SERIES).model
    with pytest.raises(StepError, match="cannot be emulated"):
        Emulator(signed)
    facts, exact = graph_facts(found), graph_facts(model)
    assert facts.layers[0].nonzero_params == graph_facts(signed).layers[0].nonzero_params
    assert (
        0.9 * exact.nonzero_params < facts.nonzero_params <= exact.nonzero_params + 3
    )  # the bias is stored for each output


@pytest.mark.parametrize(("weight_range", "bits"), [("safe", 7), ("full", 8)])
def test_the_safe_range_holds_for_lstms(weight_range: str, bits: int) -> None:
    step = Quantize.model_validate({"method": "dynamic", "weight_range": weight_range})
    scheme = make_scheme(step, prepare(recurrent("LSTM", 4)), SERIES)
    assert {codes.bits for codes in (*scheme.others.values(), *scheme.weights.values())} == {bits}


@pytest.mark.parametrize("columns", [40, 41])
@pytest.mark.parametrize("symmetric", [True, False])
def test_rows_of_a_table_in_blocks_of_four_bits(columns: int, symmetric: bool) -> None:
    model = embedded(node("Identity", ["h"], ["y"]), columns=columns)
    for tensor in model.graph.initializer:
        if tensor.name == "table":
            value = numpy_helper.to_array(tensor) * (RNG.random((40, columns)) < 0.5)
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), "table"))
    step = Quantize(method="block", block_size=32, symmetric=symmetric, accuracy_level=0)
    found = quantized(step, model, TOKENS).model
    assert "GatherBlockQuantized" in {n.op_type for n in found.graph.node}
    assert off(model, found, TOKENS) < 0.15
    table, exact = graph_facts(found).layers[0], graph_facts(model).layers[0]
    # The filler that makes an odd row whole bytes is no weight.
    assert table.params == 40 * columns
    assert 0.8 * exact.nonzero_params < table.nonzero_params <= exact.nonzero_params


@pytest.mark.parametrize("method", ["dynamic", "block"])
def test_methods_of_products_are_refused_where_there_are_none(method: str) -> None:
    model = graph(
        [
            node("Conv", ["x", "w"], ["c"], "conv"),
            node("GlobalAveragePool", ["c"], ["p"]),
            node("Flatten", ["p"], ["y"]),
        ],
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 6, 6]),
        w=RNG.normal(size=(4, 3, 3, 3)),
    )
    images = RNG.normal(size=(4, 3, 6, 6)).astype(np.float32)
    with pytest.raises(
        StepError, match=f"method {method} is for matrix products, and the graph has none; use method ptq"
    ):
        quantized(Quantize.model_validate({"method": method}), model, images)
    assert open_session(quantized(Quantize(weight_bits=8, activation_bits=8), model, images).model)


@pytest.mark.parametrize("smooth", ["auto", 0.6])
def test_a_norm_of_one_scale_for_all_channels(smooth: float | str) -> None:
    nodes = [
        node("LayerNormalization", ["x", "scale", "bias"], ["l"], "norm"),
        node("MatMul", ["l", "a"], ["p"], "a"),
        node("Tanh", ["p"], ["t"]),
        node("MatMul", ["t", "b"], ["y"], "b"),
    ]
    stored = {
        "scale": np.array([2.5]),
        "bias": RNG.normal(size=24),
        "a": RNG.normal(size=(24, 8)) * 0.1,
        "b": np.eye(8),
    }
    model = graph(nodes, helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 24]), **stored)
    found = quantized(anywhere({"method": "dynamic", "smooth": smooth}), model, SERIES).model
    assert off(model, found, SERIES) < 0.02


def test_all_layers_but_an_lstm_may_stay_in_float() -> None:
    model = recurrent("LSTM", 4)
    bits = mixed_bits(Quantize(method="dynamic", layers={"a": 32, "b": 32}), prepare(model))
    kinds = {n.op_type for n in quantized(Quantize(method="dynamic"), model, SERIES, bits).model.graph.node}
    assert "DynamicQuantizeLSTM" in kinds
    assert "MatMulInteger" not in kinds
