"""Networks of 1-D convolutions, with and without the optional kernel_shape, by every way of rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.models.export import export_onnx
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import relative_error, run

torch.set_num_threads(1)
SHAPE = (1, 40, 49)
# Unsigned weights, which no CPU multiplies inexactly.
INT8 = {"weight_bits": 8, "activation_bits": 8, "format": "u8u8"}


class Sequences(nn.Module):
    """Channels of very different ranges under bounds, as equalisation has to move them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(40, 32, 3, padding=1), nn.ReLU6(), nn.Conv1d(32, 32, 3, stride=2, groups=32), nn.ReLU6(),
            nn.Conv1d(32, 24, 1), nn.ReLU6(), nn.AdaptiveAvgPool1d(1),
        )  # fmt: skip
        self.head = nn.Linear(24, 5)
        for module in self.body:
            if isinstance(module, nn.Conv1d):
                spread = torch.exp(torch.randn(module.out_channels))
                module.weight.data *= spread.view(-1, 1, 1)
                module.bias.data *= spread

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x.squeeze(1)).flatten(1))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(48, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module", params=["kernel_shape", "none"])
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    torch.manual_seed(0)
    made = export_onnx(Sequences(), SHAPE)
    if request.param == "none":
        for node in made.graph.node:
            kept = [a for a in node.attribute if not (node.op_type == "Conv" and a.name == "kernel_shape")]
            del node.attribute[:]
            node.attribute.extend(kept)
    return made


@pytest.mark.parametrize(
    "options", [{}, {"equalize": True}, {"bias_correction": True, "equalize": True}, {"rounding": "learned"}]
)
def test_integer_networks_of_sequences_answer_like_the_float_one(
    model: onnx.ModelProto, images: np.ndarray, options: dict[str, object]
):
    expected = run(model, images)
    found = apply(Quantize(**INT8, **options), model, images)
    assert relative_error(run(found, images), expected) < 0.05
    # One by one the same: a bound that is broadcast over the wrong axis fits some batches only.
    assert np.allclose(run(found, images[:1]), run(found, images)[:1], atol=1e-5)


def test_learned_rounding_of_sequences_is_better_than_the_nearest(model: onnx.ModelProto, images: np.ndarray):
    expected = run(model, images)
    few = {"weight_bits": 3, "activation_bits": 32, "calibration_samples": 48, "bias_correction": False}
    nearest, learned = (
        relative_error(run(apply(Quantize(**few, rounding=how), model, images), images), expected)
        for how in ("nearest", "learned")
    )
    assert learned < 0.8 * nearest


@pytest.mark.parametrize("equalised", [False, True])
def test_what_is_trained_is_what_the_file_computes(model: onnx.ModelProto, images: np.ndarray, equalised: bool):
    prepared = prepare(model)
    scheme = make_scheme(Quantize(**INT8), equalize(prepared) if equalised else prepared, images)
    assert bool(scheme.limits) == equalised
    with torch.no_grad():
        simulated = Simulation(scheme)(torch.from_numpy(images)).numpy()
    assert np.abs(simulated - run(write(scheme), images)).max() < 1e-5
