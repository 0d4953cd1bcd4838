"""Rounding with step sizes that learn: values as QuantizeLinear rounds them, gradients as LSQ defines them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.lsq import RoundedActivation, RoundedWeight, balance
from engine.compress.quantization.scheme import ActivationScale

torch.set_num_threads(1)


def activation(scale: float, zero_point: int, bits: int) -> RoundedActivation:
    return RoundedActivation(ActivationScale(np.float32(scale), zero_point, bits))


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("zero_point", [0, 1])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "matrix"])
def test_activations_round_as_quantize_linear_does(bits: int, zero_point: int, layout: str) -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(bits))
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    x = {"strided": x[:, ::2, 1:], "matrix": x[:, :, 0, 0]}.get(layout, x)
    scale = np.float32(3 / 2**bits)
    codes = np.clip(np.rint(x.numpy() / scale) + zero_point, 0, 2**bits - 1)
    found = activation(float(scale), zero_point, bits)(x)
    np.testing.assert_allclose(found.detach().numpy(), (codes - zero_point) * scale, rtol=1e-6)


def test_halves_round_to_even_codes() -> None:
    x = torch.tensor([0.25, 0.75, 1.25, -0.25, -0.75])
    found = activation(0.5, 8, 4)(x).detach()
    assert found.tolist() == [0.0, 1.0, 1.0, 0.0, -1.0]


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
def test_gradients_of_activations_are_those_of_the_paper(layout: str) -> None:
    """Equation 3 of arXiv:1902.08153: round(x/s) - x/s between the ends, the end itself beyond; the gradient scale 1 / sqrt(N Q)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 6, 5, 7, generator=generator)
    x = x.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else x
    x = (x[:, ::2, :, 1:] if layout == "strided" else x).requires_grad_()
    weights = torch.randn(x.shape, generator=generator)
    module = activation(0.2, 5, 4)
    (weights * module(x)).sum().backward()
    exact = x.detach().double() / 0.2
    low, high = -5, 10
    step = torch.where(exact < low, low, torch.where(exact > high, high, exact.round() - exact))
    expected = float((weights.double() * step).sum()) / (x.numel() * 10) ** 0.5
    assert module.scale.grad is not None
    assert float(module.scale.grad) == pytest.approx(expected, rel=1e-4)
    inside = (exact > low) & (exact < high)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, weights * inside)


def test_the_step_gradient_is_the_slope_with_codes_held() -> None:
    """Against finite differences: where no code changes, rounding is linear in the step but for the straight-through term."""
    x = torch.randn(500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scale, change = 0.3, 1e-7

    def through(step: float) -> float:
        """Codes of `scale`, decoded with `step`, less what passes straight through: d/ds of (round(x/s) - x/s + x/s) s."""
        exact = x / scale
        inner = (exact > -4) & (exact < 3)
        codes = torch.clamp(exact.round(), -4, 3)
        return float((codes * step - torch.where(inner, exact, torch.zeros(())) * (step - scale)).sum())

    slope = (through(scale + change) - through(scale - change)) / (2 * change)
    module = activation(scale, 4, 3)
    module(x.float()).sum().backward()
    assert module.scale.grad is not None
    assert float(module.scale.grad) == pytest.approx(slope * balance(500, 4), rel=1e-3)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_start_with_the_codes_of_the_scheme_and_end_on_the_files_grid(bits: int, per_channel: bool) -> None:
    weight = np.random.default_rng(bits).normal(size=(6, 3, 3, 3)).astype(np.float32) * 0.1
    weight[2] = 0
    codes = quantized_weight(weight, 0, bits, per_channel)
    other = codes.codes.copy()
    other[0, 0] = np.clip(
        other[0, 0] + 1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    )  # as learned rounding may have chosen
    changed = type(codes)(other, codes.scale, codes.zero_point, bits, 0)
    module = RoundedWeight(torch.from_numpy(weight), changed)
    result = module.result()
    np.testing.assert_array_equal(result.codes, other)
    np.testing.assert_array_equal(result.scale, codes.scale)
    assert result.scale.shape == codes.scale.shape
    np.testing.assert_allclose(module().detach().numpy(), changed.values(), rtol=1e-5, atol=1e-7)


def test_asymmetric_weights_are_rounded_around_their_zero_point() -> None:
    weight = np.random.default_rng(0).uniform(-0.1, 0.5, size=(4, 8)).astype(np.float32)
    codes = quantized_weight(weight, 1, 4, per_channel=False, symmetric=False)
    assert codes.zero_point > 0
    module = RoundedWeight(torch.from_numpy(weight), codes)
    np.testing.assert_allclose(module().detach().numpy(), codes.values(), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(module.result().codes, codes.codes)


def test_gradients_of_weights_are_those_of_the_paper_for_each_channel() -> None:
    weight = np.random.default_rng(3).normal(size=(5, 4, 3, 3)).astype(np.float32)
    module = RoundedWeight(torch.from_numpy(weight), quantized_weight(weight, 0, 3, per_channel=True))
    weights = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    (weights * module()).sum().backward()
    weights = weights * (module.stored_scale() / module.scale.detach()).reshape(-1, 1, 1, 1)  # what v is multiplied by
    exact = module.v.detach() / module.scale.detach().reshape(-1, 1, 1, 1)
    inside = (exact >= -4) & (exact <= 3)
    step = torch.where(inside, exact.round().clamp(-4, 3) - exact, exact.clamp(-4, 3))
    expected = (weights * step).sum((1, 2, 3)) / (36 * 4) ** 0.5
    assert module.scale.grad is not None
    torch.testing.assert_close(module.scale.grad, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.v.grad, weights * inside)


def test_step_sizes_stay_positive() -> None:
    module = activation(0.5, 0, 8)
    module.scale.data.fill_(-1.0)
    module.keep_positive()
    assert 0 < float(module.result().scale) < 0.5
    weight = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
    rounded = RoundedWeight(torch.from_numpy(weight), quantized_weight(weight, 0, 4, per_channel=True))
    rounded.scale.data.fill_(-1.0)
    rounded.keep_positive()
    assert (rounded.result().scale > 0).all()
