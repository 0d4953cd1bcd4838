"""Networks that compute in float16, and what of a float network float16 cannot hold, counted on calibration samples before.

The graph is converted by ONNX Runtime's own `onnxruntime.transformers.float16` (MIT); what overflows stays in float32. Which operators
have a kernel for it is the provider's matter: where one has none, ONNX Runtime computes in float32 between two casts, and drops casts that
follow each other, so that answers there are more exact than those of float16 kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.calibrate import runs
from engine.graph.graph import constant_names, open_session
from engine.graph.inputs import Inputs
from engine.graph.multiplying import MULTIPLYING, UNCOUNTED
from engine.graph.states import states_of
from engine.graph.tidy import rename, shorten_names, tidy

LARGEST = 65504.0
"""Of float16; what is more becomes infinite. bfloat16 holds what float32 does, with 8 bits of it."""
SMALLEST_NORMAL, SMALLEST = 2.0**-14, 2.0**-24
"""Of float16: numbers below the first lose digits, and half of the second and less become zero."""
_AT_ONCE = 24
# Casts are there to go from one to the other, and would be taken for what computes.
_NOT_COUNTED = frozenset({"Cast", "Constant"})


@dataclass(frozen=True)
class Counts:
    """Of so many numbers those that float16 cannot hold; not shares.

    `over`: finite ones above 65504. `subnormal`: those that lose digits; `zero`: those that vanish, not among these. `all`: how many there
    are, zeros and infinities among them.
    """

    over: int = 0
    subnormal: int = 0
    zero: int = 0
    all: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.over + other.over, self.subnormal + other.subnormal, self.zero + other.zero, self.all + other.all
        )

    @classmethod
    def of(cls, values: npt.NDArray[np.floating]) -> Counts:
        """Of an array of floats."""
        size = np.abs(values[np.isfinite(values)])
        # Rounded to the nearest: what is nearer to the next power of two than to the largest number overflows.
        over = int((size >= LARGEST + 16).sum())
        zero = int(((size > 0) & (size <= SMALLEST / 2)).sum())
        return cls(over, int(((size > SMALLEST / 2) & (size < SMALLEST_NORMAL)).sum()), zero, int(values.size))


@dataclass(frozen=True)
class HalfCount:
    """What of one node float16 cannot hold: of its constants, and of what it puts out on the samples."""

    name: str
    op_type: str
    weights: Counts
    outputs: Counts


def half_counts(prepared: onnx.ModelProto, calibration: Inputs) -> list[HalfCount]:
    """What float16 cannot hold of each node of a float32 graph that depends on its input, in graph order; of those that have any floats.

    Computed in float32 on all of `calibration`. Raises StepError for samples of the wrong shape.
    """
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}
    constant = constant_names(model)
    nodes = [n for n in model.graph.node if n.op_type not in _NOT_COUNTED and not set(n.output) <= constant]
    names = [o for n in nodes for o in n.output if o and kinds.get(o) == TensorProto.FLOAT]
    outputs: dict[str, Counts] = {}
    # A few at a time: all that a network computes on one batch is more than memory should hold.
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        for values in runs(model, some, calibration):
            for name, value in zip(some, values, strict=True):
                outputs[name] = outputs.get(name, Counts()) + Counts.of(value)
    stored = {
        t.name: Counts.of(numpy_helper.to_array(t)) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT
    }
    found = []
    for node in nodes:
        read = _sum(stored[name] for name in node.input if name in stored)
        made = _sum(outputs[name] for name in node.output if name in outputs)
        if read.all or made.all:
            found.append(HalfCount(str(node.name or node.output[0]), str(node.op_type), read, made))
    return found


def half_compute(prepared: onnx.ModelProto, calibration: Inputs) -> tuple[onnx.ModelProto, tuple[str, ...], str]:
    """The graph in float16 with inputs and outputs in float32, nothing that was chosen, and a sentence or two on what that does to it.

    A node stays in float32 where a number that it is given as a constant, or puts out on the samples, is too large for float16.
    """
    from onnxruntime.transformers.float16 import (
        convert_float_to_float16,  # takes a while to load, and only this needs it
    )

    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}/{i}"
    counts = half_counts(model, calibration)
    infinite = _zeroed(model)
    left = [c.name for c in counts if c.weights.over or c.outputs.over]
    left += [n.name for n in model.graph.node if n.name not in left and not infinite.isdisjoint(n.input)]
    # What reads a number that is too large, too: it would be infinite on its way there.
    large = {o for n in model.graph.node if n.name in set(left) for o in n.output} | _given_too_large(
        model, calibration
    )
    large |= {state.input for state in states_of(model) if state.output in large}
    left += [n.name for n in model.graph.node if n.op_type == "Cast" and not large.isdisjoint(n.output)]
    left += [n.name for n in model.graph.node if n.name not in left and not large.isdisjoint(n.input)]
    to_float = {n.name for n in model.graph.node if _casts_to(n, TensorProto.FLOAT)}
    kept = [*left, *(n.name for n in model.graph.node if _moves_first_axis(n))]
    result: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    _without_detours(result.graph, to_float)
    tidy(result)
    shorten_names(result)
    result.producer_name, result.producer_version = "paretoscope", ""
    return result, (), " ".join([_told(counts, left), _casts(result)])


def _given_too_large(model: onnx.ModelProto, calibration: Inputs) -> set[str]:
    """The floats that a graph is given, or makes of whole numbers, of which float16 cannot hold one of the samples'."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    stored = {t.name for t in model.graph.initializer}
    given = [i for i in model.graph.input if i.name not in stored and i.type.tensor_type.elem_type == TensorProto.FLOAT]
    names = {f"{i.name}/given": i.name for i in given}
    seen.graph.node.extend(helper.make_node("Identity", [name], [copy]) for copy, name in names.items())
    names |= {n.output[0]: n.output[0] for n in model.graph.node if _casts_to(n, TensorProto.FLOAT)}
    found: set[str] = set()
    for values in runs(seen, list(names), calibration):
        found |= {name for name, value in zip(names.values(), values, strict=True) if Counts.of(value).over}
    return found


