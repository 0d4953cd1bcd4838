"""Every type of codes becomes the kernels that it is meant for, in stock ONNX Runtime, and computes what it says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from engine.compress.quantization.qdq_placement import place
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.write import write
from engine.compress.quantize import make_scheme, prepare
from engine.graph.counts import graph_facts
from engine.graph.inline import inlined
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import MIXTURE_SHAPE, mixture, operators_at_run_time, pictures, relative_error, run

torch.set_num_threads(1)
CALIBRATION, IMAGES = pictures(24, MIXTURE_SHAPE, 5), pictures(16, MIXTURE_SHAPE, 6)
# Five convolutions, two Gemms and a sum; pooling runs on codes, ReLUs are gone into the kernels before them.
FUSED = {"QLinearConv": 5, "QGemm": 2, "QLinearAdd": 1, "QLinearGlobalAveragePool": 1, "MaxPool": 1}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return prepare(mixture())


def scheme_of(model: onnx.ModelProto, bits: dict[str, int] | None = None, **options: object) -> Scheme:
    step = Quantize(**{"weight_bits": 8, "activation_bits": 8, "calibration": "minmax"} | options)
    return make_scheme(step, model, CALIBRATION, bits)


def kernels(ran: Counter[str]) -> dict[str, int]:
    """Those that compute: what only rounds and moves is left out."""
    return {
        op: n for op, n in ran.items() if op not in ("QuantizeLinear", "DequantizeLinear", "Clip", "Flatten", "Relu")
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["u8s8", "u8u8", "s8s8"])
@pytest.mark.parametrize(("per_channel", "symmetric"), [(True, True), (False, True), (False, False)])
def test_every_format_runs_integer_kernels(
    form: str, per_channel: bool, symmetric: bool, packed: bool, model: onnx.ModelProto, tmp_path: Path
) -> None:
    scheme = scheme_of(model, weight_bits=7, format=form, per_channel=per_channel, symmetric=symmetric)
    quantized = write(scheme, packed)
    onnx.checker.check_model(quantized, full_check=True)
    # On x86 the runtime turns int8 activations into uint8 first, and does not manage where a tensor has two readers.
    ran = operators_at_run_time(quantized, tmp_path, int8_allowed=form == "s8s8")
    assert kernels(ran) == FUSED
    types = {t.data_type for t in inlined(quantized).graph.initializer}
    assert (TensorProto.UINT8 in types) or form == "s8s8" or packed
    assert relative_error(run(quantized, IMAGES), run(quantized, IMAGES, optimize=False)) < 0.02
    assert relative_error(run(quantized, IMAGES), run(model, IMAGES)) < (0.05 if per_channel else 0.15)


def test_int8_activations_fuse_in_a_stock_x86_session_where_every_tensor_has_one_reader(tmp_path: Path) -> None:
    torch.manual_seed(0)
    from engine.models.export import export_onnx

    layers = [torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.Flatten()]
    model = prepare(export_onnx(torch.nn.Sequential(*layers, torch.nn.Linear(8 * 144, 3)), MIXTURE_SHAPE))
    scheme = make_scheme(Quantize(weight_bits=8, activation_bits=8, format="s8s8"), model, CALIBRATION)
    for packed in (False, True):
        assert kernels(operators_at_run_time(write(scheme, packed), tmp_path)) == {"QLinearConv": 2, "QGemm": 1}


@pytest.mark.parametrize("form", ["u8s8", "s8s8"])
@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_fewer_activation_bits_clip_codes_between_integer_kernels(
    bits: int, form: str, model: onnx.ModelProto, tmp_path: Path
) -> None:
    scheme = scheme_of(model, activation_bits=bits, format=form)
    errors = []
    for packed in (False, True):
        quantized = write(scheme, packed)
        assert kernels(operators_at_run_time(quantized, tmp_path, int8_allowed=form == "s8s8")) == FUSED
        assert {layer.activation_bits for layer in graph_facts(quantized).layers} == {bits}
        errors.append(relative_error(run(quantized, IMAGES), run(model, IMAGES)))
    assert errors[0] == errors[1]
    eight = write(scheme_of(model))
    assert relative_error(run(eight, IMAGES), run(model, IMAGES)) < errors[0] < 3 * 2.0 ** (2 - bits)


def test_codes_really_are_as_few_as_claimed(model: onnx.ModelProto) -> None:
    """Every rounded tensor, read out of the file: no more than 2^bits values, all multiples of its scale."""
    scheme = scheme_of(model, activation_bits=5, ends_8bit=True)
    graph = write(scheme, packed=False)
    readers = {name: n for n in graph.graph.node for name in n.input}
    codes = [n.input[0] for n in graph.graph.node if n.op_type == "DequantizeLinear" and readers[n.output[0]].op_type]
    dynamic = [c for c in codes if c not in {t.name for t in graph.graph.initializer}]
    from engine.graph.graph import open_session, with_outputs

    session = open_session(with_outputs(graph, dynamic))
    values = dict(zip(dynamic, session.run(None, {graph.graph.input[0].name: IMAGES * 2}), strict=True))
    widest = sorted(int(v.max()) for v in values.values())
    assert widest[-2:] == [255, 255]  # the image and what the last layer reads
    assert set(widest[:-2]) <= set(range(20, 32))


@pytest.mark.parametrize("biased", [True, False])
def test_16_bit_activations_compute_in_float_on_unspoilt_weights(
    model: onnx.ModelProto, tmp_path: Path, biased: bool
) -> None:
    """The runtime rounds stored float weights to 8 bits per tensor by itself where it can (see write_plain.float_inputs)."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    for node in model.graph.node if not biased else ():
        if node.op_type == "Conv":
            del node.input[2:]
    scheme = scheme_of(model, weight_bits=7, activation_bits=16)
    expected = run(write(scheme_of(model, weight_bits=7, activation_bits=32), packed=False), CALIBRATION)
    for packed in (False, True):
        quantized = write(scheme, packed)
        ran = operators_at_run_time(quantized, tmp_path)
        assert (ran["Conv"], ran["Gemm"], ran["QLinearConv"]) == (5, 2, 0)
        assert relative_error(run(quantized, CALIBRATION), expected) < 2e-3
        assert {layer.activation_bits for layer in graph_facts(quantized).layers} == {16}


