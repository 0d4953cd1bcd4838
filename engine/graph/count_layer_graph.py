"""ONNX graph -> its layers as a graph with their numbers (engine/graph/layer_graph.py). Never imports torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping

import onnx

from engine.graph.boxes import Box, boxes_of
from engine.graph.counts import LayerFacts, graph_facts, run_shapes
from engine.graph.graph import constant_names, first_line
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds
from engine.graph.layer_graph import LayerBox, LayerGraph
from engine.graph.multiplying import factors_of
from engine.graph.shape_arithmetic import _MOST_NUMBERS


def layer_graph(model: onnx.ModelProto, layer_bytes: Mapping[str, int] | None = None, fold: bool = True) -> LayerGraph:
    """The graph of any valid model; `layer_bytes`: bytes by layer, as engine/measure/size_parts.py has them.

    What the runtime cannot run is drawn all the same, without shapes, parameters and MACs, and a note says so.
    """
    model = inlined(model)
    found = boxes_of(model, fold)
    notes = []
    facts: dict[str, LayerFacts] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        facts = {layer.name: layer for layer in graph_facts(model).layers}
    except Exception as error:  # of a graph that lacks what its numbers are counted by: the picture needs none
        notes.append(f"parameters, bits and MACs are not known ({first_line(error)})")
    try:
        shapes = _shapes(model, [box.tensor for box in found.boxes])
    except Exception as error:  # as above
        notes.append(f"shapes are not known ({first_line(error)})")
    if found.hidden:
        notes.append(f"operators that compute shapes or scales alone are not drawn ({found.hidden})")
    if any(box.inside for box in found.boxes):
        notes.append("what branches and loops hold is not drawn, and not counted")
    constants = constant_names(model)
    stored = {t.name: t for t in model.graph.initializer}
    boxes = tuple(_box(box, facts, shapes, layer_bytes, constants, stored) for box in found.boxes)
    return LayerGraph(boxes, tuple((a, b) for a, b, _ in found.edges), tuple(notes))


def _shapes(model: onnx.ModelProto, names: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Of one blank input; what is given back as it came in has the input's.

    Inferred as far as that goes, since a run would hold every tensor at once: gigabytes for a detector.
    """
    fed = {name: array.shape for name, array in Feeds.of_graph(model).blank().items()}
    sized = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    sized.graph.name = model.graph.name
    sized.graph.node.extend(model.graph.node)
    sized.graph.output.extend(model.graph.output)
    # Inputs as they are fed, without names of axes; of weights their shapes, since their numbers cost time and say nothing.
    described = onnx.helper.make_tensor_value_info
    for value in model.graph.input:
        if value.name in fed:
            kind = value.type.tensor_type.elem_type
            sized.graph.input.append(described(value.name, kind, fed[value.name]))
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) > _MOST_NUMBERS:
            sized.graph.input.append(described(tensor.name, tensor.data_type, tensor.dims))
        else:
            sized.graph.initializer.append(tensor)
    for value in sized.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(sized, data_prop=True).graph
    known = dict(fed)
    for value in (*inferred.value_info, *inferred.output):
        axes = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(axis.HasField("dim_value") for axis in axes):
            known[value.name] = tuple(axis.dim_value for axis in axes)
    return known | run_shapes(model, unknown) if (unknown := [n for n in names if n and n not in known]) else known


def _box(
    box: Box,
    facts: Mapping[str, LayerFacts],
    shapes: Mapping[str, tuple[int, ...]],
    layer_bytes: Mapping[str, int] | None,
    constants: set[str],
    stored: Mapping[str, onnx.TensorProto],
) -> LayerBox:
    plain = LayerBox(box.kind, box.name, box.op_type, box.operators, shape=shapes.get(box.tensor), inside=box.inside)
    if box.kind != "operator":
        return plain
    counted = [facts[name] for name in box.layer_names if name in facts]
    node = next((n for n in box.nodes if factors_of(n, constants) is not None), box.nodes[0])
    weight = _weight(node, constants, stored)
    main = next((x for x in counted if x.name == (node.name or node.output[0])), counted[0] if counted else None)
    own = {**vars(plain), "geometry": _geometry(node, weight, main), "weights": _digest(weight)}
    if main is not None:
        own |= {
            "layers": tuple(layer.name for layer in counted),
            "channels": _channels(main),
            "params": sum(layer.params for layer in counted),
            "nonzero_params": sum(layer.nonzero_params for layer in counted),
            "macs": sum(layer.macs for layer in counted),
            # Of a product of two activations there are none; of tables the data are numbers of rows.
            "weight_bits": main.weight_bits or None,
            "activation_bits": main.activation_bits if main.macs else None,
        }
        if layer_bytes is not None:
            own["bytes"] = sum(layer_bytes.get(layer.name, 0) for layer in counted)
    return LayerBox(**own)


def _weight(
    node: onnx.NodeProto, constants: set[str], stored: Mapping[str, onnx.TensorProto]
) -> onnx.TensorProto | None:
    """The stored weight of a node that multiplies; None for one that is rebuilt from something else."""
    factors = factors_of(node, constants)
    return stored.get(factors.weight) if factors is not None else None


def _digest(weight: onnx.TensorProto | None) -> str:
    if weight is None:
        return ""
    bare = onnx.TensorProto()
    bare.CopyFrom(weight)
    bare.name = bare.doc_string = ""
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def _channels(layer: LayerFacts) -> tuple[int, int] | None:
    """What a layer takes and gives: axis 1 of images and series of convolutions, else the last."""
    axis = 1 if "Conv" in layer.op_type else -1
    if len(layer.input_shape) < 2 or len(layer.output_shape) < 2 or not layer.params:
        return None
    return layer.input_shape[axis], layer.output_shape[axis]


def _geometry(node: onnx.NodeProto, weight: onnx.TensorProto | None, layer: LayerFacts | None) -> tuple[str, ...]:
    """What stays when channels are pruned and numbers rounded; "" for what a file does not say."""
    if "Conv" not in node.op_type:
        return ()
    said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    group = int(said.get("group", 1))
    channels = layer.input_shape[1] if layer is not None and len(layer.input_shape) > 1 else 0
    taps = math.prod(said.get("kernel_shape") or (weight.dims[2:] if weight is not None else [0]))
    if not taps and layer is not None and channels and "Transpose" not in node.op_type:
        # A weight that is rebuilt at load has no shape in the file; the sum of each output has as many products.
        taps = layer.macs // math.prod(layer.output_shape[1:]) // (channels // group)
    return (
        f"kernel of {taps}" if taps else "",
        *(_spread(name, said.get(name)) for name in ("strides", "dilations")),
        "all channels" if group == 1 else "depthwise" if group == channels else "grouped",
    )


def _spread(name: str, numbers: list[int] | None) -> str:
    """Strides or dilations; ones, which a file may leave out, are left out."""
    return f"{name} {'×'.join(map(str, numbers))}" if numbers and set(numbers) != {1} else f"{name} 1"
