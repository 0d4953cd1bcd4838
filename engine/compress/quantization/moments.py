"""Second moments of what a layer multiplies by its weights and of what it is to give: all that learned rounding needs of the images.

Places of an image lie close together and are much alike, so that of large images a sample of them says as much as all: so many rows for
each input of a sum that the moments are known to about a per cent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.compress.quantization.torch_operators import attributes, window_pads
from engine.compress.quantization.weights import Layer

# Rows, places of all images together, that are looked at: so many for each input of a sum, and so many at least.
_ROWS_PER_INPUT = 64
_LEAST_ROWS = 2**12
# Taking the means off leaves errors of 1e-7 of all that the inputs' power sums up to, and learned rounding adds 1e-2 of what one input
# varies by: beyond a tenth of that, the errors could make the moments indefinite.
_DROWNS = 1e4


@dataclass(frozen=True)
class Moments:
    """Of a layer's patches x (inputs,) and the outputs y wanted, in each of its groups."""

    gram: Tensor
    """E[x xᵀ], (groups, inputs, inputs)."""
    cross: Tensor
    """E[y xᵀ], (groups, outputs, inputs)."""
    drowned: bool = False
    """Whether inputs vary so little about their means that float32 may lose how they do."""


def groups_of(layer: Layer) -> int:
    """In how many groups a layer's channels are; 1 for a matrix product."""
    return int(attributes(layer.node).get("group", 1))


def moments(
    layer: Layer,
    data: Iterable[Tensor],
    wanted: Iterable[Tensor],
    weight: Tensor,
    centred: bool,
    images: int,
    exactly: bool = False,
) -> Moments:
    """Moments over the parts that `images` come in, each `data` and `wanted` of shape (n, …); `centred` where a bias takes the means up.

    The same arguments give the same moments, float32; `exactly`: summed up in float64.
    """
    groups, inputs = groups_of(layer), weight.numel() // weight.shape[layer.axis]
    share = max(_LEAST_ROWS, _ROWS_PER_INPUT * inputs) / images
    chosen = torch.Generator().manual_seed(0)
    gram = cross = x_sum = y_sum = torch.zeros(())
    count = 0
    for some, outputs in zip(data, wanted, strict=True):
        if layer.node.op_type == "Conv":
            places = _places(outputs[0, 0].numel(), share, chosen)
            x = _patches(layer, some, tuple(weight.shape[2:]), places, groups)
            y = outputs.flatten(2)[:, :, places.to(outputs.device)].transpose(1, 2)
        else:
            x, y = some.reshape(-1, some.shape[-1]), outputs.reshape(-1, outputs.shape[-1])
            places = _places(len(x), share * len(some), chosen).to(some.device)
            x, y = x[places][None], y[places]
        x, y = (x.double(), y.double()) if exactly else (x, y)
        y = y.reshape(x.shape[1], groups, -1).transpose(0, 1)
        gram, cross = gram + x.mT @ x, cross + y.mT @ x
        x_sum, y_sum = x_sum + x.sum(1, keepdim=True), y_sum + y.sum(1, keepdim=True)
        count += x.shape[1]
    whole = gram.diagonal(dim1=1, dim2=2).sum(1)
    if centred:
        gram, cross = gram - x_sum.mT @ x_sum / count, cross - y_sum.mT @ x_sum / count
    drowned = bool((gram.diagonal(dim1=1, dim2=2).mean(1) * _DROWNS < whole).any())
    return Moments((gram / count).float(), (cross / count).float(), drowned)


def _places(count: int, wanted: float, chosen: torch.Generator) -> Tensor:
    """Indices of about so many of `count` places, all of them where there are no more."""
    if count <= wanted:
        return torch.arange(count)
    return torch.randperm(count, generator=chosen)[: max(1, round(wanted))]


def _patches(layer: Layer, data: Tensor, kernel: tuple[int, ...], places: Tensor, groups: int) -> Tensor:
    """(groups, n × places, inputs per output) of what the convolution multiplies by its weight at some places of its output."""
    a = attributes(layer.node)
    windows = F.pad(data, window_pads(a, data, kernel))
    for axis, size in enumerate(kernel):
        step, dilation = (int(a.get(name, [1] * len(kernel))[axis]) for name in ("strides", "dilations"))
        windows = windows.unfold(2 + axis, (size - 1) * dilation + 1, step)[..., ::dilation]
    at = tuple(i.to(data.device) for i in torch.unravel_index(places, windows.shape[2 : 2 + len(kernel)]))
    n = len(windows)
    found = windows.movedim((0, 1), (-2, -1))[at]  # (places, *kernel, n, channels)
    # An image's places stay together, and a filter's inputs are channels first.
    ordered = found.flatten(1, -3).permute(2, 0, 3, 1)  # (n, places, channels, window)
    grouped = ordered.reshape(n, len(places), groups, -1)
    return grouped.permute(2, 0, 1, 3).reshape(groups, n * len(places), -1)
