"""Packed files: the same outputs to the last bit as plain ones, the same kernels, and the size that is claimed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantization.write import within_int32, write
from engine.compress.quantize import make_scheme, prepare
from engine.graph.counts import graph_facts
from engine.graph.graph import constant_value
from engine.graph.inline import inlined
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import (
    MIXTURE_SHAPE,
    calibrated,
    mixture,
    operators_at_run_time,
    pictures,
    pruned,
    relative_error,
    run,
)

torch.set_num_threads(1)
ALL_BITS = [2, 3, 4, 5, 6, 7, 8]
CALIBRATION, IMAGES = pictures(16, MIXTURE_SHAPE, 5), pictures(12, MIXTURE_SHAPE, 6)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return prepare(mixture())


def scheme_of(model: onnx.ModelProto, **options: object) -> Scheme:
    return make_scheme(Quantize(**{"weight_bits": 4, "activation_bits": 8} | options), model, CALIBRATION)


def same(scheme: Scheme, images: np.ndarray, folder: Path) -> None:
    """Outputs, with and without the runtime's optimizations, and kernels are those of the plain file."""
    packed, plain = write(scheme), write(scheme, packed=False)
    onnx.checker.check_model(packed, full_check=True)
    for optimize in (True, False):
        np.testing.assert_array_equal(run(packed, images, optimize), run(plain, images, optimize))
    assert operators_at_run_time(packed, folder) == operators_at_run_time(plain, folder)


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("activation_bits", [8, 5, 16, 32])
def test_outputs_are_the_same_to_the_last_bit(
    bits: int, activation_bits: int, model: onnx.ModelProto, tmp_path: Path
) -> None:
    for symmetric, per_channel in ((True, True), (True, False), (False, False)):
        kinds = {"symmetric": symmetric, "per_channel": per_channel}
        same(scheme_of(model, weight_bits=bits, activation_bits=activation_bits, **kinds), IMAGES, tmp_path)
    if activation_bits == 32:
        same(scheme_of(model, weight_bits=bits, activation_bits=32, symmetric=False), IMAGES, tmp_path)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("share", [0.3, 0.75, 0.95, 1.0])
def test_sparse_files_are_the_same_and_smaller(bits: int, share: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (1, 12, 12)
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()]
    dense = calibrated(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)), shape)
    sparse = prepare(pruned(dense, share))
    images = pictures(8, shape, 1)
    for options in ({"format": "u8s8"}, {"format": "u8u8"}, {"activation_bits": 32}):
        step = Quantize(**{"weight_bits": bits, "activation_bits": 8, "ends_8bit": False} | options)
        scheme = make_scheme(step, sparse, images)
        same(scheme, images, tmp_path)
        file = write(scheme)
        weights = sum(c.codes.size for c in scheme.weights.values())
        kept = sum(int(np.count_nonzero(c.codes)) for c in scheme.weights.values())
        # A bit for each weight and the others' codes is the most that a sparse file needs; gaps need less when few are left.
        best = min(weights * bits / 8, weights / 8 + kept * bits / 8)
        if share >= 0.95:
            best = min(best, kept * (bits + 6) / 8)
        assert file.ByteSize() < best + 4_500
        facts, before = graph_facts(file), graph_facts(sparse)
        assert {layer.weight_bits for layer in facts.layers} == {bits}
        assert facts.nonzero_params <= before.nonzero_params
        assert (facts.params, facts.macs) == (before.params, before.macs)


@pytest.mark.parametrize("bits", ALL_BITS)
@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2"])
def test_files_take_little_more_than_their_weights(bits: int, name: str) -> None:
    torch.manual_seed(0)
    model = prepare(calibrated(BUILDERS[name](), (1, 28, 28)))
    images = pictures(2, (1, 28, 28), 1)
    for activation_bits in (8, 32):
        scheme = make_scheme(Quantize(weight_bits=bits, activation_bits=activation_bits), model, images)
        ideal = sum(c.codes.size * c.bits for c in scheme.weights.values()) / 8
        assert all(c.bits == bits or (bits < 4 and c.bits == 8) for c in scheme.weights.values())
        size = len(write(scheme).SerializeToString())
        assert ideal < size <= 1.15 * ideal, size / ideal


def test_a_scheme_off_the_grid_is_stored_as_it_is(model: onnx.ModelProto, tmp_path: Path) -> None:
    from dataclasses import replace

    scheme = scheme_of(model)
    odd = {n: replace(c, scale=(c.scale * np.float32(1.0123)).astype(np.float32)) for n, c in scheme.weights.items()}
    changed = replace(scheme, weights=odd)
    same(changed, IMAGES, tmp_path)
    stored = inlined(write(changed))
    layers = [n for n in stored.graph.node if n.op_type in ("Conv", "Gemm")]
    for node, codes in zip(layers, odd.values(), strict=True):
        np.testing.assert_array_equal(constant_value(stored, node.input[1]), codes.values())


