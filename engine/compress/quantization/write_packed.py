"""A scheme in as few bytes as it takes: codes packed, one function for each kind of layer."""

from __future__ import annotations

from collections import Counter

import onnx

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.dynamic import is_dynamic
from engine.compress.quantization.kinds import (
    Kind,
    Rounding,
    how_rounded,
    integer_data,
    kind_of,
    layer_function,
    name_suffix,
    operator_attributes,
    rounding_function,
)
from engine.compress.quantization.others import turned_back
from engine.compress.quantization.packing import DENSE, smallest_forms
from engine.compress.quantization.scheme import Codes, Scheme
from engine.compress.quantization.unpacking import (
    SPARSE_NODE_BYTES,
    packed_biases,
    packed_scales,
    packed_weights,
    packed_zero_points,
)
from engine.compress.quantization.weights import Layer
from engine.compress.quantization.write_plain import (
    float_inputs,
    plain_weight,
    quantized_inputs,
    stored_limits,
    written_otherwise,
)


def packed_graph(scheme: Scheme) -> onnx.ModelProto:
    """The scheme's graph; layers of one kind are calls of one function, a layer that is the only one of its kind consists of nodes."""
    builder = Builder(scheme.opset)
    stored = _Stored(scheme, builder)
    layers = {layer.output: layer for layer in scheme.layers}
    sources = [i.name for i in scheme.model.graph.input]
    names = {source: _rounded(builder, stored, source, source, builder.name()) for source in sources}
    for node in scheme.copied_nodes():
        layer = layers.get(node.output[0])
        if written_otherwise(builder, scheme, layer, node, stored.codes):
            continue
        quantized = layer is not None and layer.weight in scheme.weights
        if layer is not None and quantized and stored.is_alone(layer):
            weight = plain_weight(builder, scheme, layer, stored.codes.get(layer.weight, ""))
            quantized_inputs(builder, scheme, layer, node, weight)
        elif not quantized:
            float_inputs(builder, scheme, layer, node)
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name) or turned_back(builder, scheme, name, stored.codes)
        if layer is not None and quantized and not stored.is_alone(layer):
            _call(builder, stored, layer, node)
            continue
        builder.nodes.append(node)
        for i, name in enumerate(node.output):
            if name in scheme.activations:
                node.output[i] = builder.name()
                _rounded(builder, stored, name, node.output[i], name)
    return builder.model(scheme.model)


class _Stored:
    """The scheme's numbers, as tensors of the file, and the functions that its layers share."""

    def __init__(self, scheme: Scheme, builder: Builder) -> None:
        self.scheme = scheme
        layers = [x for x in scheme.layers if x.weight in scheme.weights and not is_dynamic(scheme, x)]
        # Names must stay different without their ends.
        short = [layer.node.name.removesuffix(name_suffix(layer)) for layer in scheme.layers if layer.node.name]
        suffixed = len(set(short)) == len(short)
        self.kinds = {layer.output: kind_of(scheme, layer, suffixed) for layer in layers}
        self._counts = Counter(self.kinds.values())
        self._functions: dict[Kind | Rounding, onnx.FunctionProto] = {}
        shared = [layer for layer in layers if not self.is_alone(layer)]
        called = {layer.weight: scheme.weights[layer.weight] for layer in shared}
        every = scheme.weights | scheme.others
        packed = {w: c for w, c in every.items() if w in called or c.bits < 8 or _is_sparse(c)}
        integer = {x.weight for x in scheme.layers if integer_data(scheme, x) or is_dynamic(scheme, x)}
        self.codes: dict[str, str] = {}
        for unsigned in (False, True):
            chosen = {w: c for w, c in packed.items() if (scheme.format == "u8u8" and w in integer) == unsigned}
            self.codes |= packed_weights(builder, chosen, unsigned)
        self.scales = packed_scales(builder, called)
        self.zeros = packed_zero_points(builder, called)
        biased = {x.output: scheme.weights[x.weight].bits for x in shared if x.output in scheme.biases}
        self.biases = packed_biases(builder, {name: (scheme.biases[name], bits) for name, bits in biased.items()})

    def is_alone(self, layer: Layer) -> bool:
        """Whether no other layer is of its kind, so that a function would cost more than it saves."""
        return self._counts[self.kinds[layer.output]] == 1

    def function(self, key: Kind | Rounding) -> onnx.FunctionProto:
        """The function of a kind of layer or rounding."""
        if key not in self._functions:
            count, opset = len(self._functions), self.scheme.opset
            name = chr(ord("A") + count % 26) + (str(count // 26) if count > 25 else "")
            made = layer_function(name, key, opset) if isinstance(key, Kind) else rounding_function(name, key, opset)
            self._functions[key] = made
        return self._functions[key]


def _is_sparse(codes: Codes) -> bool:
    return codes.symmetric and smallest_forms([codes.codes.reshape(-1) != 0], codes.bits, SPARSE_NODE_BYTES) != [DENSE]


def _rounded(builder: Builder, stored: _Stored, tensor: str, exact: str, output: str) -> str:
    """Round `exact` as the scheme says of `tensor`; the rounded tensor's name, `exact` itself where it says nothing."""
    found = how_rounded(stored.scheme, tensor)
    if found is None:
        return exact
    activation, how = found
    numbers = [float(activation.scale), float(how.zero_point(activation))]
    limits = [stored_limits(builder, stored.scheme, tensor)] if how.limited else []
    builder.call(stored.function(how), [exact, *limits], output, "", f=numbers)
    return output


def _call(builder: Builder, stored: _Stored, layer: Layer, node: onnx.NodeProto) -> None:
    """The layer as a call of its kind's function, the rounding of its output included."""
    scheme, kind = stored.scheme, stored.kinds[layer.output]
    codes, data, rounded = scheme.weights[layer.weight], integer_data(scheme, layer), how_rounded(scheme, layer.output)
    scales, bias = stored.scales.get(layer.weight), stored.biases.get(layer.output)
    values = {"scale": float(scales.unit if scales else codes.scale), "zero": float(kind.stored_zero_point(codes))}
    if data is not None:
        values["data"] = float(data.scale)
    if bias is not None:
        values["step"] = float(bias.unit)
    if rounded:
        values |= {"out": float(rounded[0].scale), "out_zero": float(rounded[1].zero_point(rounded[0]))}
    inputs = [node.input[0], stored.codes[layer.weight]]
    inputs += [x.tensor for x in (scales,) if x]
    inputs += [stored.zeros[layer.weight]] if layer.weight in stored.zeros else []
    inputs += [bias.tensor] if bias else []
    inputs += [stored_limits(builder, scheme, layer.output)] if rounded and rounded[1].limited else []
    builder.call(
        stored.function(kind),
        inputs,
        layer.output,
        (node.name or layer.output).removesuffix(kind.suffix),
        f=[values[name] for name in kind.numbers],
        d=None if kind.per_channel else list(codes.codes.shape),
        **operator_attributes(node)[1],
    )
