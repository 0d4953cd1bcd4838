"""ONNX nodes as torch computations: what learns on a graph (rounding, step sizes) runs the graph that is deployed.

Covers the operators that classifiers export to, with the meaning they have from opset 21 on, which engine/compress/quantize.py raises
graphs to. Every table entry maps (attributes, *inputs) to a tensor or a tuple of them; inputs that a node leaves out are None.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor

from engine.compress.quantization.torch_operators import Operator, is_known, operator
from engine.compress.torch_device import from_array, new_tensors_there, to_array
from engine.graph.inputs import Feeds, Taken
from engine.graph.one_node import node_session


@dataclass(frozen=True)
class Call:
    """One piece of a computation: tensors by name in and out; `spent` are those that nobody reads afterwards."""

    run: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    spent: tuple[str, ...] = ()


def as_call(node: onnx.NodeProto, model: onnx.ModelProto | None = None) -> Call:
    """A node as a call; of a `model` that is given, ONNX Runtime computes what is not in the table, and no gradient passes there.

    Raises StepError as `operator` does where no model is given.
    """
    if model is not None and not is_known(node):
        inputs, outputs = (tuple(name for name in names if name) for names in (node.input, node.output))
        return Call(_InRuntime(node, model, inputs), inputs, outputs)
    return Call(operator(node), tuple(node.input), tuple(node.output))


class _InRuntime:
    """A node that ONNX Runtime computes: tensors in and out, in the order of the inputs and outputs that it names."""

    def __init__(self, node: onnx.NodeProto, model: onnx.ModelProto, inputs: tuple[str, ...]) -> None:
        self._node, self._model, self._inputs = node, model, inputs
        self._session: onnxruntime.InferenceSession | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        fed = {n: np.asarray(to_array(value), order="C") for n, value in zip(self._inputs, inputs, strict=True)}
        if self._session is None:
            self._session = node_session(self._model, self._node, {n: value.dtype for n, value in fed.items()})
        return tuple(from_array(value) for value in self._session.run(None, fed))


def with_lifetimes(calls: Sequence[Call], kept: Collection[str]) -> list[Call]:
    """The calls, each knowing what it is the last to read; tensors named in `kept` live on."""
    living = set(kept)
    result: list[Call] = []
    for call in reversed(calls):
        last = tuple(dict.fromkeys(n for n in (*call.inputs, *call.outputs) if n and n not in living))
        living.update(call.inputs)
        result.append(Call(call.run, call.inputs, call.outputs, last))
    return result[::-1]


def execute(calls: Iterable[Call], values: dict[str, Tensor]) -> None:
    """Run calls in order, reading and writing `values` by name; tensors that are spent are dropped."""
    for call in calls:
        with new_tensors_there():
            found = call.run(*(values[name] if name else None for name in call.inputs))
        if isinstance(found, Tensor):
            values[call.outputs[0]] = found
        else:
            values.update(zip(call.outputs, found, strict=False))
        for name in call.spent:
            values.pop(name, None)


def constants_of(model: onnx.ModelProto) -> dict[str, Tensor]:
    """The initialisers as tensors of their own memory, on the calling thread's device."""
    return {t.name: from_array(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}


@dataclass(frozen=True)
class InputType:
    """The number type of an input; of a state also its `sizes` and the `axis` of them that counts samples, None where none does."""

    kind: torch.dtype
    sizes: tuple[int, ...] | None = None
    axis: int | None = None

    def fed(self, given: Tensor | None, n: int, where: torch.device) -> Tensor:
        """What a graph takes for n samples: what is given; of a state, whose first axis counts samples here, zeros where nothing is."""
        if self.sizes is None:
            assert given is not None
            return given.to(self.kind)
        if given is None or self.axis is None:
            sizes = [n if i == self.axis else size for i, size in enumerate(self.sizes)]
            return torch.zeros(sizes, dtype=self.kind, device=where)
        return given.movedim(0, self.axis).to(self.kind)


def input_types(model: onnx.ModelProto) -> dict[str, InputType]:
    """Of each input of a graph."""
    feeds = Feeds.of_graph(model)

    def kind(taken: Taken) -> torch.dtype:
        return torch.from_numpy(np.zeros(0, taken.kind)).dtype

    return {t.name: InputType(kind(t)) for t in feeds.taken} | {
        t.name: InputType(kind(t), t.axes, axis) for t, axis in feeds.states
    }


def named_tensors(
    types: Mapping[str, InputType], images: Sequence[Tensor], named: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What a graph is fed, by the names of its inputs and in their types; a single tensor has no name."""
    found = {**dict(zip(types, images, strict=False)), **named}
    first = next(iter(found.values()))
    return {name: kind.fed(found.get(name), len(first), first.device) for name, kind in types.items()}


class FloatGraph:
    """A float graph in torch: images (n, C, H, W), or several inputs by name -> the tensors named, by default the graph's output."""

    def __init__(self, model: onnx.ModelProto, outputs: Sequence[str] = ()) -> None:
        self.outputs = tuple(outputs) or (model.graph.output[0].name,)
        self._types = input_types(model)
        self._constants = constants_of(model)
        needed, nodes = set(self.outputs), []
        for node in reversed(model.graph.node):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(node.input)
        self._calls = with_lifetimes([as_call(node) for node in nodes[::-1]], {*self.outputs, *self._constants})

    def __call__(self, *images: Tensor, **named: Tensor) -> tuple[Tensor, ...]:
        """One tensor for each of `outputs`."""
        values = {**self._constants, **named_tensors(self._types, images, named)}
        execute(self._calls, values)
        return tuple(values[name] for name in self.outputs)