def test_stored_weights_are_the_schemes(model: onnx.ModelProto) -> None:
    for options in ({}, {"weight_bits": 3}, {"activation_bits": 32}, {"format": "u8u8", "weight_bits": 8}):
        scheme = scheme_of(model, **options)
        for packed in (True, False):
            graph = inlined(write(scheme, packed))
            for node, layer in zip(
                (n for n in graph.graph.node if n.op_type in ("Conv", "Gemm")), scheme.layers, strict=True
            ):
                assert node.name == layer.node.name
                found = constant_value(graph, node.input[1])
                np.testing.assert_array_equal(found, scheme.weights[layer.weight].values())


def test_names_that_differ_in_their_ends_alone_are_kept_apart(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 64, 40), nn.Linear(40, 40)
    )
    model = prepare(export_onnx(network, (1, 12, 12)))
    layers = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    names = ["/a/Conv", "/b/Conv", "/a/Gemm", "/b"]
    for node, name in zip(layers, names, strict=True):
        node.name = name
    images = pictures(4, (1, 12, 12), 1)
    scheme = make_scheme(Quantize(weight_bits=4, activation_bits=32), model, images)
    same(scheme, images, tmp_path)
    assert [layer.name for layer in graph_facts(write(scheme)).layers] == names


def test_8_bit_networks_stay_in_the_form_that_every_tool_reads_where_it_is_not_much_larger() -> None:
    torch.manual_seed(0)
    images = pictures(2, (1, 28, 28), 1)
    plain, packed = (
        write(
            make_scheme(
                Quantize(weight_bits=8, activation_bits=8),
                prepare(calibrated(BUILDERS[name](), (1, 28, 28))),
                images,
            )
        )
        for name in ("resnet20", "mobilenet_v2")
    )
    assert not plain.functions
    assert sum(n.op_type == "Conv" for n in plain.graph.node) == 21
    assert packed.functions


def test_a_bias_that_int32_cannot_hold_gets_a_larger_scale(model: onnx.ModelProto, tmp_path: Path) -> None:
    from dataclasses import replace

    scheme = scheme_of(model)
    layer = scheme.layers[0]
    codes = scheme.weights[layer.weight]
    tiny = codes.scale.copy()
    tiny[:2] = 1e-9
    bias = scheme.biases[layer.output].copy()
    bias[0] = 3.0
    broken = replace(
        scheme,
        weights=scheme.weights | {layer.weight: replace(codes, scale=tiny)},
        biases=scheme.biases | {layer.output: bias},
    )
    safe = within_int32(broken)
    scale = safe.weights[layer.weight].scale
    assert abs(bias[0]) / (scale[0] * scheme.activations[layer.data].scale) < 2**31
    np.testing.assert_array_equal(scale[2:], tiny[2:])
    # What the weights stood for is not lost where it matters beside such a bias.
    np.testing.assert_allclose(
        safe.weights[layer.weight].values(), broken.weights[layer.weight].values(), atol=float(scale[:2].max())
    )
    same(broken, IMAGES, tmp_path)


def test_the_codes_of_a_file_are_those_of_quantized_weight(model: onnx.ModelProto) -> None:
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    scheme = scheme_of(model, weight_bits=5, per_channel=False)
    for layer in scheme.layers:
        expected = quantized_weight(stored[layer.weight], layer.axis, 5, per_channel=False)
        np.testing.assert_array_equal(scheme.weights[layer.weight].codes, expected.codes)


@pytest.mark.parametrize("bits", [8, 4])
def test_channels_of_any_size_come_through(bits: int, tmp_path: Path) -> None:
    """Filters from 1e-7 to 1, whose outputs the next layer brings back to one size: scales that no byte can tell apart."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 80, 3, bias=False), nn.ReLU(), nn.Conv2d(80, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    spread = torch.logspace(-7, 0, 80)
    network[0].weight.data *= spread.view(-1, 1, 1, 1)
    network[2].weight.data /= spread.view(1, -1, 1, 1)
    # Its own rows are alike, and columns of any size in a row are what rounding by rows cannot hold: it stays in float.
    prepared = prepare(export_onnx(network.eval(), MIXTURE_SHAPE))
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    step = Quantize(weight_bits=bits, activation_bits=32, ends_8bit=False)
    scheme = make_scheme(step, prepared, CALIBRATION, {layers[1].weight: 32})
    same(scheme, IMAGES, tmp_path)
    error = relative_error(run(write(scheme), IMAGES), run(prepared, IMAGES, optimize=False))
    assert error < (0.02 if bits == 8 else 0.2)
