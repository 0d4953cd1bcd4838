"""A small network of the shape of BERT, and what ONNX Runtime's optimizer for transformers makes of it: its own fused operators."""

from __future__ import annotations

import logging
import math
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from torch import Tensor, nn

WIDTH, HEADS, WORDS, LENGTH = 32, 4, 50, 12


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.dense = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def apart(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self.apart(f(x)) for f in (self.query, self.key, self.value))
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(WIDTH // HEADS) + mask
        seen = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).contiguous()
        x = self.first(self.dense(seen.view(seen.size(0), seen.size(1), WIDTH)) + x)
        return self.second(self.down(nn.functional.gelu(self.up(x))) + x)


class Bert(nn.Module):
    """input_ids, attention_mask (n, LENGTH) -> scores (n, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (nn.Embedding(n, WIDTH) for n in (WORDS, LENGTH, 2))
        self.norm, self.layers = nn.LayerNorm(WIDTH, eps=1e-12), nn.ModuleList(_Layer() for _ in range(2))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.kinds(torch.zeros_like(input_ids)) + self.places(torch.arange(LENGTH)[None])
        x, far = self.norm(x), (1.0 - attention_mask[:, None, None].float()) * -10000.0
        for layer in self.layers:
            x = layer(x, far)
        return self.head(x[:, 0])


@cache
def plain() -> onnx.ModelProto:
    """As torch exports it, with a free batch."""
    torch.manual_seed(0)
    network = Bert().eval()
    for layer in network.modules():
        if isinstance(layer, nn.LayerNorm):  # else they are all alike, and stored once
            nn.init.normal_(layer.weight, 1.0, 0.1)
            nn.init.normal_(layer.bias, 0.0, 0.1)
    example = (torch.ones(2, LENGTH, dtype=torch.int64), torch.ones(2, LENGTH, dtype=torch.int64))
    names = ["input_ids", "attention_mask"]
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer knows what the old exporter writes
        path = Path(folder) / "plain.onnx"
        torch.onnx.export(
            network, example, str(path), input_names=names, output_names=["scores"], opset_version=17, dynamo=False,
            dynamic_axes={name: {0: "n"} for name in (*names, "scores")},
        )  # fmt: skip
        return onnx.load(path)


@cache
def fused(fast: bool = False) -> onnx.ModelProto:
    """The same as ONNX Runtime's optimizer writes it; `fast`: with the approximation of Gelu."""
    options = FusionOptions("bert")
    options.enable_gelu_approximation = fast
    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "plain.onnx"
        onnx.save(plain(), path)
        made = optimize_model(
            str(path), "bert", HEADS, WIDTH, optimization_options=options, opt_level=0, only_onnxruntime=False
        )
        made.save_model_to_file(str(path))
        return onnx.load(path)


def tokens(n: int, seed: int) -> dict[str, np.ndarray]:
    """Some sentences, of several lengths."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, LENGTH + 1, n)
    return {
        "input_ids": rng.integers(0, WORDS, (n, LENGTH)),
        "attention_mask": (np.arange(LENGTH) < lengths[:, None]).astype(np.int64),
    }
