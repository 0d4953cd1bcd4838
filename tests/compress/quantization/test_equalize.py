"""Cross-layer equalisation: the float function stays, ranges become alike, ReLU6's bound is kept, integer networks gain."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.kinds import limit_codes
from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.graph.counts import graph_facts
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import calibrated, operators_at_run_time, pictures, relative_error, run

torch.set_num_threads(1)
SHAPE = (2, 12, 12)


def chain(activation: nn.Module, spread: float = 2.0) -> onnx.ModelProto:
    """Plain, depthwise, pointwise and grouped convolutions whose filters differ by orders of magnitude."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1),
        activation,
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        activation,
        nn.Conv2d(16, 24, 1, bias=False),
        nn.Conv2d(24, 12, 3, groups=3),
        activation,
        nn.Conv2d(12, 8, 3),
        activation,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv2d):
                last = layer.out_channels == 8  # nothing after it to balance its filters with
                layer.weight *= 4 * torch.exp((0 if last else spread) * torch.randn(layer.out_channels, 1, 1, 1))
                if layer.bias is not None:
                    layer.bias.copy_(torch.randn(layer.out_channels))
    return prepare(export_onnx(network, SHAPE))


def ranges(model: onnx.ModelProto) -> list[np.ndarray]:
    """The largest weight of each filter, convolution by convolution."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = [stored[n.input[1]] for n in model.graph.node if n.op_type == "Conv"]
    return [np.abs(w).reshape(len(w), -1).max(axis=1) for w in weights]


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.1), nn.Hardtanh(0, 1.5)])
def test_the_float_function_stays_the_same(activation: nn.Module) -> None:
    model = chain(activation)
    before = model.SerializeToString()
    equalized = equalize(model)
    onnx.checker.check_model(equalized, full_check=True)
    for scale in (1, 20):  # the larger images drive activations far beyond any bound
        images = pictures(16, SHAPE, 3) * scale
        np.testing.assert_allclose(
            run(equalized, images), run(model, images), rtol=2e-4, atol=1e-4 * np.abs(run(model, images)).max()
        )
    assert model.SerializeToString() == before
    spreads = [[r.max() / r.min() for r in ranges(m)[:4]] for m in (model, equalized)]
    # All but the last convolution's filters now have ranges within a small factor of each other's, per pair exactly alike.
    assert min(spreads[0]) > 20
    assert np.median(spreads[1]) < np.median(spreads[0]) / 10
    facts = [graph_facts(m) for m in (model, equalized)]
    assert facts[0].macs == facts[1].macs
    assert [x.name for x in facts[0].layers] == [x.name for x in facts[1].layers]


def test_filters_and_what_reads_them_end_with_equal_ranges() -> None:
    """The fixed point of Nagel et al.'s equation 9, checked on the weights with plain loops."""
    equalized = equalize(chain(nn.ReLU()))
    stored = {t.name: numpy_helper.to_array(t) for t in equalized.graph.initializer}
    convolutions = [n for n in equalized.graph.node if n.op_type == "Conv"]
    for first, second in itertools.pairwise(convolutions):
        groups = next(a.i for a in second.attribute if a.name == "group")
        w1, w2 = stored[first.input[1]], stored[second.input[1]]
        per_group = w2.shape[0] // groups
        for channel in range(len(w1)):
            group, local = divmod(channel, w2.shape[1])
            readers = w2[group * per_group : (group + 1) * per_group, local]
            assert np.abs(w1[channel]).max() == pytest.approx(np.abs(readers).max(), rel=0.02)


def test_only_single_readers_and_known_activations_are_crossed() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(2 if i == 0 else 6, 6, 3, padding=1) for i in range(3))
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(x))  # read by b and by the sum
            y = torch.sigmoid(self.b(x))  # not homogeneous
            return self.head(self.c(y) + x)

    torch.manual_seed(0)
    model = prepare(export_onnx(Branches(), SHAPE))
    assert equalize(model) == model
    tied = prepare(calibrated(BUILDERS["recursive_resnet"](), (1, 28, 28)))
    images = pictures(4, (1, 28, 28), 1)
    np.testing.assert_allclose(run(equalize(tied), images), run(tied, images), atol=1e-4)


@pytest.mark.parametrize("form", ["u8s8", "u8u8"])
def test_bounds_of_channels_are_taken_of_codes_between_integer_kernels(form: str, tmp_path: Path) -> None:
    model = chain(nn.ReLU6(), spread=0.7)
    images = pictures(48, SHAPE, 4)
    exact = run(model, images)
    step = Quantize(weight_bits=8, activation_bits=8, per_channel=False, format=form, calibration="minmax")
    scheme = make_scheme(step, equalize(model), images)
    assert scheme.limits
    assert all(limit_codes(scheme, name) is not None for name in list(scheme.limits)[:1])
    for packed in (False, True):
        quantized = write(scheme, packed)
        ran = operators_at_run_time(quantized, tmp_path)
        assert (ran["QLinearConv"], ran["Conv"], ran["Relu"]) == (5, 0, 0)
        assert ran["Min"] == sum(limit_codes(scheme, name) is not None for name in scheme.limits)
        assert relative_error(run(quantized, images), run(quantized, images, optimize=False)) < 0.02
        assert relative_error(run(quantized, images), exact) < 0.1
    np.testing.assert_array_equal(run(write(scheme), images), run(write(scheme, False), images))


@pytest.mark.parametrize("activation_bits", [8, 32])
def test_one_scale_for_a_whole_weight_is_enough_after_equalisation(activation_bits: int) -> None:
    """A network whose channels have been scaled apart, at no change of its function, is as good as it was before."""
    torch.manual_seed(4)
    first, depthwise, last = nn.Conv2d(2, 24, 3), nn.Conv2d(24, 24, 3, groups=24), nn.Conv2d(24, 8, 1)
    network = nn.Sequential(
        first, nn.ReLU(), depthwise, nn.ReLU(), last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )
    images, results = pictures(48, SHAPE, 4), []
    for spread in (0.0, 2.0):
        with torch.no_grad():
            factors = [torch.exp(spread * torch.randn(24, 1, 1, 1)) for _ in range(2)]
            first.weight *= factors[0]
            first.bias *= factors[0].reshape(-1)
            depthwise.weight *= factors[1] / factors[0]
            depthwise.bias *= factors[1].reshape(-1)
            last.weight /= factors[1].reshape(1, -1, 1, 1)
        model = prepare(export_onnx(network, SHAPE))
        exact = run(model, images)
        for on in (False, True):
            step = Quantize(weight_bits=6, activation_bits=activation_bits, per_channel=False, equalize=on)
            results.append(relative_error(run(apply(step, model, images), images), exact))
    even, _, apart, equalized = results
    assert apart > 5 * even
    assert equalized < 2 * even
