"""The `quantize` step on an ONNX graph: integer networks, weight-only bits and half-precision storage.

| weight_bits, activation_bits | what runs | what is stored |
|---|---|---|
| 2..8, 4..8 | integer kernels | weights in exactly N bits, biases that become int32 at load |
| 2..8, 16 | float kernels between roundings to 16 bits | weights in exactly N bits |
| 2..8, 32 | float kernels | weights in exactly N bits |
| 16, 32 | float kernels | every tensor for which it saves bytes in float16 |

Whatever the storage, standard operators turn it back at load, and ONNX Runtime folds them: nothing is unpacked while it runs.

Formats of integer kernels, activations × weights. u8s8: CPUs with VNNI or AMX multiply it exactly and fastest; with AVX2 alone pairs of
products are added in int16 and may saturate unless weights have 7 bits or fewer. u8u8: exact everywhere, slower on most. s8s8: for ARM; on
x86 ONNX Runtime turns activations into uint8 when it loads the file, but not where a tensor has two readers, whose kernels then stay float.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, version_converter

from engine.compress.quantization.bias import correct_biases
from engine.compress.quantization.calibrate import activation_scales
from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.half import beyond_half, half_precision
from engine.compress.quantization.kinds import INTEGER_BITS
from engine.compress.quantization.notes import left_in_float, stored_twice
from engine.compress.quantization.plain_layers import to_plain_layers
from engine.compress.quantization.qdq_placement import Placement, place
from engine.compress.quantization.scheme import ActivationScale, Codes, Scheme
from engine.compress.quantization.weights import find_layers, first_use, layer_bits, one_axis_each, weight_names
from engine.compress.quantization.write import write
from engine.errors import ModelError, StepError
from engine.graph.counts import is_quantized
from engine.graph.graph import first_line
from engine.graph.tidy import fold, has_subgraphs, tidy
from engine.spec.steps import Quantize

Float32 = npt.NDArray[np.float32]

_OPSET = 21
"""DequantizeLinear per channel needs 13, BitwiseAnd 18; 21 is what our own exports have."""
_IR_VERSION = 10
"""The oldest that knows opset 21; functions need 8."""
_FLOAT_BITS = 32


def apply(
    step: Quantize, model: onnx.ModelProto, calibration: Float32, bits: Mapping[str, int] | None = None
) -> onnx.ModelProto:
    """The quantized network, a new graph with the same input and output.

    `calibration`: float32 images as the network takes them, preprocessed, (n, C, H, W); the first
    `step.calibration_samples` are used, and none for `activation_bits` 32. `bits` as for `make_scheme`. Raises StepError for a graph
    that is already quantized, has no convolution or matrix product with float32 weights, or gives values that are not finite, and for
    images of the wrong shape.
    """
    prepared = prepare(model)
    if step.weight_bits == 16:
        return half_precision(prepared)
    if step.equalize:
        prepared = equalize(prepared)
    calibration = calibration[: step.calibration_samples]
    scheme = make_scheme(step, prepared, calibration, bits)
    if step.rounding == "learned":
        from engine.compress.quantization.rounding import learn_rounding

        scheme = learn_rounding(scheme, calibration)
    if step.bias_correction:
        scheme = correct_biases(scheme, calibration)
    return write(scheme)


def note(step: Quantize, model: onnx.ModelProto) -> str | None:
    """What a user should know of what the step leaves as it is, or stores otherwise; None for nothing."""
    prepared = prepare(model)
    if step.weight_bits != 16:
        twice = step.per_channel and step.activation_bits <= INTEGER_BITS
        found = (left_in_float(prepared), stored_twice(prepared) if twice else None)
        return " ".join(sentence for sentence in found if sentence) or None
    count = len(beyond_half(prepared))
    what = "one tensor stays" if count == 1 else f"{count} tensors stay"
    return f"{what} in 32-bit floats: 16 bits cannot hold such large or small numbers." if count else None


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy ready to be quantized: batch norms and constants folded by ONNX Runtime's basic optimizer, at opset 21 or later.

    Raises StepError for a graph that is already quantized, has branches, has no convolution or matrix product with float32 weights, or
    weights that are not finite.
    """
    if is_quantized(model):
        raise StepError("quantize: the graph is already quantized; give the float32 network")
    try:
        folded = _raise_opset(fold(model))
    except ModelError as error:
        raise StepError(f"quantize: {error}") from None
    if has_subgraphs(folded.graph):
        raise StepError("quantize: the graph has branches or loops (If, Loop or Scan); export the network without them")
    folded.ir_version = max(folded.ir_version, _IR_VERSION)
    to_plain_layers(folded)
    tidy(folded)
    if not find_layers(folded.graph.node, weight_names(folded.graph)):
        kinds = ", ".join(sorted({n.op_type for n in folded.graph.node})[:8])
        raise StepError(f"quantize: no Conv, Gemm or MatMul with float32 weights to quantize; the graph has {kinds}")
    _check_finite(folded)
    return folded


