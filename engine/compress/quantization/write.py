"""Scheme -> ONNX graph: rounded weights, biases and activations, written so that ONNX Runtime fuses integer kernels.

Biases become int32 with scale `input scale × weight scale` (Jacob et al. 2018, arXiv:1712.05877). Packed, a file holds weights in exactly
as many bits as they have, a byte or less for each scale, two or less for each bias, and one function for each kind of layer; what a runtime
makes of it when it loads it is the plain graph, so both give the same outputs to the last bit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from engine.compress.quantization.grid import storable_scales
from engine.compress.quantization.kinds import integer_data
from engine.compress.quantization.scheme import Codes, Float32, Scheme
from engine.compress.quantization.write_packed import packed_graph
from engine.compress.quantization.write_plain import plain_graph
from engine.graph.tidy import shorten_names, tidy

_LARGEST_BIAS_CODE = 2**30
_PLAIN_MAY_COST = 1.1
"""A network of 8-bit weights stays in the plain form, which every tool reads, if it is at most so many times as large."""


def write(scheme: Scheme, packed: bool = True) -> onnx.ModelProto:
    """The scheme's ONNX graph; not `packed`, codes are stored in bytes, in the plain form that every tool reads.

    Both give bit-identical outputs.
    """
    scheme = within_int32(_biased(scheme))
    plain = _finished(plain_graph(scheme))
    if not packed:
        return plain
    small = _finished(packed_graph(scheme))
    every_byte = all(codes.bits == 8 for codes in (*scheme.weights.values(), *scheme.others.values()))
    return plain if every_byte and plain.ByteSize() <= _PLAIN_MAY_COST * small.ByteSize() else small


def _finished(model: onnx.ModelProto) -> onnx.ModelProto:
    tidy(model)
    shorten_names(model)
    model.producer_name, model.producer_version = "paretoscope", ""
    return model


def _biased(scheme: Scheme) -> Scheme:
    """The scheme with biases of zero where ONNX Runtime would otherwise quantize a layer's weights once more (`float_inputs` says why):
    rounded data, and products in floats.
    """
    needed = {
        layer.output: np.zeros(scheme.weights[layer.weight].codes.shape[layer.axis], np.float32)
        for layer in scheme.layers
        if layer.node.op_type in ("Conv", "Gemm") and layer.weight in scheme.weights
        if layer.data in scheme.activations and integer_data(scheme, layer) is None
    }
    return replace(scheme, biases=needed | scheme.biases)


def within_int32(scheme: Scheme) -> Scheme:
    """The scheme with larger scales where a bias would overflow int32: channels that batch norm has all but switched off."""
    weights = dict(scheme.weights)
    for layer in scheme.layers:
        codes, bias = weights.get(layer.weight), scheme.biases.get(layer.output)
        data = integer_data(scheme, layer)
        if codes is None or bias is None or data is None:
            continue
        needed = np.abs(bias.astype(np.float64)) / (float(data.scale) * _LARGEST_BIAS_CODE)
        if (codes.scale < needed).any():
            weights[layer.weight] = _with_scale(
                codes, np.maximum(codes.scale, needed if codes.scale.ndim else needed.max())
            )
    return replace(scheme, weights=weights)


def _with_scale(codes: Codes, scale: Float32) -> Codes:
    """The same weight in codes of larger scales."""
    wider = storable_scales(scale, codes.bits, up=True)
    shape = [1] * codes.codes.ndim
    shape[codes.axis] = -1
    ratio, zero = ((x.reshape(shape) if x.ndim else x) for x in (codes.scale / wider, codes.zero_point))
    return replace(codes, codes=(np.rint((codes.codes - zero) * ratio) + zero).astype(np.int16), scale=wider)
