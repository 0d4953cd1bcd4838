"""Products of activations that are rounded while the network runs, each time to the range that they have then: nothing is calibrated.

DynamicQuantizeLinear, MatMulInteger and a multiplication, which ONNX Runtime makes one kernel of; weights in up to 8 bits, packed as
everywhere else. That is what its own guide recommends for transformers and recurrent networks
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html); convolutions have no such kernel for signed weights and
compute in floats.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from engine.compress.quantization.builder import Builder
from engine.compress.quantization.grid import storable_bias
from engine.compress.quantization.others import is_table, lstm_weights, other_weights
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.weights import PRODUCTS, Layer, find_layers, weight_names
from engine.errors import StepError


def check_products(method: str, model: onnx.ModelProto) -> None:
    """Raises StepError for method dynamic or block where a prepared graph has nothing that it is for: products with stored matrices, LSTMs
    for dynamic, tables for block.
    """
    layers = find_layers(model.graph.node, weight_names(model.graph))
    if method not in ("dynamic", "block") or any(x.node.op_type in PRODUCTS for x in layers):
        return
    others = other_weights(model, ())
    tables = any(is_table(n) and n.input[0] in others for n in model.graph.node)
    if not (lstm_weights(model) if method == "dynamic" else tables):
        raise StepError(f"quantize: method {method} is for matrix products, and the graph has none; use method ptq")


def is_dynamic(scheme: Scheme, layer: Layer) -> bool:
    """Whether the layer multiplies in integers what it rounds as it runs."""
    return scheme.dynamic and layer.weight in scheme.weights and layer.node.op_type in PRODUCTS


def dynamic_product(builder: Builder, scheme: Scheme, layer: Layer, node: onnx.NodeProto, flat: str = "") -> None:
    """Write a layer's product; its codes from the tensor `flat` of them where one is given."""
    codes = scheme.weights[layer.weight]
    half = 0 if codes.symmetric else 2 ** (codes.bits - 1)
    shift, kind = (128 - half, np.uint8) if scheme.format == "u8u8" else (-half, np.int8)
    rows = layer.axis == 0  # of outputs, which the operator wants as columns
    looked_up = any(is_table(n) and n.input[0] == layer.weight for n in scheme.nodes)  # so that its rows are stored

    def weight() -> str:
        if flat:
            stored = builder.add("Reshape", [flat, builder.store(codes.codes.shape, np.int64)])
        else:
            turned = rows and not looked_up
            stored = builder.store((codes.codes.T if turned else codes.codes) + shift, kind)
            if turned:
                return stored
        return builder.add("Transpose", [stored], perm=[1, 0]) if rows else stored

    def rounded() -> str:
        names = [builder.name() for _ in range(3)]
        builder.nodes.append(onnx.helper.make_node("DynamicQuantizeLinear", [node.input[0]], names))
        return " ".join(names)

    data, scale, zero = builder.once(f"dynamic {node.input[0]}", rounded).split(" ")
    stored = builder.once(f"dynamic weight {layer.weight} {rows}", weight)
    weight_zero = builder.store(np.broadcast_to(codes.zero_point + shift, codes.scale.shape), kind)
    product = builder.add("MatMulInteger", [data, stored, zero, weight_zero])
    builder.nodes[-1].name = node.name
    number = builder.add("Cast", [product], to=TensorProto.FLOAT)
    unit = builder.add("Mul", [scale, builder.store(codes.scale)])
    bias = scheme.biases.get(layer.output)
    if bias is None and len(node.input) < 3:
        builder.add("Mul", [number, unit], node.output[0])
        return
    product = builder.add("Mul", [number, unit])
    addend = node.input[2] if bias is None else builder.store(storable_bias(bias, codes.bits))
    builder.add("Add", [product, addend], node.output[0])