def make_scheme(
    step: Quantize, prepared: onnx.ModelProto, calibration: Float32, bits: Mapping[str, int] | None = None
) -> Scheme:
    """Placement, calibration and codes by nearest rounding for a graph that `prepare` made.

    `bits`: by name of the weight initialiser, where they differ from what the step says; 32 keeps a layer in float. `calibration` is used
    for activation_bits below 32, all of it. Raises StepError for images of the wrong shape and activations that are not finite.
    """
    if step.per_channel and step.activation_bits <= INTEGER_BITS:
        prepared = one_axis_each(prepared)
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    width = layer_bits(layers, step.weight_bits, bool(step.ends_8bit))
    width |= {name: stated for name in width if (stated := (bits or {}).get(first_use(name))) is not None}
    in_float = {name for name, n in width.items() if n >= _FLOAT_BITS}
    if step.activation_bits == _FLOAT_BITS:
        nodes = tuple(onnx.NodeProto.FromString(n.SerializeToString()) for n in prepared.graph.node)
        placement = Placement(nodes, tuple(find_layers(nodes, weight_names(prepared.graph))), (), {}, {})
    else:
        placement = place(prepared, in_float, bounds_too=step.activation_bits <= INTEGER_BITS)
    activations = _activations(step, prepared, placement, calibration)
    constants = {t.name: t for t in prepared.graph.initializer}
    biases = {x.output: _vector(constants[x.bias]) for x in placement.layers if x.bias in constants}
    weights: dict[str, Codes] = {}
    for layer in placement.layers:
        if layer.weight in weights or layer.weight in in_float:
            continue
        weight, n = numpy_helper.to_array(constants[layer.weight]), width[layer.weight]
        weights[layer.weight] = quantized_weight(weight, layer.axis, n, step.per_channel, step.symmetric)
    return Scheme(
        model=prepared,
        nodes=placement.nodes,
        layers=placement.layers,
        activations=activations,
        shared=placement.shared,
        weights=weights,
        biases=biases,
        format=step.format,
        limits=placement.limits,
    )


def _activations(
    step: Quantize, prepared: onnx.ModelProto, placement: Placement, calibration: Float32
) -> dict[str, ActivationScale]:
    """The scale of every rounded tensor; the ends' inputs in 8 bits where the step keeps the ends so."""
    if not placement.rounded:
        return {}
    bits: dict[str, int] = dict.fromkeys(placement.rounded, step.activation_bits)
    if step.ends_8bit and step.activation_bits < 8:
        ends = {placement.root(placement.layers[i].data) for i in (0, -1)}
        bits |= {name: 8 for name in placement.rounded if placement.root(name) in ends}
    roots = {name: n for name, n in bits.items() if name not in placement.shared}
    seen = {name: placement.seen_as.get(name, name) for name in roots}
    scales = activation_scales(prepared, {seen[name]: n for name, n in roots.items()}, calibration, step.calibration)
    return {name: scales[seen[placement.root(name)]] for name in placement.rounded}


def _vector(tensor: onnx.TensorProto) -> Float32:
    vector: Float32 = numpy_helper.to_array(tensor).reshape(-1)
    return vector


def _raise_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if version >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except Exception as error:  # the converter's own classes share no base below Exception
        raise StepError(f"quantize: opset {version} cannot be raised to {_OPSET}: {first_line(error)}") from None


def _check_finite(model: onnx.ModelProto) -> None:
    """What layers multiply by and add. Other constants may well be infinite, as the mask of an attention is."""
    layers = find_layers(model.graph.node, weight_names(model.graph))
    learned = {name for layer in layers for name in (layer.weight, layer.bias)}
    for tensor in model.graph.initializer:
        if tensor.name in learned and not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise StepError(
                f"quantize: weights {tensor.name!r} are not all finite; the network has not been trained properly"
            )
