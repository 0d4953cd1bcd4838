"""The `quantize` step on an ONNX graph: integer networks, weight-only bits and half-precision storage.

| weight_bits, activation_bits | what runs | what is stored |
|---|---|---|
| 2..8, 4..8 | integer kernels | weights in exactly N bits, biases that become int32 at load |
| 2..8, 16 | float kernels between roundings to 16 bits | weights in exactly N bits |
| 2..8, 32 | float kernels | weights in exactly N bits |
| 16, 32 | float kernels | every tensor for which it saves bytes in float16 |
| 2..8, 8, `dynamic` | integer kernels of matrix products and LSTMs, which round their data as they run | weights in exactly N bits |
| 4 or 8, 32, `block` | MatMulNBits, which multiplies codes in blocks | N bits a weight, 16 a block |

Whatever the storage, standard operators turn it back at load, and ONNX Runtime folds them: nothing is unpacked while it runs.

Formats of integer kernels, activations × weights. u8s8: CPUs with VNNI or AMX multiply it exactly and fastest; with AVX2 alone pairs of
products are added in int16 and may saturate unless weights have 7 bits or fewer. u8u8: exact everywhere, slower on most. s8s8: for ARM; on
x86 ONNX Runtime turns activations into uint8 when it loads the file, but not where a tensor has two readers, whose kernels then stay float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper, version_converter

from engine.compress.quantization.bias import correct_biases
from engine.compress.quantization.block_weights import block_tables, nearest_blocks
from engine.compress.quantization.calibrate import activation_scales, observe, runs, squared_distance
from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.dynamic import check_products
from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.half import beyond_half, half_precision
from engine.compress.quantization.half_compute import half_compute
from engine.compress.quantization.kinds import INTEGER_BITS
from engine.compress.quantization.notes import left_as_it_is
from engine.compress.quantization.others import lstm_weights, other_weights, rounded_others
from engine.compress.quantization.plain_layers import to_plain_layers
from engine.compress.quantization.qdq_placement import Placement, place
from engine.compress.quantization.scheme import ActivationScale, BlockCodes, Codes, Scheme
from engine.compress.quantization.smooth import smooth
from engine.compress.quantization.weights import (
    PRODUCTS,
    Layer,
    as_matrix,
    compared_tensors,
    find_layers,
    first_use,
    layer_bits,
    one_axis_each,
    weight_names,
)
from engine.compress.quantization.write import write
from engine.errors import ModelError, StepError
from engine.graph.counts import is_quantized
from engine.graph.graph import first_line
from engine.graph.inputs import Inputs
from engine.graph.spelled_out import spelled_out
from engine.graph.tidy import fold, has_subgraphs, tidy
from engine.spec.steps import Quantize

Float32 = npt.NDArray[np.float32]

_OPSET = 21
"""DequantizeLinear per channel needs 13, BitwiseAnd 18; 21 is what our own exports have."""
_IR_VERSION = 10
"""The oldest that knows opset 21; functions need 8."""
_FLOAT_BITS = 32
# Images on which two ways of rounding are compared.
_COMPARED_IMAGES = 128
_STRENGTHS = (0.6, 0.75, 0.9)
SAFE_BITS = 7
"""Two products of a uint8 and a weight of so many bits fit into int16, in which CPUs without VNNI or AMX add them."""


@dataclass(frozen=True)
class Quantized:
    """A quantized network, `model`, and what became of the step's `auto`.

    `chosen`: in a word or two each, what the step's own label does not say. `note`: a sentence for the user; None for nothing to say.
    """

    model: onnx.ModelProto
    chosen: tuple[str, ...] = ()
    note: str | None = None


def apply(
    step: Quantize, model: onnx.ModelProto, calibration: Inputs, bits: Mapping[str, int] | None = None
) -> onnx.ModelProto:
    """The quantized network, a new graph with the same input and output; arguments and errors as of `quantized`."""
    return quantized(step, model, calibration, bits).model


def quantized(
    step: Quantize, model: onnx.ModelProto, calibration: Inputs, bits: Mapping[str, int] | None = None
) -> Quantized:
    """The quantized network, and what was chosen for it on `calibration`.

    `calibration`: inputs as the network takes them, preprocessed, (n, C, H, W) of images; the first `step.calibration_samples` are used,
    and for `activation_bits` 32 only where that rounds as learned or corrects biases. `bits` as for `make_scheme`. A `weight_range` of
    auto is full here: what the measuring machine computes exactly is known to the plan. Raises StepError for a graph that is already
    quantized, has no convolution or matrix product with float32 weights (of the kind that a method is for), or gives values
    that are not finite, and for images of the wrong shape.
    """
    prepared = prepare(model, others=True)
    if step.compute is not None:
        return Quantized(*half_compute(prepared, calibration[: step.calibration_samples]))
    if step.weight_bits == 16:
        return Quantized(half_precision(prepared), note=_told(step, prepared))
    check_products(step.method, prepared)
    calibration = calibration[: step.calibration_samples]
    chosen = chosen_range(step)
    plain = prepared if step.equalize is not True else equalize(prepared)
    plain, strength = smoothed(step, plain, calibration, bits)
    told = _told(step, prepared)
    del prepared  # as large as the network, and of no use any more
    chosen += [f"smoothed {strength:g}"] if strength and step.smooth == "auto" else []
    scheme = _rounded(step, make_scheme(step, plain, calibration, bits), calibration)
    if step.method == "block":
        return Quantized(write(scheme), note=told)
    if step.equalize == "auto" and not step.per_channel and step.activation_bits <= INTEGER_BITS:
        other = make_scheme(step, equalize(plain), calibration, bits)
        equalised = _rounded(step, other, calibration)
        if _distance(equalised, calibration) < _distance(scheme, calibration):
            scheme, chosen = equalised, [*chosen, "equalised"]
    if step.learns_rounding:
        from engine.compress.quantization.rounding import too_wide

        told = " ".join(filter(None, (told, too_wide(scheme)))) or None
    return Quantized(write(scheme), tuple(chosen), told)


def chosen_range(step: Quantize) -> list[str]:
    """What of `Quantized.chosen` follows from the step alone, once the plan has set its `weight_range`; of one that trains, too."""
    return ["7-bit weights"] if _is_safe(step) and step.weight_bits > SAFE_BITS else []


def _rounded(step: Quantize, scheme: Scheme, calibration: Inputs) -> Scheme:
    """The scheme rounded as the step says."""
    from engine.compress.quantization.rounding import learn_rounding

    if step.method == "block":
        if not step.learns_rounding:
            return scheme
        from engine.compress.quantization.block_rounding import learned_blocks

        return replace(scheme, blocks=learned_blocks(scheme.model, scheme.layers, scheme.blocks, calibration))
    integer = step.activation_bits <= INTEGER_BITS
    if step.learns_rounding:
        scheme = learn_rounding(scheme, calibration, moves_biases=step.bias_correction is not False and integer)
    # Where learning has moved biases it leaves no mean error behind.
    if step.bias_correction is True or (step.bias_correction == "auto" and integer and not step.learns_rounding):
        scheme = correct_biases(scheme, calibration)
    return scheme


def smoothed(
    step: Quantize, prepared: onnx.ModelProto, calibration: Inputs, bits: Mapping[str, int] | None
) -> tuple[onnx.ModelProto, float]:
    """The graph with ranges moved from activations to weights, and how strongly: as the step says, or as brings answers on calibration
    images closest where weights are rounded to the nearest.
    """
    if step.smooth != "auto":
        return (smooth(prepared, calibration, step.smooth), step.smooth) if step.smooth else (prepared, 0.0)
    if step.activation_bits > INTEGER_BITS or not any(n.op_type == "LayerNormalization" for n in prepared.graph.node):
        return prepared, 0.0
    some = calibration[:_COMPARED_IMAGES]
    off = {
        s: _distance(make_scheme(step, smooth(prepared, some, s) if s else prepared, some, bits), some)
        for s in (0.0, *_STRENGTHS)
    }
    best = min(off, key=lambda strength: off[strength])
    return (prepared if not best else smooth(prepared, calibration, best)), best


def _distance(scheme: Scheme, calibration: Inputs) -> float:
    """The squared distance of the rounded network's outputs from the float network's on calibration images."""
    images = calibration[:_COMPARED_IMAGES]
    names = compared_tensors(scheme.model, scheme.layers)
    exact = runs(scheme.model, names, images)
    found = runs(write(scheme, packed=False), names, images)
    return sum(
        squared_distance(b, a) for one, other in zip(exact, found, strict=True) for a, b in zip(one, other, strict=True)
    )


def _is_safe(step: Quantize) -> bool:
    return step.weight_range == "safe" and step.can_overflow


def _along_outputs(step: Quantize) -> bool:
    """Whether kernels take a weight's scales along its layer's outputs alone, so that a matrix of either kind of use is stored twice."""
    return step.method == "block" or (step.per_channel and step.activation_bits <= INTEGER_BITS)


def note(step: Quantize, model: onnx.ModelProto) -> str | None:
    """What a user should know of what the step leaves as it is, or stores otherwise; None for nothing."""
    return _told(step, prepare(model, others=True))


def _told(step: Quantize, prepared: onnx.ModelProto) -> str | None:
    if step.weight_bits != 16:
        one_scale = not step.per_channel and step.method != "block"
        return left_as_it_is(prepared, one_scale, step.activation_bits <= INTEGER_BITS, _along_outputs(step))
    count = len(beyond_half(prepared))
    what = "one tensor stays" if count == 1 else f"{count} tensors stay"
    return f"{what} in 32-bit floats: 16 bits cannot hold such large or small numbers." if count else None


def prepare(model: onnx.ModelProto, others: bool = False) -> onnx.ModelProto:
    """A copy ready to be quantized: batch norms and constants folded by ONNX Runtime's basic optimizer, at opset 21 or later.

    Raises StepError for a graph that is already quantized, has branches, has no convolution or matrix product with float32 weights, or
    weights that are not finite. `others`: tables and recurrent layers, which are stored in few bits alone, will do.
    """
    if is_quantized(model):
        raise StepError("quantize: the graph is already quantized; give the float32 network")
    try:
        folded = _raise_opset(fold(spelled_out(model)))
    except ModelError as error:
        raise StepError(f"quantize: {error}") from None
    if has_subgraphs(folded.graph):
        raise StepError("quantize: the graph has branches or loops (If, Loop or Scan); export the network without them")
    folded.ir_version = max(folded.ir_version, _IR_VERSION)
    to_plain_layers(folded)
    tidy(folded)
    if not find_layers(folded.graph.node, weight_names(folded.graph)) and not (others and other_weights(folded, ())):
        kinds = ", ".join(sorted({n.op_type for n in folded.graph.node})[:8])
        raise StepError(
            f"quantize: no Conv, Gemm or MatMul with float32 weights (those of float16 are exported in float32); the graph has {kinds}"
        )
    _check_finite(folded)
    # A message that was rewritten keeps the memory of what it held before, several times that of the weights.
    compact: onnx.ModelProto = onnx.ModelProto.FromString(folded.SerializeToString())
    return compact


def make_scheme(
    step: Quantize, prepared: onnx.ModelProto, calibration: Inputs, bits: Mapping[str, int] | None = None
) -> Scheme:
    """Placement, calibration and codes by nearest rounding for a graph that `prepare` made.

    `bits`: by name of the weight initialiser, where they differ from what the step says; 32 keeps a layer in float. `calibration` is used
    for activation_bits below 32, all of it. Raises StepError for images of the wrong shape and activations that are not finite.
    """
    if _along_outputs(step):
        prepared = one_axis_each(prepared)
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    width = layer_bits(layers, step.weight_bits, bool(step.ends_8bit))
    width |= {name: stated for name in width if (stated := (bits or {}).get(first_use(name))) is not None}
    if _is_safe(step):
        width = {name: min(n, SAFE_BITS) if n < _FLOAT_BITS else n for name, n in width.items()}
    in_float = {name for name, n in width.items() if n >= _FLOAT_BITS}
    if step.activation_bits == _FLOAT_BITS or step.method == "dynamic":
        nodes = tuple(onnx.NodeProto.FromString(n.SerializeToString()) for n in prepared.graph.node)
        placement = Placement(nodes, tuple(find_layers(nodes, weight_names(prepared.graph))), (), {}, {})
    else:
        placement = place(prepared, in_float, bounds_too=step.activation_bits <= INTEGER_BITS)
    activations = _activations(step, prepared, placement, calibration)
    constants = {t.name: t for t in prepared.graph.initializer}
    biases = {x.output: _vector(constants[x.bias]) for x in placement.layers if x.bias in constants}
    weights: dict[str, Codes] = {}
    blocks: dict[str, BlockCodes] = {}
    for layer in placement.layers:
        if layer.weight in weights or layer.weight in in_float:
            continue
        weight, n = numpy_helper.to_array(constants[layer.weight]), width[layer.weight]
        if step.block_size is not None and layer.node.op_type in PRODUCTS:
            matrix = as_matrix(weight, layer.axis)
            blocks[layer.weight] = nearest_blocks(matrix, n, step.block_size, step.symmetric)
            continue
        weights[layer.weight] = quantized_weight(weight, layer.axis, n, step.per_channel, step.symmetric)
    usual = 8 if step.ends_8bit else step.weight_bits
    if step.block_size is not None:
        blocks |= block_tables(prepared, set(width), usual, bits or {}, step.block_size, step.symmetric)
    narrow = lstm_weights(prepared) if _is_safe(step) and step.method == "dynamic" else ()
    further = {**(bits or {}), **dict.fromkeys(narrow, min(usual, SAFE_BITS))}
    others = rounded_others(prepared, {*width, *blocks}, usual, further)
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
        others=others,
        dynamic=step.method == "dynamic",
        blocks=blocks,
        accuracy_level=step.accuracy_level or 0,
    )


def _activations(
    step: Quantize, prepared: onnx.ModelProto, placement: Placement, calibration: Inputs
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
    bits = {seen[name]: n for name, n in roots.items()}
    if step.calibration != "auto":
        scales = activation_scales(prepared, bits, calibration, step.calibration)
    elif step.activation_bits > INTEGER_BITS:  # fine enough for the whole range
        scales = activation_scales(prepared, bits, calibration, "minmax")
    else:
        from engine.compress.quantization.ranges import best_scales

        readers: dict[str, list[Layer]] = {}
        for layer in find_layers(prepared.graph.node, weight_names(prepared.graph)):
            root = placement.root(layer.data)
            readers.setdefault(seen.get(root, root), []).append(layer)
        scales = best_scales(prepared, observe(prepared, list(bits), calibration), bits, readers, calibration)
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
