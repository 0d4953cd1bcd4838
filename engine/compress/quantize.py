"""The `quantize` step on an ONNX graph: integer networks, weight-only bits and half-precision storage.

| weight_bits, activation_bits | what runs | what is stored |
|---|---|---|
| 2..8, 8 | integer kernels | weights in exactly N bits, int32 biases (engine/compress/qdq.py) |
| 2..8, 32 | float kernels | weights in exactly N bits, one scale per channel or tensor, float biases |
| 16, 32 | float kernels | every tensor for which it saves bytes in float16 |

Whatever the storage, standard operators turn it back at load, and ONNX Runtime folds them: nothing is unpacked while it
runs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, version_converter

from engine.compress.qdq import quantize_qdq
from engine.compress.weights import Writer, find_layers, finish, layer_bits, quantized_weight, weight_names
from engine.errors import ModelError, StepError
from engine.onnx_graph import first_line
from engine.onnx_tidy import fold, has_subgraphs, shorten_names, tidy
from engine.spec import Quantize

Float32 = npt.NDArray[np.float32]

_OPSET = 21
"""DequantizeLinear per channel needs 13, BitwiseAnd 18; 21 is what our own exports have."""
_IR_VERSION = 10
"""The oldest that knows opset 21; functions need 8."""
# A Cast node with its two names costs about this many bytes, so smaller tensors stay in float32.
_CAST_BYTES = 40


def apply(step: Quantize, model: onnx.ModelProto, calibration: Float32) -> onnx.ModelProto:
    """The quantized network, a new graph with the same input and output.

    `calibration`: float32 images as the network takes them, preprocessed, (n, C, H, W); the first
    `step.calibration_samples` are used, and none for `activation_bits` 32. Raises StepError for a graph that is already
    quantized, has no convolution or matrix product with float32 weights, or gives values that are not finite, and for
    images of the wrong shape.
    """
    prepared = _prepare(model)
    if not find_layers(prepared.graph.node, weight_names(prepared.graph)):
        kinds = ", ".join(sorted({n.op_type for n in prepared.graph.node})[:8])
        raise StepError(f"quantize: no Conv, Gemm or MatMul with float32 weights to quantize; the graph has {kinds}")
    _check_finite(prepared)
    opset = next(o.version for o in prepared.opset_import if o.domain in ("", "ai.onnx"))
    if step.activation_bits == 8:
        result = quantize_qdq(step, prepared, calibration[: step.calibration_samples], opset)
    elif step.weight_bits == 16:
        result = _half(prepared, opset)
    else:
        result = _weight_only(step, prepared, opset)
    tidy(result)
    shorten_names(result)
    result.producer_name, result.producer_version = "paretoscope", ""
    return result


def _prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with batch norms and constants folded by ONNX Runtime's basic optimizer, at opset 21 or later."""
    if any(
        n.op_type in ("QuantizeLinear", "DequantizeLinear") or n.op_type.startswith("QLinear") for n in model.graph.node
    ):
        raise StepError("quantize: the graph is already quantized; give the float32 network")
    try:
        folded = _raise_opset(fold(model))
    except ModelError as error:
        raise StepError(f"quantize: {error}") from None
    if has_subgraphs(folded.graph):
        raise StepError("quantize: the graph has branches or loops (If, Loop or Scan); export the network without them")
    folded.ir_version = max(folded.ir_version, _IR_VERSION)
    tidy(folded)
    return folded


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except Exception as error:  # the converter's own classes share no base below Exception
        raise StepError(f"quantize: opset {version} cannot be raised to {_OPSET}: {first_line(error)}") from None


def _check_finite(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise StepError(
                f"quantize: weights {tensor.name!r} are not all finite; the network has not been trained properly"
            )


def _weight_only(step: Quantize, model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Every layer's weights in N bits; float32 in use."""
    layers = find_layers(model.graph.node, weight_names(model.graph))
    bits = layer_bits(layers, step.weight_bits)
    stored = {t.name: t for t in model.graph.initializer}
    writer = Writer(opset)
    names: dict[str, str] = {}
    for layer in layers:
        if layer.weight in names:
            continue
        weight = numpy_helper.to_array(stored[layer.weight])
        codes, scale = quantized_weight(weight, layer.axis, bits[layer.weight], step.per_channel)
        names[layer.weight] = writer.scaled(codes, scale, bits[layer.weight], layer)
    result = finish(model, writer, list(model.graph.node))
    targets = {layer.output for layer in layers}
    for node in result.graph.node:
        if targets.intersection(node.output):
            node.input[1] = names[node.input[1]]
    return result


def _half(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """Every float32 tensor that float16 can hold, and that is large enough to gain, in float16; float32 in use."""
    writer = Writer(opset)
    names: dict[str, str] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        if value.size * 2 > _CAST_BYTES and np.abs(value).max() <= np.finfo(np.float16).max:
            names[tensor.name] = writer.add("Cast", [writer.store(value.astype(np.float16))], to=onnx.TensorProto.FLOAT)
    result = finish(model, writer, list(model.graph.node))
    for node in result.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
    return result
