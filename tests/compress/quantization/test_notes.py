"""What is told of weights that are not stored as asked."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.compress.quantize import note
from engine.models.export import export_onnx
from engine.spec.steps import Quantize

INT8, WEIGHTS = Quantize(weight_bits=8, activation_bits=8), Quantize(weight_bits=4, activation_bits=32)


class Mixed(nn.Module):
    """A convolution, a transposed one that is too small to be worth rounding, and a recurrent layer."""

    def __init__(self, recurrent: bool) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 8, 3, padding=1), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.gru = nn.GRU(64, 16, batch_first=True) if recurrent else None
        self.head = nn.Linear(16 if recurrent else 64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.conv(x)))  # (n, 4, 16, 16)
        x = torch.nn.functional.avg_pool2d(x, 4).reshape(-1, 1, 64)
        return self.head(self.gru(x)[0][:, -1] if self.gru is not None else x[:, 0])


def test_layers_that_stay_in_float_are_named_with_their_share() -> None:
    up, conv, head = 8 * 4 * 4, 8 * 9, 64 * 5
    for step in (INT8, WEIGHTS):
        told = note(step, export_onnx(Mixed(recurrent=False).eval(), (1, 8, 8)))
        assert told is not None
        assert told.startswith(f"{100 * up / (up + conv + head):.2g} % of the weights stay in 32-bit floats")
        assert "ConvTranspose" in told
        told = note(step, export_onnx(Mixed(recurrent=True).eval(), (1, 8, 8)))
        assert told is not None
        recurrent = 3 * 16 * (64 + 16)
        assert told.startswith(f"{100 * up / (up + recurrent + conv + 16 * 5):.2g} %")
        assert "GRU" not in told


def test_nothing_is_told_of_networks_that_are_rounded_whole() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    model = export_onnx(network.eval(), (1, 8, 8))
    assert note(INT8, model) is None
    assert note(WEIGHTS, model) is None


def attention(kind: str) -> onnx.ModelProto:
    """Three stored projections, and one node of ONNX Runtime's own between them and a head, or one that projects by itself."""
    random = np.random.default_rng(0)
    sizes = {"q": (8, 8), "k": (8, 8), "v": (8, 8), "head": (8, 4), "all": (8, 24), "bias": (24,)}
    nodes = [helper.make_node("MatMul", ["x", name], [f"{name}x"], name) for name in "qkv"]
    nodes.append(helper.make_node(kind, ["qx", "kx", "vx"], ["a"], "mixed", domain="com.microsoft", num_heads=2))
    if kind == "Attention":
        nodes = [
            helper.make_node(
                kind, ["x", "all", "bias"], ["a"], "mixed", domain="com.microsoft", num_heads=2, unidirectional=1
            )
        ]
    nodes.append(helper.make_node("MatMul", ["a", "head"], ["y"], "last"))
    used = {name for n in nodes for name in n.input}
    return helper.make_model(
        helper.make_graph(
            nodes,
            "attention",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 5, 8])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, 4])],
            [
                numpy_helper.from_array(random.normal(size=size).astype(np.float32), name)
                for name, size in sizes.items()
                if name in used
            ],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)],
        ir_version=10,
    )


@pytest.mark.parametrize("kind", ["MultiHeadAttention", "Attention"])
def test_attention_that_no_step_takes_apart_is_named(kind: str) -> None:
    """Heads of their own, and a causal mask. Where nothing is to be computed in integers there is nothing to tell."""
    told = note(INT8, attention(kind))
    assert told is not None
    assert f"1 {kind} (the first is 'mixed') multiply in 32-bit floats" in told
    assert "multiply in" not in (note(WEIGHTS, attention(kind)) or "")
