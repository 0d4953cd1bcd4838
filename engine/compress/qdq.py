"""Float graph -> QDQ graph: 8-bit activations, 2- to 8-bit weights, written so that ONNX Runtime fuses integer kernels.

Activations are uint8 with a zero point (0.0 is always one of the 256 values), weights int8 symmetric, biases int32 with
scale `input scale × weight scale` (Jacob et al. 2018, arXiv:1712.05877). A tensor is quantized where an integer kernel
reads or writes it; operators without one run in float between DequantizeLinear and QuantizeLinear.

uint8 × int8 is what CPUs with VNNI multiply exactly. Those with AVX2 alone add pairs of products in int16, which can
saturate when weights use all 8 bits (weights of 7 bits and fewer cannot); `weight_bits` = 7 is the safe choice there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from engine.compress.calibrate import activation_ranges
from engine.compress.weights import Layer, Writer, find_layers, finish, layer_bits, quantized_weight, weight_names
from engine.spec import Quantize

Float32 = npt.NDArray[np.float32]

# ONNX Runtime has integer kernels for these once all their inputs and their output are quantized.
_INTEGER_OPS = ("Add", "Mul", "GlobalAveragePool", "AveragePool", "Concat", "Sigmoid", "LeakyRelu")
# These move values or pick them: output and input share scale and zero point.
_MOVING_OPS = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")
_LARGEST_BIAS_CODE = 2**30


@dataclass(frozen=True)
class Scale:
    """`value ≈ (code - zero_point) * scale`, code in 0..255."""

    scale: np.float32
    zero_point: int


def uint8_scale(low: float, high: float) -> Scale:
    """The scale that spreads [low, high], widened to hold 0, over 256 codes with 0.0 at a code."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    if scale < np.finfo(np.float32).tiny:  # a tensor that is always zero
        return Scale(np.float32(1), 0)
    return Scale(scale, int(np.clip(np.rint(-low / float(scale)), 0, 255)))


@dataclass(frozen=True)
class _Links:
    """Who makes and who reads each tensor."""

    nodes: list[onnx.NodeProto]
    maker: dict[str, onnx.NodeProto]
    readers: dict[str, list[onnx.NodeProto]]
    constants: dict[str, onnx.TensorProto]
    output: str

    def inputs(self, node: onnx.NodeProto) -> list[str]:
        """A node's inputs that depend on the image."""
        return [name for name in node.input if name and name not in self.constants]