def test_layers_kept_in_float_are_kept_in_float(model: onnx.ModelProto, tmp_path: Path) -> None:
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    kept = {convolutions[1].input[1]: 32, convolutions[4].input[1]: 32}
    scheme = scheme_of(model, kept)
    assert not set(kept) & scheme.weights.keys()
    for packed in (False, True):
        quantized = write(scheme, packed)
        ran = operators_at_run_time(quantized, tmp_path)
        assert (ran["QLinearConv"], ran["Conv"] + ran["FusedConv"]) == (3, 2)
        # Unless the runtime has rounded the float weights after all, both agree to the odd code.
        assert relative_error(run(quantized, IMAGES), run(quantized, IMAGES, optimize=False)) < 0.01
        facts = {layer.name: layer for layer in graph_facts(quantized).layers}
        assert [facts[convolutions[i].name].weight_bits for i in (0, 1, 4)] == [8, 32, 32]


def test_bits_of_single_layers_are_as_asked(model: onnx.ModelProto) -> None:
    names = [n.input[1] for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    wanted = dict(zip(names, [8, 2, 3, 4, 5, 6, 7], strict=True))
    scheme = scheme_of(model, wanted, weight_bits=8)
    assert {name: codes.bits for name, codes in scheme.weights.items()} == wanted
    for packed in (True, False):
        facts = graph_facts(write(scheme, packed))
        assert [layer.weight_bits for layer in facts.layers] == [wanted[n] if packed else 8 for n in names]
    np.testing.assert_array_equal(run(write(scheme), IMAGES), run(write(scheme, False), IMAGES))


def test_the_ends_keep_8_bits_where_the_step_says_so(model: onnx.ModelProto) -> None:
    names = [n.input[1] for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    for options, ends, inner in (
        ({"weight_bits": 3}, 8, 3),
        ({"weight_bits": 4}, 4, 4),
        ({"weight_bits": 4, "ends_8bit": True}, 8, 4),
        ({"weight_bits": 3, "ends_8bit": False}, 3, 3),
    ):
        bits = [scheme_of(model, **options).weights[n].bits for n in names]
        assert bits == [ends, *[inner] * (len(names) - 2), ends]
    scheme = scheme_of(model, weight_bits=4, activation_bits=4, ends_8bit=True)
    layers = graph_facts(write(scheme)).layers
    assert [layer.activation_bits for layer in layers] == [8, *[4] * (len(names) - 2), 8]


def test_roundings_go_where_kernels_read_and_write(model: onnx.ModelProto) -> None:
    placement = place(model)
    kinds = Counter(n.op_type for n in placement.nodes)
    # ReLUs after convolutions and sums go; the one after a Gemm stays, since Gemm's kernel has none.
    assert kinds["Relu"] + kinds["Clip"] == 1
    assert placement.rounded[0] == model.graph.input[0].name
    assert model.graph.output[0].name not in placement.rounded
    for output, source in placement.shared.items():
        maker = next(n for n in placement.nodes if output in n.output)
        assert (maker.op_type, source) in (("MaxPool", maker.input[0]), ("Flatten", maker.input[0]))
        assert placement.root(output) != output
    weights = {t.name for t in model.graph.initializer if len(numpy_helper.to_array(t).shape) > 1}
    floating = place(model, weights)
    assert not floating.rounded
    assert [n.op_type for n in floating.nodes] == [n.op_type for n in model.graph.node]
