"""Which calibration method serves each tensor best: the one whose rounding changes least of what layers compute from the tensor.

A range that suits one tensor, a clipped tail say, ruins another whose few large values carry the answer. What counts is neither how far the
tensor's own values move nor how many are cut off, but the outputs of the layers that read it; those are compared, on calibration images,
for the range of each method. A tensor that no layer reads, but an addition or an average, takes the range of least squared error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import torch
from torch import Tensor

from engine.compress.quantization.calibrate import activation_scale, runs
from engine.compress.quantization.histogram import Histogram, Method
from engine.compress.quantization.scheme import ActivationScale
from engine.compress.quantization.torch_graph import constants_of
from engine.compress.quantization.torch_operators import operator
from engine.compress.quantization.weights import Layer
from engine.compress.torch_device import from_array
from engine.graph.inputs import Inputs

METHODS: tuple[Method, ...] = ("percentile", "mse", "minmax")
"""Tried in this order; of equals the first is taken."""
_UNREAD: Method = "mse"
# Outputs of so many images tell the methods apart.
_IMAGES = 32


def best_scales(
    model: onnx.ModelProto,
    seen: Mapping[str, Histogram],
    bits: Mapping[str, int],
    readers: Mapping[str, Sequence[Layer]],
    images: Inputs,
) -> dict[str, ActivationScale]:
    """The scale of each tensor of `bits`.

    `model`: the prepared float graph; `seen`: its tensors on calibration images; `readers`: the layers whose data have a tensor's scale;
    `images` (n, C, H, W), preprocessed, of which the first 32 are used.
    """
    tried = {
        name: {method: activation_scale(*seen[name].range(method, n), n) for method in METHODS}
        for name, n in bits.items()
    }
    errors = _errors(model, {name: readers.get(name, ()) for name in tried}, tried, images[:_IMAGES])
    best = {name: min(METHODS, key=lambda m: errors[name, m]) if readers.get(name) else _UNREAD for name in tried}
    return {name: scales[best[name]] for name, scales in tried.items()}


def _errors(
    model: onnx.ModelProto,
    readers: Mapping[str, Sequence[Layer]],
    tried: Mapping[str, Mapping[Method, ActivationScale]],
    images: Inputs,
) -> dict[tuple[str, Method], float]:
    """What rounding a tensor by each method does to its layers' outputs, as shares of their energy, summed over layers and batches."""
    constants = constants_of(model)
    data = list(dict.fromkeys(layer.data for layers in readers.values() for layer in layers))
    errors: dict[tuple[str, Method], float] = defaultdict(float)
    with torch.no_grad():
        for batch in runs(model, data, images):
            values = {name: from_array(np.ascontiguousarray(v)) for name, v in zip(data, batch, strict=True)}
            for name, layers in readers.items():
                scales = dict.fromkeys(tried[name].values())
                for read in dict.fromkeys(layer.data for layer in layers):
                    value = values[read]
                    rounded = {scale: _rounded(value, scale) for scale in scales}
                    for layer in (layer for layer in layers if layer.data == read):
                        run, weight = operator(layer.node), constants[layer.weight]
                        exact: Tensor = run(value, weight)
                        energy = float(exact.square().sum()) or 1.0
                        off = {scale: _distance(run(some, weight), exact) for scale, some in rounded.items()}
                        for method, scale in tried[name].items():
                            errors[name, method] += off[scale] / energy
    return errors


def _distance(found: Tensor, exact: Tensor) -> float:
    """The sum of squared differences; `found` is used up, since a large tensor more costs as much as the sum."""
    return float(found.sub_(exact).square_().sum())


def _rounded(value: Tensor, scale: ActivationScale) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(value, float(scale.scale), scale.zero_point, 0, scale.largest)
