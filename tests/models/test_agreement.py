"""An exported graph is held against the network on real images; what Python decides by values is named, by shapes it is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.agreement import check_agreement
from engine.models.export import export_onnx

torch.set_num_threads(1)
SHAPE = (1, 8, 8)
IMAGES = np.random.default_rng(0).uniform(0, 2, (40, *SHAPE)).astype(np.float32)


class Decides(nn.Module):
    """Does something to an image, then classifies it."""

    def __init__(self, decide: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.decide = decide
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.decide(x))


def branch(x: Tensor) -> Tensor:
    return x / 255 if x.max() > 1 else x


def loop(x: Tensor) -> Tensor:
    for _ in range(int(x.sum() > 0) + 1):
        x = torch.tanh(3 * x - 0.5)
    return x


def number(x: Tensor) -> Tensor:
    return x - x.mean().item()


def through_numpy(x: Tensor) -> Tensor:
    return x + torch.from_numpy(np.float32(x.numpy().mean()).reshape(1))


def one_of_forty(x: Tensor) -> Tensor:
    """Right in a batch, wrong for the one image alone that is darkest."""
    return x if len(x) > 1 or float(x.mean()) >= DARKEST else -x


DARKEST = float(np.sort(IMAGES[:32].mean((1, 2, 3)))[1])


@pytest.mark.parametrize("decide", [branch, loop, number, through_numpy, one_of_forty])
def test_what_values_decide_is_refused_with_its_place(decide: Callable[[Tensor], Tensor]) -> None:
    network = Decides(decide).eval()
    model = export_onnx(network, SHAPE)
    line = decide.__code__.co_firstlineno
    with pytest.raises(ModelError) as caught:
        check_agreement(model, network, IMAGES)
    message = str(caught.value)
    places = [f"test_agreement.py, line {line + i}" for i in range(1, 3)]
    assert any(f"a branch, loop or number made of values, at {place}, is fixed" in message for place in places)
    assert "\n" not in message


def shapes(x: Tensor) -> Tensor:
    if x.shape[1] == 1 and len(x) > 0 and x.size(2) % 2 == 0:
        x = x.repeat(1, 3, 1, 1).mean(1, keepdim=True)
    for _ in range(x.shape[-1] // 4):
        x = x * 2
    return x.reshape(x.shape[0], 1, 8, -1).masked_fill(x < 0.1, torch.finfo(torch.float32).min / 1e30)


def test_what_shapes_decide_is_nobodys_business() -> None:
    network = Decides(shapes).eval()
    assert check_agreement(export_onnx(network, SHAPE), network, IMAGES) is None


class Causal(nn.Module):
    """torch itself looks at the values of the mask, which no image changes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.flatten(1, 2), mask=self.mask)[:, -1])


def test_what_torch_itself_looks_at_is_nobodys_business() -> None:
    network = Causal().eval()
    assert check_agreement(export_onnx(network, SHAPE), network, IMAGES) is None


def guard(x: Tensor) -> Tensor:
    if x.min() < -100:
        raise ValueError("not an image")
    return x


def test_a_branch_that_every_image_takes_is_noted() -> None:
    network = Decides(guard).eval()
    note = check_agreement(export_onnx(network, SHAPE), network, IMAGES)
    assert note is not None
    assert f"at test_agreement.py, line {guard.__code__.co_firstlineno + 1}: " in note
    assert note.endswith("right for the 72 images tried")


def test_another_graph_without_a_branch_is_refused_all_the_same() -> None:
    network, other = Decides(lambda x: 2 * x).eval(), Decides(lambda x: x).eval()
    with pytest.raises(ModelError, match=r"for 20 of 20 images .* has no equal in ONNX"):
        check_agreement(export_onnx(other, SHAPE), network, IMAGES)


def test_what_draws_random_numbers_is_not_compared() -> None:
    network = Decides(lambda x: nn.functional.dropout(x, 0.5)).eval()
    assert check_agreement(export_onnx(network, SHAPE), network, IMAGES) is None
