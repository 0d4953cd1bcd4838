"""Bytes of a file by what they hold and by layer; they add up to the file exactly.

A byte belongs to the tensor that it stores. One tensor may hold the weights of many layers (all of one bit width are packed together,
engine/compress/quantization/unpacking.py), so each layer's weight is followed back through the operators that rebuild it to what is
stored, and a tensor that several layers come from is shared out by how much of it each takes. What is left, names, nodes, functions and
numbers written into nodes, is the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from engine.errors import StepError
from engine.graph.counts import is_learned_table
from engine.graph.graph import Array, constant_names, constant_values, first_line
from engine.graph.inline import inlined
from engine.graph.multiplying import MULTIPLYING, SMOOTHING, factors_of, rounds_to_integers

Role = Literal["weights", "scales", "biases"]
ROLES: tuple[Role, ...] = ("weights", "scales", "biases")
"""What a layer's bytes hold; zero points count as scales."""

# Beside the operators that multiply (engine/graph/multiplying.py): scale and shift, or what is added and multiplied.
_SHIFTING: dict[str, tuple[int, ...]] = {"BatchNormalization": (1, 2, 3, 4), "LayerNormalization": (1, 2)}
_SHIFTING |= {
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
    "Add": (0, 1),
    "Mul": (0, 1),
}
_TABLES = ("Gather", "GatherBlockQuantized")
# Of operators whose weight is in blocks: where scales and zero points are.
_BLOCK_SCALES = {"MatMulNBits": (2, 3), "GatherBlockQuantized": (2, 3)}
_BINARY = ("Add", "Sub", "Mul", "Div")


@dataclass(frozen=True)
class SizeParts:
    """Bytes that add up to the file, and to the files with external data that belong to it.

    `by_type`: weights (tables included), scales (zero points included, those of activations too, and what smoothing multiplies by), biases,
    constants (shapes and other tensors that are no layer's), graph. `by_layer`: {layer: {weights, scales, biases}}; the same bytes but for
    constants, graph, and scales of activations. Layers that share a weight share its bytes.
    """

    by_type: dict[str, int]
    by_layer: dict[str, dict[str, int]]

    @property
    def total(self) -> int:
        """All bytes."""
        return sum(self.by_type.values())


@dataclass
class _Shares:
    """Which layers a stored tensor is for: {(layer, role): how much of it, in any unit}."""

    of: dict[tuple[str, Role], float] = field(default_factory=dict)

    def add(self, layer: str, role: Role, amount: float) -> None:
        self.of[layer, role] = self.of.get((layer, role), 0.0) + amount


def measure_parts(path: Path) -> SizeParts:
    """The parts of an ONNX file; raises StepError when it, or a file that it names, cannot be read."""
    try:
        model = onnx.load(str(path), load_external_data=False)
        outside = _external_files(model, path.parent)
        total = sum(file.stat().st_size for file in (path, *outside))
        payload = {t.name: _payload(t, path.parent) for t in _tensors(model)}
        if outside:
            model = onnx.load(str(path))
    except OSError as error:
        raise StepError(f"{error.filename or path} cannot be read: {error.strerror or first_line(error)}") from None
    except Exception as error:  # protobuf's and onnx's have no common base
        raise StepError(f"{path} is not an ONNX file: {first_line(error)}") from None
    shares = _shares(model)
    return _summed(total, payload, shares, _order(model))


def external_files(path: Path) -> list[Path]:
    """The files that hold an ONNX file's external data; raises StepError when it cannot be read."""
    try:
        return _external_files(onnx.load(str(path), load_external_data=False), path.parent)
    except Exception as error:  # as above
        raise StepError(f"{path} is not an ONNX file: {first_line(error)}") from None


def _order(model: onnx.ModelProto) -> dict[str, int]:
    """{layer: its place in the graph}."""
    return {n.name or n.output[0]: i for i, n in enumerate(inlined(model).graph.node) if n.output}


