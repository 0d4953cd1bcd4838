"""Weights in blocks beside floats: how long a transformer takes by size of block, accuracy level and length of what it is given.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_block_sizes.py

Six blocks as wide as all-MiniLM-L6-v2's (384, 12 heads, 1536) with weights drawn at random, since times do not depend on them. One thread,
processor time, medians in turns with the float network.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from engine.compress.quantize import quantized
from engine.graph.graph import open_session
from engine.measure.machine import machine
from engine.models.onnx_file import read_file
from engine.spec.steps import Quantize

WIDTH, HEADS, BLOCKS, TURNS = 384, 12, 6, 7
SHAPES = [(1, 8), (1, 16), (1, 64), (8, 16), (8, 64)]


class Block(nn.Module):
    """Attention and an MLP, each with its norm behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(x).unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = (query @ key.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5).softmax(-1) @ value
        x = self.first(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.second(x + self.down(F.gelu(self.up(x))))


def main() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*(Block() for _ in range(BLOCKS))).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        free = {"x": {0: "n", 1: "tokens"}, "y": {0: "n", 1: "tokens"}}
        names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": free}
        torch.onnx.export(network, (torch.randn(2, 9, WIDTH),), path, dynamo=False, opset_version=18, **names)
        model = read_file(path)
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((*shape, WIDTH)).astype(np.float32)} for shape in SHAPES]
    steps = {
        f"{bits} bits, blocks of {size}, level {level}": {"method": "block", "weight_bits": bits, "block_size": size}
        | {"accuracy_level": level}
        for bits, size, level in itertools.product((4, 8), (16, 32, 64, 128, 256), (4, 0))
        if bits == 4 or size in (32, 128)
    }
    steps["dynamic int8"] = {"method": "dynamic", "smooth": 0.0, "bias_correction": False}
    sessions = {"float": open_session(model)}
    for name, step in steps.items():
        made = quantized(Quantize(**step, rounding="nearest"), model, feeds[0]["x"])
        sessions[name] = open_session(made.model)
    times: dict[tuple[str, int], list[float]] = {(name, i): [] for name in sessions for i in range(len(SHAPES))}
    for _, (name, session), (i, feed) in itertools.product(range(TURNS), sessions.items(), enumerate(feeds)):
        begin = time.process_time()
        session.run(None, feed)
        times[name, i].append(time.process_time() - begin)
    middle = {key: statistics.median(found[1:]) for key, found in times.items()}
    print(machine())
    print(f"{'':34}" + "".join(f"{f'{n} × {length}':>9}" for n, length in SHAPES))
    for name in sessions:
        print(f"{name:34}" + "".join(f"{middle[name, i] / middle['float', i]:9.2f}" for i in range(len(SHAPES))))


if __name__ == "__main__":
    main()
