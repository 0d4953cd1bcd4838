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


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every float32 tensor that float16 can hold, and that is large enough to gain, in float16; mostly-zero ones without their zeros."""
    opset = next(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))
    builder = Builder(opset)
    names: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        if value.size * 2 <= _CAST_BYTES or np.abs(value).max() > np.finfo(np.float16).max:
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