def _link(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> _Links:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {t.name: t for t in graph.initializer}
    maker = {o: n for n in nodes for o in n.output}
    return _Links(nodes, maker, readers, constants, graph.output[0].name)


def _clips_at_zero(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    """Relu, or Clip from 0 to a constant: what rounding to uint8 with zero point 0 does anyway."""
    if node.op_type == "Relu":
        return True
    if node.op_type != "Clip" or len(node.input) < 2 or node.input[1] not in constants:
        return False
    bounded = len(node.input) < 3 or not node.input[2] or node.input[2] in constants
    return bounded and float(numpy_helper.to_array(constants[node.input[1]]).reshape(-1)[0]) == 0.0


def _absorb_activations(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], set[str]]:
    """Leave out each Relu or Clip whose producer has an integer kernel.

    Returns copies of the nodes that stay, the producer now writing the activation's output, and the names of those
    outputs.
    """
    links = _link(graph, list(graph.node))
    dropped: dict[str, str] = {}
    for node in graph.node:
        before = node.input[0] if node.input else ""
        maker = links.maker.get(before)
        if maker is None or maker.op_type not in ("Conv", "Add") or not _clips_at_zero(node, links.constants):
            continue
        if maker.op_type == "Add" and len(links.inputs(maker)) != 2:
            continue
        # Never the graph's output: without a rounding after it the clipping would be lost.
        if len(links.readers[before]) == 1 and links.output not in (before, node.output[0]):
            dropped[node.output[0]] = before
    renamed = {before: after for after, before in dropped.items()}
    kept = []
    for node in graph.node:
        if node.output[0] not in dropped:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(copy.output):
                copy.output[i] = renamed.get(name, name)
            kept.append(copy)
    return kept, set(dropped)


def _leads_to_a_layer(links: _Links, layers: list[Layer]) -> set[str]:
    """Tensors with a layer somewhere after them; behind the last one, rounding would only cost accuracy."""
    outputs = {layer.output for layer in layers}
    leading: set[str] = set()
    for node in reversed(links.nodes):
        if not leading.union(outputs).isdisjoint(node.output):
            leading.update(links.inputs(node))
    return leading


def _tensors_to_quantize(links: _Links, layers: list[Layer], clipped: set[str]) -> tuple[set[str], dict[str, str]]:
    """The tensors to pass through Quantize- and DequantizeLinear, and {output: input} where both share a scale."""
    convolved = {layer.output for layer in layers if layer.node.op_type == "Conv"}
    chosen = {layer.data for layer in layers} | convolved | clipped
    for node in reversed(links.nodes):
        if node.op_type in _MOVING_OPS and node.output[0] in chosen and len(links.inputs(node)) == 1:
            chosen.add(node.input[0])
    leading = _leads_to_a_layer(links, layers)
    products = {layer.output for layer in layers}
    shared: dict[str, str] = {}
    for node in links.nodes:
        sources, output = links.inputs(node), node.output[0]
        if not sources or not set(sources) <= chosen or output not in leading | chosen:
            continue
        if node.op_type in _MOVING_OPS and len(sources) == 1 and len(node.output) == 1:
            chosen.add(output)
            shared[output] = sources[0]
        elif output in products or (node.op_type in _INTEGER_OPS and len(sources) == len(node.input)):
            chosen.add(output)
    return chosen, shared


def _round_activations(
    links: _Links, writer: Writer, chosen: set[str], scales: dict[str, Scale], graph_input: str
) -> list[onnx.NodeProto]:
    """The nodes, with every chosen tensor rounded to its codes and back before others read it."""
    body: list[onnx.NodeProto] = []
    rounded: dict[str, str] = {}

    def round_tensor(name: str, source: str, target: str) -> None:
        scale = writer.store(np.asarray(scales[name].scale, np.float32))
        zero = writer.store(np.asarray(scales[name].zero_point, np.uint8))
        code = f"{name}/code"
        body.append(onnx.helper.make_node("QuantizeLinear", [source, scale, zero], [code]))
        body.append(onnx.helper.make_node("DequantizeLinear", [code, scale, zero], [target]))

    if graph_input in chosen:
        rounded[graph_input] = f"{graph_input}/rounded"
        round_tensor(graph_input, graph_input, rounded[graph_input])
    for node in links.nodes:
        for i, name in enumerate(node.input):
            node.input[i] = rounded.get(name, name)
        body.append(node)
        for i, name in enumerate(node.output):
            if name not in chosen:
                continue
            if name == links.output:  # the graph's output keeps its name
                node.output[i] = f"{name}/exact"
                round_tensor(name, node.output[i], name)
            else:
                rounded[name] = f"{name}/rounded"
                round_tensor(name, name, rounded[name])
    return body


def _smallest_scales(bias: Float32 | None, data_scale: np.float32) -> npt.NDArray[np.float64] | float:
    """Weight scales under which a bias would overflow int32: channels that batch norm has all but switched off."""
    return 0.0 if bias is None else np.abs(bias.astype(np.float64)) / (float(data_scale) * _LARGEST_BIAS_CODE)


def quantize_qdq(step: Quantize, model: onnx.ModelProto, calibration: Float32, opset: int) -> onnx.ModelProto:
    """A tidy float graph with at least one layer -> its QDQ graph. `calibration`: preprocessed images, (n, C, H, W)."""
    graph = model.graph
    nodes, clipped = _absorb_activations(graph)
    layers = find_layers(nodes, weight_names(graph))
    links = _link(graph, nodes)
    chosen, shared = _tensors_to_quantize(links, layers, clipped)
    sources = sorted(chosen - set(shared))
    ranges = activation_ranges(model, sources, calibration, step.calibration)
    scales = {name: uint8_scale(*ranges[name]) for name in sources}
    for output in (n.output[0] for n in nodes if n.output[0] in shared):  # graph order: a chain takes its first scale
        scales[output] = scales[shared[output]]
    writer = Writer(opset)
    _write_layers(step, writer, layers, links.constants, scales)
    body = _round_activations(links, writer, chosen, scales, graph.input[0].name)
    return finish(model, writer, body)


def _write_layers(
    step: Quantize,
    writer: Writer,
    layers: list[Layer],
    constants: dict[str, onnx.TensorProto],
    scales: dict[str, Scale],
) -> None:
    """Replace weights and biases, where nodes read them, by quantized ones; tied weights are written once."""
    bits = layer_bits(layers, step.weight_bits)
    biases = [_float(constants, layer.bias) for layer in layers]
    floors: dict[str, npt.NDArray[np.float64] | float] = {}
    for layer, bias in zip(layers, biases, strict=True):
        floor = _smallest_scales(bias, scales[layer.data].scale)
        floors[layer.weight] = np.maximum(floors.get(layer.weight, 0.0), floor)
    written: dict[str, tuple[str, Float32]] = {}
    for layer, bias in zip(layers, biases, strict=True):
        if layer.weight not in written:
            weight = numpy_helper.to_array(constants[layer.weight])
            width = bits[layer.weight]
            codes, scale = quantized_weight(weight, layer.axis, width, step.per_channel, floors[layer.weight])
            written[layer.weight] = (writer.dequantized(codes, scale, width, layer), scale)
        layer.node.input[1], scale = written[layer.weight]
        if bias is not None:
            layer.node.input[2] = writer.bias(bias, scales[layer.data].scale, scale, compact=step.weight_bits < 8)


def _float(constants: dict[str, onnx.TensorProto], name: str) -> Float32 | None:
    """A bias as a vector, None for a layer without."""
    return numpy_helper.to_array(constants[name]).reshape(-1) if name in constants else None
