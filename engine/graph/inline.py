"""Model functions of an ONNX file as plain nodes."""

from __future__ import annotations

import onnx

from engine.graph.graph import LAYER_OPS


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which the calls of the file's own functions are replaced by the functions' nodes; layers in them bear the calls' names."""
    functions = {(f.domain, f.name): f for f in model.functions}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if not functions:
        return result
    del result.functions[:]
    nodes = list(result.graph.node)
    while any((n.domain, n.op_type) in functions for n in nodes):
        bodies = ([n] if (key := (n.domain, n.op_type)) not in functions else _body(functions[key], n) for n in nodes)
        nodes = [node for body in bodies for node in body]
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    used = {n.domain for n in copies}
    versions = {o.domain: o for f in model.functions for o in f.opset_import} | {
        o.domain: o for o in model.opset_import
    }
    del result.opset_import[:]
    result.opset_import.extend(o for domain, o in versions.items() if domain in used or domain == "")
    return result


def _body(function: onnx.FunctionProto, call: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes of a function for one call: its tensors, attributes and names put in."""
    names = dict(zip(function.input, [*call.input, *[""] * len(function.input)], strict=False))
    names |= dict(zip(function.output, call.output, strict=False))
    given = {a.name: a for a in (*function.attribute_proto, *call.attribute)}
    body = []
    for inner in function.node:
        node = onnx.NodeProto()
        node.CopyFrom(inner)
        for tensors in (node.input, node.output):
            for i, name in enumerate(tensors):
                tensors[i] = names.get(name, f"{call.output[0]}/{name}") if name else ""
        node.name = f"{call.name}{inner.name}" if inner.name or inner.op_type in LAYER_OPS else ""
        del node.attribute[:]
        for attribute in inner.attribute:
            if not attribute.ref_attr_name:
                node.attribute.add().CopyFrom(attribute)
            elif attribute.ref_attr_name in given:
                node.attribute.add().CopyFrom(given[attribute.ref_attr_name])
                node.attribute[-1].name = attribute.name
        body.append(node)
    return body
