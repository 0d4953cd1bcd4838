"""Half-precision storage: float32 tensors as float16, turned back when the file is loaded; float32 in use."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.packing import MASK, form_bytes
from engine.compress.quantization.unpacking import scattered
from engine.graph.tidy import rename, shorten_names, tidy

# A Cast node with its two names costs about this many bytes, and the nodes that spread a sparse tensor this many.
_CAST_BYTES = 40
_SPARSE_BYTES = 450
_LOST = 4 * 2.0**-11


def beyond_half(model: onnx.ModelProto) -> list[str]:
    """The float32 tensors that would be others in float16: with numbers above 65504, or so small that they lose their digits or vanish.

    Its normal numbers begin at 6e-5 and are right to 2^-11; a tensor that is off by more than four times that, in the Euclidean norm, has
    lost digits. Few small numbers among larger ones do not count.
    """
    found = []
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:
            value = numpy_helper.to_array(tensor).astype(np.float64)
            value = value[np.isfinite(value)]  # Infinities are the same in both.
            with np.errstate(over="ignore"):
                off = np.linalg.norm(value.astype(np.float16) - value)
            if off > _LOST * np.linalg.norm(value):
                found.append(tensor.name)
    return found


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every float32 tensor that float16 can hold, and that is large enough to gain, in float16; mostly-zero ones without their zeros.

    `beyond_half` names those that it cannot hold, which stay as they are.
    """
    kept = set(beyond_half(model))
    opset = next(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))
    builder = Builder(opset)
    names: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in kept:
            continue
        value = numpy_helper.to_array(tensor)
        if value.size * 2 <= _CAST_BYTES:
            continue
        half = value.astype(np.float16)
        used = half.reshape(-1) != 0
        if form_bytes(used, 16, MASK) + _SPARSE_BYTES < half.nbytes:
            flat = scattered(builder, used, builder.store(half.reshape(-1)[used]), np.float16(0))
            shape = builder.store(half.shape, np.int64)
            stored = builder.add(
                "Reshape", [builder.add("Slice", [flat, builder.store([0]), builder.store([half.size])]), shape]
            )
        else:
            stored = builder.store(half)
        names[tensor.name] = builder.add("Cast", [stored], to=onnx.TensorProto.FLOAT)
    builder.nodes.extend(onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node)
    result = builder.model(model)
    rename(result.graph, names)
    tidy(result)
    shorten_names(result)
    result.producer_name, result.producer_version = "paretoscope", ""
    return result
