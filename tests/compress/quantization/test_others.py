"""Tables, recurrent layers and what else no integer kernel multiplies: kept in few bits, and what they are turned back to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.compress.quantization.others import other_values
from engine.compress.quantize import apply, make_scheme, prepare
from engine.errors import StepError
from engine.graph.count_demand import graph_demand
from engine.graph.count_layer_graph import layer_graph
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session, save_onnx
from engine.measure.size_parts import measure_parts
from engine.models.export import export_onnx
from engine.spec.steps import Quantize
from tests.helpers.tables import looked_up

NOTHING_ELSE = {"rounding": "nearest", "bias_correction": False, "equalize": False}


def with_values(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name].astype(np.float32), tensor.name))
    return result


def recurrent(kind: str, bidirectional: bool = False, peepholes: bool = False) -> onnx.ModelProto:
    """x (n, 9, 12) -> Transpose, LSTM or GRU of 16 units, Transpose -> (n, directions, 9, 16)."""
    rng, directions, gates = np.random.default_rng(4), 1 + bidirectional, {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    stored = {
        "w": rng.normal(size=(directions, gates * 16, 12)) * np.exp(rng.normal(size=(directions, gates * 16, 1))) * 0.1,
        "r": rng.normal(size=(directions, gates * 16, 16)) * 0.2,
        "b": rng.normal(size=(directions, 2 * gates * 16)) * 0.1,
    }
    inputs = ["t", "w", "r", "b"]
    if peepholes:
        stored["p"] = rng.normal(size=(directions, 3 * 16)) * 0.3
        inputs += ["", "", "", "p"]
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
            helper.make_node(
                kind, inputs, ["h"], hidden_size=16, direction="bidirectional" if bidirectional else "forward"
            ),
            helper.make_node("Transpose", ["h"], ["z"], perm=[2, 1, 0, 3]),
            helper.make_node("Flatten", ["z"], ["f"]),
            helper.make_node("MatMul", ["f", "head"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 9, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in stored.items()]
        + [numpy_helper.from_array(rng.normal(size=(directions * 144, 3)).astype(np.float32) * 0.1, "head")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


X = np.random.default_rng(5).normal(size=(20, 9, 12)).astype(np.float32)


def check(step: Quantize, model: onnx.ModelProto, data: np.ndarray, name: str = "x") -> onnx.ModelProto:
    """The file answers as the float network with the weights that its codes stand for."""
    found, scheme = apply(step, model, data), make_scheme(step, prepare(model, others=True), data)
    values = other_values(scheme) | {w: codes.values() for w, codes in scheme.weights.items()}
    assert other_values(scheme)
    wanted = open_session(with_values(scheme.model, values)).run(None, {name: data})[0]
    np.testing.assert_allclose(open_session(found).run(None, {name: data})[0], wanted, rtol=1e-4, atol=1e-4)
    return found


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("bits", [8, 5, 4])
def test_recurrent_weights_are_stored_in_few_bits(kind: str, bits: int) -> None:
    model = recurrent(kind, bidirectional=True)
    found = check(Quantize(weight_bits=bits, activation_bits=32, **NOTHING_ELSE), model, X)
    layer = next(x for x in graph_facts(found).layers if x.op_type == kind)
    assert (layer.weight_bits, layer.params) == (
        bits,
        next(x.params for x in graph_facts(model).layers if x.op_type == kind),
    )
    assert found.ByteSize() < model.ByteSize() / (32 / bits) + 4000


@pytest.mark.parametrize("bits", [8, 4])
def test_a_table_is_kept_as_codes_and_its_rows_are_turned_back(bits: int) -> None:
    ids = np.arange(60).reshape(-1, 4)
    found = check(Quantize(weight_bits=bits, activation_bits=32, **NOTHING_ELSE), looked_up(60, 40), ids, "ids")
    kept = graph_facts(found).layers[0]
    assert (kept.op_type, kept.weight_bits, kept.params) == ("Gather", bits, 2400)


def test_a_transposed_convolution_is_stored_in_few_bits_in_integer_networks_too() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(8, 16, 3), nn.Flatten(), nn.Linear(1600, 3)
    )
    torch.manual_seed(0)
    model, images = export_onnx(network.eval(), (1, 8, 8)), torch.randn(16, 1, 8, 8).numpy()
    check(Quantize(weight_bits=4, activation_bits=32, **NOTHING_ELSE), model, images, model.graph.input[0].name)
    found = apply(Quantize(weight_bits=8, activation_bits=8, **NOTHING_ELSE), model, images)
    layer = next(x for x in graph_facts(found).layers if x.op_type == "ConvTranspose")
    assert layer.weight_bits == 8
    exact, rounded = (open_session(m).run(None, {m.graph.input[0].name: images})[0] for m in (model, found))
    assert np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bits", [8, 6])
def test_an_lstm_multiplies_in_integers_that_are_rounded_as_it_runs(
    peepholes: bool, bidirectional: bool, bits: int, tmp_path: Path
) -> None:
    model = recurrent("LSTM", bidirectional, peepholes)
    step = Quantize(method="dynamic", weight_bits=bits, weight_range="safe", **NOTHING_ELSE)
    found = apply(step, model, X)
    assert "DynamicQuantizeLSTM" in {n.op_type for n in found.graph.node}
    scheme = make_scheme(step, prepare(model), X)
    values = other_values(scheme) | {w: codes.values() for w, codes in scheme.weights.items()}
    wanted = open_session(with_values(scheme.model, values)).run(None, {"x": X})[0]
    assert np.abs(open_session(found).run(None, {"x": X})[0] - wanted).max() < 0.03 * np.abs(wanted).max()
    layer = next(x for x in graph_facts(found).layers if x.op_type == "DynamicQuantizeLSTM")
    assert layer.activation_bits == 8
    assert graph_facts(found).macs == graph_facts(model).macs
    before, after = (graph_demand(m).layers[0] for m in (model, found))
    assert (after.weights, after.biases, after.weight_bits) == (before.weights, before.biases, min(bits, 7))
    save_onnx(found, tmp_path / "found.onnx")
    codes = (1 + bidirectional) * 4 * 16 * (12 + 16)  # of the input and of the state
    assert measure_parts(tmp_path / "found.onnx").by_layer[layer.name]["weights"] >= codes * min(bits, 7) // 8


def test_a_gru_for_which_there_is_no_such_kernel_computes_in_floats() -> None:
    found = check_ops(apply(Quantize(method="dynamic", **NOTHING_ELSE), recurrent("GRU"), X))
    assert {"GRU", "MatMulInteger"} <= found
    assert "DynamicQuantizeLSTM" not in found


def check_ops(model: onnx.ModelProto) -> set[str]:
    return {n.op_type for n in model.graph.node}


def without_last(model: onnx.ModelProto, shape: list[str | int]) -> onnx.ModelProto:
    """The graph up to what its last node reads."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    name = bare.graph.node.pop().input[0]
    bare.graph.output[0].CopyFrom(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return bare


@pytest.mark.parametrize("options", [{"activation_bits": 32}, {"activation_bits": 8}, {"activation_bits": 4}])
def test_networks_of_tables_or_recurrent_layers_alone_are_stored_in_few_bits(options: dict[str, int]) -> None:
    ids = np.arange(60).reshape(-1, 4)
    table, series = without_last(looked_up(60, 40), ["n", 4, 40]), without_last(recurrent("LSTM"), ["n", 16 * 9])
    for model, data, name in ((table, ids, "ids"), (series, X, "x")):
        found = check(Quantize(weight_bits=4, **options), model, data, name)
        assert [x.weight_bits for x in graph_facts(found).layers] == [4]
        shown = layer_graph(found)
        assert shown.notes == ()
        assert sum(box.is_layer for box in shown.boxes) == 1


def test_a_table_alone_is_stored_in_blocks_and_multiplies_nothing() -> None:
    model, ids = without_last(looked_up(60, 40), ["n", 4, 40]), np.arange(60).reshape(-1, 4)
    step = Quantize(method="block", weight_bits=4, block_size=16)
    found = apply(step, model, ids)
    assert check_ops(found) == {"GatherBlockQuantized", "Cast"}
    values = make_scheme(step, prepare(model, others=True), ids).blocks["table"].values().T
    np.testing.assert_allclose(open_session(found).run(None, {"ids": ids})[0], values[ids], rtol=1e-6)
    with pytest.raises(StepError, match="method dynamic is for matrix products, and the graph has none"):
        apply(Quantize(method="dynamic"), model, ids)
    with pytest.raises(StepError, match="no Conv, Gemm or MatMul"):
        prepare(model)