def _without_detours(graph: onnx.GraphProto, to_float: Collection[str]) -> None:
    """Let nodes that stay in float32 read each other in float32, in place, where the converter goes through float16, in which numbers would
    overflow that they stay there for; and put nodes in the order in which they run, which it does not keep. `to_float`: casts that made
    float32 before; what they read need not be floats.
    """
    makers = {o: n for n in graph.node for o in n.output}
    direct: dict[str, str] = {}
    for node in graph.node:
        before = makers.get(node.input[0]) if _casts_to(node, TensorProto.FLOAT) else None
        if before is None or not _casts_to(before, TensorProto.FLOAT16):
            continue
        if before.name in to_float:
            node.input[0] = before.input[0]
        else:
            direct[node.output[0]] = before.input[0]
    outputs = {o.name for o in graph.output}
    rename(graph, {name: source for name, source in direct.items() if name not in outputs})
    kept = [n for n in graph.node if n.output[0] not in direct.keys() - outputs]
    nodes = [
        helper.make_node("Identity", [direct[n.output[0]]], list(n.output), n.name) if n.output[0] in direct else n
        for n in kept
    ]
    waiting = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    made_here = {o for n in waiting for o in n.output}
    done: set[str] = set()
    ordered: list[onnx.NodeProto] = []
    while waiting:
        ready = [n for n in waiting if not (made_here & set(n.input)) - done]
        ordered += ready
        done.update(o for n in ready for o in n.output)
        names = {id(n) for n in ready}
        waiting = [n for n in waiting if id(n) not in names]
    del graph.node[:]
    graph.node.extend(ordered)


def _moves_first_axis(node: onnx.NodeProto) -> bool:
    """Whether a node puts another axis first. In float16, with a matrix product behind it, such a Transpose ends ONNX Runtime 1.32's
    process as it loads the file; in float32 it multiplies nothing, so that nothing is computed otherwise.
    """
    order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
    return node.op_type == "Transpose" and (order is None or order[:1] != [0])


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == kind for a in node.attribute)


def _zeroed(model: onnx.ModelProto) -> set[str]:
    """Make constants zero that float16 rounds to zero, in place, since the converter would make them its smallest number; the names of
    those that have infinities, which it would make its largest.
    """
    infinite = set[str]()
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        value = numpy_helper.to_array(tensor)
        if np.isinf(value).any():
            infinite.add(tensor.name)
        tiny = (value != 0) & (np.abs(value) <= SMALLEST / 2)
        if tiny.any():
            tensor.CopyFrom(numpy_helper.from_array(np.where(tiny, np.float32(0), value), tensor.name))
    return infinite


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for one in counts:
        total += one
    return total


def totals(counts: Iterable[HalfCount]) -> tuple[Counts, Counts]:
    """Of all weights, and of all outputs."""
    every = list(counts)
    return _sum(c.weights for c in every), _sum(c.outputs for c in every)


def lost_text(counts: Iterable[HalfCount]) -> str:
    """What float16 cannot hold of weights and of activations, in words."""
    parts = []
    weights, outputs = totals(counts)
    for what, total in (("weights", weights), ("activations on calibration samples", outputs)):
        lost = [
            f"{number:,} {word}"
            for number, word in (
                (total.over, "overflow"), (total.subnormal, "lose digits (below 6.1e-5)"), (total.zero, "become zero"),
            )
            if number
        ]  # fmt: skip
        parts.append(f"of {total.all:,} {what} {', '.join(lost) or 'none overflows or loses digits'}")
    return "; ".join(parts)


def _told(counts: list[HalfCount], left: list[str]) -> str:
    text = f"In 16-bit floats, {lost_text(counts)}."
    if left:
        named = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        text += f" What overflows, and what reads it, stays in 32-bit floats: {named}."
    return text


def _casts(model: onnx.ModelProto) -> str:
    """What the CPU of this machine does with it, by the graph that ONNX Runtime makes of it."""
    with TemporaryDirectory(prefix="paretoscope-half-") as folder:
        path = Path(folder) / "optimised.onnx"
        open_session(model, save=path)
        run = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*run.value_info, *run.input, *run.output)}
    kinds |= {t.name: t.data_type for t in run.initializer}
    real = [n for n in run.node if n.op_type in MULTIPLYING | UNCOUNTED]
    half = sum(any(kinds.get(name) == TensorProto.FLOAT16 for name in n.input) for n in real)
    if not real:
        return "Nothing in it multiplies."
    if half == len(real):
        return f"The CPU that made it has float16 kernels for all {len(real)} operators that multiply."
    return (
        f"The CPU that made it has a float16 kernel for {half} of the {len(real)} operators that multiply; the others are computed in "
        "32-bit floats through casts, no faster, and answers are more exact than where all kernels are of float16."
    )
