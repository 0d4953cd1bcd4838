"""Codes in blocks, learned on calibration data as GPTQ does (Frantar et al. 2022, arXiv:2210.17323).

The moments of what a layer multiplies are summed over the float network's runs, in memory that does not depend on how much data there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from engine.compress.quantization.calibrate import runs
from engine.compress.quantization.descent import least_error
from engine.compress.quantization.rounding import DAMPING, LARGEST_FAN_IN, LEAST_POWER
from engine.compress.quantization.scheme import BlockCodes, Float32
from engine.compress.quantization.weights import Layer, as_matrix
from engine.compress.torch_device import from_array, to_array
from engine.cores import share_torch_threads
from engine.errors import StepError
from engine.graph.inputs import Inputs

# Bytes of moments that are summed at a time; layers beyond have a run of the data of their own.
_MOMENTS = 256 * 2**20
# Of the descent after the codes were set one after the other: the first few bring most of what all would.
_PASSES = 4


def learned_blocks(
    model: onnx.ModelProto, layers: Sequence[Layer], blocks: Mapping[str, BlockCodes], calibration: Inputs
) -> dict[str, BlockCodes]:
    """The blocks with codes, each one of the two next to weight / scale, that change what the layers give on `calibration` least.

    A weight that several layers share is chosen for the first of them. Raises StepError for values that are not finite.
    """
    stored = {t.name: t for t in model.graph.initializer}
    first: dict[str, Layer] = {}
    for layer in layers:
        if layer.weight in blocks and blocks[layer.weight].inputs <= LARGEST_FAN_IN:
            first.setdefault(layer.weight, layer)
    found = dict(blocks)
    for group in _groups(list(first.values()), blocks):
        grams = _grams(model, list(dict.fromkeys(layer.data for layer in group)), calibration)
        for layer in group:
            share_torch_threads()
            matrix = as_matrix(numpy_helper.to_array(stored[layer.weight]), layer.axis)
            found[layer.weight] = _learned(matrix, blocks[layer.weight], grams[layer.data])
    return found


def _groups(layers: Sequence[Layer], blocks: Mapping[str, BlockCodes]) -> list[list[Layer]]:
    """Layers in order, so many together as their moments fit."""
    groups: list[list[Layer]] = []
    seen: set[str] = set()
    size = _MOMENTS
    for layer in layers:
        needed = 0 if layer.data in seen else 8 * blocks[layer.weight].inputs ** 2
        if size + needed > _MOMENTS:
            groups.append([])
            seen, size, needed = set(), 0, 8 * blocks[layer.weight].inputs ** 2
        groups[-1].append(layer)
        seen.add(layer.data)
        size += needed
    return groups


def _grams(model: onnx.ModelProto, tensors: Sequence[str], calibration: Inputs) -> dict[str, Tensor]:
    """E[x xᵀ] of the last axis of each tensor, (inputs, inputs), float64."""
    sums: dict[str, npt.NDArray[np.float64]] = {}
    counts = dict.fromkeys(tensors, 0)
    for values in runs(model, tensors, calibration):
        for name, value in zip(tensors, values, strict=True):
            rows = value.reshape(-1, value.shape[-1])
            if not np.isfinite(rows).all():
                raise StepError(f"quantize: tensor {name!r} has values that are not finite on the calibration samples")
            product = (rows.T @ rows).astype(np.float64)
            sums[name] = sums[name] + product if name in sums else product
            counts[name] += len(rows)
    return {name: torch.from_numpy(total / counts[name]) for name, total in sums.items()}


def _learned(matrix: Float32, blocks: BlockCodes, gram: Tensor) -> BlockCodes:
    inputs = blocks.inputs
    scale, zero = (
        from_array(np.repeat(part.astype(np.float32), blocks.codes.shape[2], axis=1)[:, :inputs].copy())
        for part in (blocks.scale, blocks.zero_point)
    )
    rows = from_array(np.ascontiguousarray(matrix.T))
    exact = rows / scale + zero
    ends = (0, 2**blocks.bits - 1)
    below, above, nearest = (
        (torch.clamp(codes, *ends) - zero) * scale for codes in (exact.floor(), exact.ceil(), exact.round())
    )
    power = gram.float().to(rows.device)
    power = power + DAMPING * power.diagonal().mean().clamp(min=LEAST_POWER) * torch.eye(inputs, device=rows.device)
    best = least_error(power[None], (rows @ power)[None], below[None], above[None], nearest[None], _PASSES)[0]
    codes = blocks.codes.reshape(len(matrix.T), -1).copy()
    codes[:, :inputs] = np.rint(to_array(best / scale + zero))
    return replace(blocks, codes=codes.reshape(blocks.codes.shape))
