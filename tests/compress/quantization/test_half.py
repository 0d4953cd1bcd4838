"""Half-precision storage keeps what float16 can hold, leaves the rest, and says so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from engine.compress.quantization.half import beyond_half, half_precision
from engine.compress.quantize import apply, quantized
from engine.models.export import export_onnx
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import pictures, relative_error, run

FP16 = Quantize(weight_bits=16, activation_bits=32)


class Scaled(nn.Module):
    """A layer with weights of any size, and what makes up for it behind it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, bias=False)
        self.second.weight.data *= factor
        self.head, self.factor = nn.Linear(8, 3), factor

    def forward(self, x):
        return self.head((self.second(self.first(x).relu()) / self.factor).mean((2, 3)))


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e-5, 1e-7, 1e-9, 1e9])
def test_weights_of_any_size_give_the_same_answers(factor: float):
    model, images = export_onnx(Scaled(factor), (1, 12, 12)), pictures(32, (1, 12, 12), 2)
    found = apply(FP16, model, images)
    assert relative_error(run(found, images), run(model, images)) < 2e-3
    told = quantized(FP16, model, images).note
    assert (told is None) == (1e-4 < factor < 1e4)
    assert told is None or told.startswith("one tensor stays in 32-bit floats")


def tensor(values: np.ndarray) -> onnx.ModelProto:
    made = numpy_helper.from_array(values.astype(np.float32), "w")
    return onnx.ModelProto(graph=onnx.GraphProto(initializer=[made]))


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (np.linspace(-1, 1, 99), True),
        (np.zeros(99), True),
        (np.full(99, 65504.0), True),
        (np.full(99, 65536.0), False),
        (np.full(99, 1e-7), False),
        (np.full(99, 1e-9), False),
        # A few that vanish beside numbers that do not, as channels that have died.
        (np.r_[np.ones(50), np.full(49, 1e-12)], True),
        # A mask.
        (np.triu(np.full((9, 9), -np.inf), 1), True),
    ],
)
def test_what_float16_holds(values: np.ndarray, held: bool):
    with np.errstate(invalid="ignore"):
        assert beyond_half(tensor(values)) == ([] if held else ["w"])


def test_only_what_is_lost_stays_large():
    tiny, plain = (half_precision(export_onnx(Scaled(f), (1, 12, 12))) for f in (1e-7, 1.0))
    more = len(tiny.SerializeToString()) - len(plain.SerializeToString())
    # 8 × 8 × 3 × 3 weights at two more bytes each, less a node.
    assert 0.8 * 1152 < more < 1152
    assert (
        quantized(
            Quantize(weight_bits=8, activation_bits=32),
            export_onnx(Scaled(1e-7), (1, 12, 12)),
            pictures(8, (1, 12, 12), 2),
        ).note
        is None
    )
