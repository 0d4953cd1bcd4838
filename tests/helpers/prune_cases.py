"""Networks and data that the tests of pruning share, and costs counted another way than the engine does."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from engine.compress.pruning.graph import find_structure
from engine.compress.pruning.structure import Structure
from engine.compress.pruning.surgery import checked
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.models.builders import Origin, build
from engine.models.functions import code_sha256
from engine.models.sources import Network

torch.set_num_threads(1)


def settled(module: nn.Module, seed: int = 0) -> nn.Module:
    """A network whose batch norms have seen something and whose weights are nowhere zero, so that no channel is like another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.01)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.running_var):
                    tensor.uniform_(0.5, 1.5, generator=generator)
                for tensor in (layer.bias, layer.running_mean):
                    tensor.uniform_(-0.5, 0.5, generator=generator)
    return module.eval()


def built(source: str, shape=(1, 28, 28), classes=10, **options) -> Network:
    origin = Origin(source, classes, shape, "random", options)
    return Network(settled(build(origin)), origin)


def from_file(folder, body: str, shape=(1, 8, 8), classes=3) -> Network:
    """A network of a user's own, from a Python file that defines `build`."""
    path = folder / "net.py"
    path.write_text(f"import torch\nfrom torch import nn\n\n{body}")
    origin = Origin(f"{path}:build", classes, shape, "random", code_sha256=code_sha256(f"{path}:build"))
    return Network(settled(build(origin)), origin)


def images(shape, n=2, seed=1) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(module: nn.Module, shape) -> int:
    """Output positions × channels × inputs of one output, summed over convolutions and linear layers, as often as they run."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            _, channels, height, width = output.shape
            kernel = layer.kernel_size[0] * layer.kernel_size[1]
            total += height * width * channels * (layer.in_channels // layer.groups) * kernel
        else:
            total += output.numel() * layer.in_features

    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        module(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return total


def as_it_sees(module: nn.Module, data: Dataset) -> Dataset:
    """The data with a network's own answers for labels, so that whatever changes them hurts; `head` is balanced to give several."""

    def logits(split: Split) -> torch.Tensor:
        with torch.no_grad():
            return module(torch.from_numpy(data.preprocessing(split.inputs)))

    def relabelled(split: Split) -> Split:
        return Split(split.inputs, logits(split).argmax(1).numpy())

    # The head's outputs are multiplied by 100, to make answers clear.
    module.head.bias.data -= logits(data.train).mean(0) / 100
    parts = {name: relabelled(getattr(data, name)) for name in ("train", "calibration", "validation", "test")}
    return replace(data, **parts)


def stripes(n=96, size=12, classes=3) -> Dataset:
    """Horizontal, vertical or no stripes in noise."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    inputs = rng.normal(0, 1, (n, 1, size, size)).astype(np.float32)
    wave = np.tile([2.0, -2.0], size // 2).astype(np.float32)
    inputs[labels == 0, 0] += wave[:, None]
    inputs[labels == 1, 0] += wave[None, :]
    parts = [Split(inputs[i::4], labels[i::4]) for i in range(4)]
    return Dataset("stripes", "0" * 64, tuple("hvnabcdefg"[:classes]), Preprocessing(1.0, (0.0,), (1.5,)), *parts)


def structure_of(module: nn.Module, shape) -> Structure:
    return checked(module, find_structure(module, shape), shape)


def some_units(structure: Structure, share=0.5, seed=0) -> torch.Tensor:
    """A random choice of units to remove, so many of each group as may go together."""
    generator = torch.Generator().manual_seed(seed)
    removed, kept = torch.zeros(structure.units, dtype=torch.bool), {}
    for group in sorted(structure.groups, key=lambda g: g.follows is not None):
        step = math.lcm(group.multiple, group.parts)
        kept[group.name] = kept.get(group.follows or "", max(1, int(len(group) * (1 - share)) // step) * step)
        removed[group.least(torch.rand(len(group), generator=generator), min(kept[group.name], len(group)))] = True
    return removed


class Attention(nn.Module):
    """Self-attention without the layer norms that make pruning inexact."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 24, 4, 4)
        self.attention = nn.MultiheadAttention(24, 3, batch_first=True)
        self.head = nn.Linear(24, 3)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))