def _tensors(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    """Every stored tensor with a name of its own."""
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield sparse.values


def _external(tensor: onnx.TensorProto) -> dict[str, str]:
    return {e.key: e.value for e in tensor.external_data}


def _external_files(model: onnx.ModelProto, folder: Path) -> list[Path]:
    """Every file beside the model's own that tensors lie in."""
    outside = (t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)
    return [folder / name for name in sorted({_external(t)["location"] for t in outside})]


def _payload(tensor: onnx.TensorProto, folder: Path) -> int:
    """Bytes of the numbers themselves, as stored: without name, shape and type."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        where = _external(tensor)
        if "length" in where:
            return int(where["length"])
        return (folder / where["location"]).stat().st_size - int(where.get("offset", 0))
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    bare = onnx.TensorProto()
    bare.CopyFrom(tensor)
    for name in ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data"):
        bare.ClearField(name)
    return int(tensor.ByteSize() - bare.ByteSize())


def _shares(model: onnx.ModelProto) -> dict[str, _Shares]:
    """{initialiser: what it is for}; those that are no layer's have the role alone, under the layer ""."""
    flat = inlined(model)
    return _Tracer(flat).trace()


class _Tracer:
    """Follows what layers read back to what is stored."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.stored = {t.name for t in model.graph.initializer}
        self.constant = constant_names(model)
        self.makers = {o: n for n in model.graph.node if set(n.output) <= self.constant for o in n.output}
        self.dynamic_scales = {
            n.output[1] for n in model.graph.node if n.op_type == "DynamicQuantizeLinear" and len(n.output) > 1
        }
        self.asked: dict[str, str] = {}
        self.values: dict[str, Array] = {}
        self.values = self._values()
        # Which layer looks rows up by a tensor.
        self.asked = {n.input[1]: n.name or n.output[0] for n in model.graph.node if self._is_table(n)}
        self.found: dict[str, _Shares] = {}

    def _values(self) -> dict[str, Array]:
        """Constants whose size or zeros matter: what layers read, scales, and what binary operators combine."""
        wanted: list[str] = []
        for node in self.model.graph.node:
            wanted += [name for name, _ in (*self._weight_of(node), *self._scales_of(node), *self._bias_of(node))]
            wanted += node.input[:1] if node.op_type in _TABLES else []
            if node.op_type in _BINARY and set(node.output) <= self.constant:
                wanted += [*node.input, *node.output]
            if node.op_type == "DequantizeLinear":
                wanted += node.input[1:]
        return constant_values(self.model, [n for n in dict.fromkeys(wanted) if n in self.constant])

    def trace(self) -> dict[str, _Shares]:
        kinds = {*MULTIPLYING, *_SHIFTING, *_TABLES}
        layers = [n for n in self.model.graph.node if n.op_type in kinds and not set(n.output) <= self.constant]
        for role_of in (self._weight_of, self._scales_of, self._bias_of):
            for node in layers:
                layer = self._layer(node)
                for name, role in role_of(node):
                    if name in self.constant:
                        self._follow(name, role, layer, self._amount(name))
        for node in self.model.graph.node:
            if (rounds_to_integers(node) or self._rescales(node)) and not set(node.output) <= self.constant:
                for name in node.input:
                    if name in self.stored and name not in self.found:
                        self.found.setdefault(name, _Shares()).add("", "scales", 1.0)
        return self.found

    def _weight_of(self, node: onnx.NodeProto) -> list[tuple[str, Role]]:
        """What of a layer's inputs are weights."""
        if self._is_table(node):
            return [(node.input[0], "weights")]
        factors = factors_of(node, self.constant)
        if factors is None:
            return []
        state = [node.input[2]] if factors.form == "recurrent" else []
        return [(name, "weights") for name in (factors.weight, *state)]

    def _scales_of(self, node: onnx.NodeProto) -> list[tuple[str, Role]]:
        """What of a layer's inputs are scales and zero points of blocks, of a table's rows, or of smoothing."""
        names = [node.input[i] for i in _BLOCK_SCALES.get(node.op_type, ()) if i < len(node.input)]
        names += node.input[:1] if self._is_of_rows(node) else []
        names += [name for name in node.input if name.endswith(SMOOTHING)]
        return [(name, "scales") for name in names if name]

    def _is_table(self, node: onnx.NodeProto) -> bool:
        """Whether a node looks up rows of what was learned."""
        if node.op_type not in _TABLES or node.output[0] in self.constant:
            return False
        value = self.values.get(node.input[0])
        return value is not None and (node.op_type == "GatherBlockQuantized" or is_learned_table(value))

    def _is_of_rows(self, node: onnx.NodeProto) -> bool:
        """Whether a node looks up the scales or zero points of a table's rows: one number for each, by what the table is asked."""
        value = self.values.get(node.input[0]) if node.op_type == "Gather" else None
        return value is not None and value.ndim > 1 and value[:1].size == 1 and node.input[1] in self.asked

    def _layer(self, node: onnx.NodeProto) -> str:
        """The layer that a node's bytes are charged to: the one that looks rows up for what helps with these; none for smoothing."""
        if any(name.endswith(SMOOTHING) for name in node.input):
            return ""
        return self.asked[node.input[1]] if self._is_of_rows(node) else str(node.name or node.output[0])

    def _bias_of(self, node: onnx.NodeProto) -> list[tuple[str, Role]]:
        """What of a layer's inputs is added, or scales channels."""
        factors = factors_of(node, self.constant)
        places = () if self._rescales(node) or self._scales_of(node) else _SHIFTING.get(node.op_type, ())
        names = [factors.bias] if factors else [node.input[i] for i in places if i < len(node.input)]
        return [(name, "biases") for name in names if name]

    def _rescales(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies the scale of data that are rounded while the network runs, by that of weights."""
        return not self.dynamic_scales.isdisjoint(node.input)

    def _amount(self, name: str) -> tuple[float, float]:
        """How many numbers a tensor has, and how many that are not zero."""
        value = self.values.get(name)
        if value is None:
            return 1.0, 1.0
        return float(value.size), float(max(1, int(np.count_nonzero(value))))

    def _follow(self, name: str, role: Role, layer: str, amount: tuple[float, float], sparse: bool = False) -> None:
        """Note what `name` is made from; `sparse`: it holds only what is not zero."""
        if name in self.stored:
            shares = self.found.setdefault(name, _Shares())
            # A layer's scale makes its bias too, and is a scale all the same.
            if role == "biases" and any(r != "biases" for _, r in shares.of):
                return
            shares.add(layer, role, amount[sparse])
            return
        node = self.makers.get(name)
        if node is None or not node.input:
            return
        main, scales, sparse_below = self._inputs(node)
        for source in main:
            self._follow(source, role, layer, amount, sparse or sparse_below)
        for source in scales:
            self._follow(source, "scales", layer, self._amount(source))

    def _inputs(self, node: onnx.NodeProto) -> tuple[list[str], list[str], bool]:
        """Of a node that helps to rebuild a tensor: inputs that hold its numbers, its scales, and whether zeros are left out."""
        first, others = node.input[0], list(node.input[1:])
        if node.op_type == "DequantizeLinear":
            return [first], others, False
        if node.op_type in _BINARY:
            size = self._amount(node.output[0])[0]
            main = [n for n in node.input if self._amount(n)[0] >= size]
            rest = [n for n in node.input if n not in main]
            # A number that is added counts steps of a packed form, or is a zero point for each channel.
            is_scale = node.op_type in ("Mul", "Div")
            return main, [n for n in rest if is_scale or self._amount(n)[0] > 1], False
        if node.op_type == "ScatterElements":
            return [node.input[1], node.input[2]], [], True
        if node.op_type == "Concat":
            return list(node.input), [], True
        if node.op_type == "Gather":
            table = self.makers.get(first)
            return ([first, others[0]] if table is not None and table.op_type == "Concat" else others[:1]), [], False
        if node.op_type == "BitwiseOr":
            return list(node.input), [], False
        return [first], [], False


def _summed(
    total: int, payload: Mapping[str, int], shares: Mapping[str, _Shares], order: Mapping[str, int]
) -> SizeParts:
    by_type = dict.fromkeys((*ROLES, "constants"), 0)
    by_layer: dict[str, dict[str, int]] = {}
    for name, size in payload.items():
        if name not in shares:
            by_type["constants"] += size
            continue
        of = shares[name].of
        for (layer, role), part in zip(of, apportioned(size, list(of.values())), strict=True):
            by_type[role] += part
            if layer:
                by_layer.setdefault(layer, dict.fromkeys(ROLES, 0))[role] += part
    ordered = dict(sorted(by_layer.items(), key=lambda item: order[item[0]]))
    return SizeParts(by_type | {"graph": total - sum(by_type.values())}, ordered)


def apportioned(whole: int, amounts: list[float]) -> list[int]:
    """A whole number in parts as the amounts are to each other, which add up to it: Hamilton's method of largest remainders."""
    exact = [whole * a / sum(amounts) for a in amounts]
    parts = [int(x) for x in exact]
    left = sorted(range(len(exact)), key=lambda i: parts[i] - exact[i])
    for i in left[: whole - sum(parts)]:
        parts[i] += 1
    return parts
