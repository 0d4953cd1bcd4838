"""A list of ONNX nodes in the making, with the arrays and functions that they use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

DOMAIN = "p"
"""Domain of the functions that a file brings along; they are part of the file, so any ONNX runtime has them."""
_DOMAIN_VERSION = 1


@dataclass
class Builder:
    """Collects nodes, initialisers and functions; tensors get names of their own unless one is given."""

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    functions: dict[str, onnx.FunctionProto] = field(default_factory=dict)
    _count: int = 0
    _stored: dict[tuple[bytes, str, tuple[int, ...]], str] = field(default_factory=dict)
    _made: dict[str, str] = field(default_factory=dict)

    def name(self) -> str:
        """A tensor name that nothing has yet."""
        self._count += 1
        return f"paretoscope_{self._count}"

    def store(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """Keep an array as an initialiser, equal ones once; its name."""
        array = np.asarray(value, dtype, order="C")
        key = (array.tobytes(), array.dtype.str, array.shape)
        if key not in self._stored:
            self._stored[key] = self.name()
            self.tensors.append(numpy_helper.from_array(array, self._stored[key]))
        return self._stored[key]

    def add(self, op: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node with one output; its name."""
        output = output or self.name()
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def once(self, key: str, make: Callable[[], str]) -> str:
        """The tensor that `make` adds nodes for, made when it is first asked for under the key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def split(self, source: str, sizes: Sequence[int]) -> list[str]:
        """Cut a 1-D tensor into pieces of the sizes, which make up the whole; their names."""
        if len(sizes) == 1:
            return [source]
        names = [self.name() for _ in sizes]
        # Numbers in an attribute take a byte or two where an int64 initialiser takes eight.
        widths = self.add("Constant", [], value_ints=list(sizes))
        self.nodes.append(helper.make_node("Split", [source, widths], names))
        return names

    def call(self, function: onnx.FunctionProto, inputs: Sequence[str], output: str, name: str, **values: Any) -> None:
        """Add a call of one of the file's own functions; attributes that are None are left out."""
        self.functions[function.name] = function
        given = {k: v for k, v in values.items() if v is not None}
        self.nodes.append(helper.make_node(function.name, inputs, [output], name, domain=DOMAIN, **given))

    def model(self, like: onnx.ModelProto) -> onnx.ModelProto:
        """A copy of `like` whose nodes are the builder's; initialisers of `like` stay where nodes still read them."""
        result = onnx.ModelProto()
        result.CopyFrom(like)
        del result.graph.node[:]
        result.graph.node.extend(self.nodes)
        result.graph.initializer.extend(self.tensors)
        opened = {o.domain for o in result.opset_import}
        if "com.microsoft" not in opened and any(n.domain == "com.microsoft" for n in self.nodes):
            result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        if self.functions:
            result.opset_import.append(helper.make_opsetid(DOMAIN, _DOMAIN_VERSION))
            result.functions.extend(self.functions[name] for name in sorted(self.functions))
        return result


def function(
    name: str, inputs: Iterable[str], attributes: Iterable[str], nodes: Iterable[onnx.NodeProto], opset: int
) -> onnx.FunctionProto:
    """An ONNX function with the one output `y`."""
    return helper.make_function(
        DOMAIN, name, list(inputs), ["y"], list(nodes), [helper.make_opsetid("", opset)], attributes=list(attributes)
    )


def reference(attribute: str, kind: onnx.AttributeProto.AttributeType, of: str = "") -> onnx.AttributeProto:
    """A node's attribute in a function, with the value of the call's attribute of that name, or of `of`; absent where that is."""
    return onnx.AttributeProto(name=attribute, ref_attr_name=of or attribute, type=kind)
