"""ONNX files as people have them, of opset 7 and later: free axes fixed to the data's, weights in one place, at the opset of our steps.

What is changed is held against the file as it was, in ONNX Runtime without optimisations. Never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import external_data_helper, shape_inference, version_converter

from engine.errors import ModelError
from engine.graph.counts import is_quantized
from engine.graph.graph import (
    check_interface,
    first_line,
    graph_inputs,
    open_session,
    opset_of,
    read_onnx,
)
from engine.graph.inline import inlined
from engine.graph.inputs import Array, Feeds, Inputs, Shape, Signature, blank, drawn
from engine.graph.states import set_states, states_of
from engine.graph.tidy import constants_to_initializers, fold, has_subgraphs
from engine.models.accepted import accepted_facts
from engine.models.interface import Interface, shape_interface
from engine.models.shapes import batch_text
from engine.spec.sections import Data, Model

OPSET = 21
"""What our own exports have, and the steps write."""
OLDEST = 7
"""ONNX Runtime guarantees nothing before it."""
_IR_VERSION = 10
"""The oldest that knows `OPSET`."""
AGREES = 1e-4
"""Answers agree within this share of the largest: the same kernels compute them, but for what was rewritten."""
# Random inputs that both graphs answer: so many runs of one batch.
_TRIED = 3


@dataclass(frozen=True)
class Checked:
    """What a plan needs to know of a file: items per run where it fixes them; the axes of one item, 0 where they are free."""

    batch: int | None
    taken: Shape


def read_checked(model: Model | Path, data: Data | None = None) -> Checked:
    """All that can be told of a file without the data, the change of its opset included; raises ModelError.

    `data`: what the spec says of them, by which constants are told apart. Of an uploaded file it was told when it came, and is not read
    again unless the spec says something of its inputs or outputs.
    """
    model = model if isinstance(model, Model) else Model(source=str(model))
    path = Path(model.source)
    said = (
        model.output is not None or model.outputs or model.state or model.axes or (data is not None and data.constants)
    )
    known = None if said else accepted_facts(path)
    if known is not None:
        taken = known["taken"]
        return Checked(known["batch"], Signature(**taken) if isinstance(taken, dict) else tuple(taken))
    return _read_checked(model, data, tuple(map(_stamp, [path, *external_files(path)])))


def _stamp(path: Path) -> tuple[int, int]:
    """Tells a file from what it was before; reading it tells what is wrong with it."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=8)
def _read_checked(model: Model, data: Data | None, stamps: tuple[tuple[int, int], ...]) -> Checked:
    path = Path(model.source)
    graph = read_file(path, Interface.of(model, data))
    taken = Feeds.of_graph(graph)
    if not isinstance(taken.shape, Signature) and 0 not in taken.shape:
        _upgraded(graph, path)
    return Checked(taken.batch, taken.shape)


def read_onnx_for(path: Path, shape: Shape, wanted: Interface | None = None) -> onnx.ModelProto:
    """The file's graph for inputs of a shape that agrees with its own, as one model at `OPSET` with weights as initialisers.

    Files with operators of integers, which no step changes, and those with branches or loops keep their opset. Raises ModelError.
    """
    model = read_file(path, wanted)
    fix_axes(model, shape, path, wanted.axes if wanted else None)
    raised = _upgraded(model, path)
    set_states(raised, states_of(model))
    return raised


def external_files(path: Path) -> list[Path]:
    """The files beside an ONNX file that it keeps weights in; an uploaded one has none."""
    if accepted_facts(path) is not None:
        return []
    return list(_external_files(path, _stamp(path)))


@lru_cache(maxsize=8)
def _external_files(path: Path, stamp: tuple[int, int]) -> tuple[Path, ...]:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except (OSError, DecodeError):
        return ()  # reading it tells
    tensors = external_data_helper._get_all_tensors(model)
    named = (
        external_data_helper.ExternalDataInfo(t).location for t in tensors if external_data_helper.uses_external_data(t)
    )
    return tuple(path.parent / name for name in sorted(set(named)))


def read_file(path: Path, wanted: Interface | None = None) -> onnx.ModelProto:
    """The file's graph as it is, its weights in one place, or with the interface that is wanted; raises ModelError for one that no network
    here can be.

    Where the data are not known yet, several inputs are taken as they are.
    """
    model = read_onnx(path)
    # What a bundle's file says of itself: here the spec says it.
    set_states(model, ())
    wanted = wanted or Interface()
    if graph_inputs(model):
        shape_interface(model, str(path), wanted)
    if wanted.known or len(graph_inputs(model)) <= 1:
        check_interface(model, str(path), free_axes=True, outputs_count=len(wanted.outputs) or 1)
    if (opset := opset_of(model)) < OLDEST:
        raise ModelError(
            f"{path} is of opset {opset}, older than {OLDEST}; export the network again, with opset 13 or later"
        )
    return model


def fix_axes(model: onnx.ModelProto, shape: Shape, path: Path, axes: Mapping[str, int] | None = None) -> None:
    """Give the inputs' free axes, the batch apart, the data's sizes, in place; raises ModelError where the graph does not allow them.

    `axes`: sizes that the spec gives further axes, by name.
    """
    states = {state.input for state in states_of(model)}
    inputs = [i for i in graph_inputs(model) if i.name not in states]
    sizes: dict[str, int] = dict(axes or {})
    own = {name: item for name, item, _ in shape.tensors} if isinstance(shape, Signature) else {"": shape}
    batches = {i.type.tensor_type.shape.dim[0].dim_param for i in inputs}
    changed = False
    for value in inputs:
        _, *dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, own[value.name] if value.name in own else own[""], strict=True):
            if dim.dim_value:
                continue
            if dim.dim_param and dim.dim_param not in batches and sizes.setdefault(dim.dim_param, size) != size:
                raise ModelError(
                    f"model {path}: axis {dim.dim_param!r} is {sizes[dim.dim_param]} elsewhere, but {size} of input {value.name!r}; save "
                    f"arrays "
                    "of one length, or correct model.axes"
                )
            dim.dim_value, changed = size, True
    if not changed:
        return
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes and dim.dim_param not in batches:
                dim.dim_value = sizes[dim.dim_param]
    # Recorded with the axes free.
    del model.graph.value_info[:]
    try:
        shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # its classes share no base below Exception
        raise ModelError(
            f"model {path} leaves axes of its input free, but does not go with {batch_text(shape)}: {first_line(error)}; export it for the "
            "data's shape"
        ) from None


def _upgraded(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The graph at `OPSET`, which is held against itself as it was; raises ModelError where it cannot be, or answers otherwise then."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    constants_to_initializers(plain.graph)
    if opset_of(model) >= OPSET or is_quantized(model):
        return plain
    raised = _raised(plain, path)
    if raised is None:
        return plain
    off = _difference(model, raised, path)
    if off > AGREES:
        how = (
            f"by up to {100 * off:.3g} % of the largest" if np.isfinite(off) else "in their shape, or with none at all"
        )
        raise ModelError(
            f"model {path} answers otherwise once its opset {opset_of(model)} is raised to {OPSET}, {how}; export it again, with opset "
            "13 or later"
        )
    return raised


def _raised(model: onnx.ModelProto, path: Path) -> onnx.ModelProto | None:
    """None for a graph with branches or loops, which the converter does not enter and no step changes."""
    why: Exception | None = None
    for plain in (inlined, fold):
        try:
            candidate = plain(model)
            if has_subgraphs(candidate.graph):
                continue
            raised = version_converter.convert_version(candidate, OPSET)
        except Exception as error:  # the converter's own classes share no base below Exception
            why = error
            continue
        constants_to_initializers(raised.graph)
        raised.ir_version = max(raised.ir_version, _IR_VERSION)
        return raised
    if why is None:
        return None
    raise ModelError(
        f"model {path} is of opset {opset_of(model)}, which cannot be raised to {OPSET}: {first_line(why)}; export the network again, with "
        "opset 13 or later"
    )


def _difference(model: onnx.ModelProto, other: onnx.ModelProto, path: Path) -> float:
    """How far two graphs' answers to random inputs lie apart, as a share of the largest; infinite where shapes or gaps differ."""
    rng, level = np.random.default_rng(0), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    feeds = Feeds.of_graph(model)
    try:
        first = open_session(model, level)
    except ModelError as error:
        raise ModelError(f"model {path}: {error}") from None
    try:
        second = open_session(other, level)
    except ModelError:
        return np.inf
    worst = 0.0
    for draw in range(_TRIED):
        feed = feeds(_tried(feeds, draw, rng))
        try:
            expected = first.run(None, feed)
        except Exception:  # the runtime's own classes share no base below Exception
            return worst  # a file that does not run is told of where it meets the data
        try:
            found = second.run(None, feed)
        except Exception:
            return np.inf
        worst = max(worst, *(_apart(*pair) for pair in zip(expected, found, strict=True)))
    return worst


def _apart(expected: Array, found: Array) -> float:
    if expected.shape != found.shape or (np.isfinite(expected) != np.isfinite(found)).any():
        return np.inf
    finite = np.isfinite(expected)
    if not finite.any():
        return 0.0
    size = max(float(np.abs(expected[finite]).max()), 1e-6)
    return float(np.abs(expected[finite].astype(np.float64) - found[finite]).max()) / size


def _tried(feeds: Feeds, draw: int, rng: np.random.Generator) -> Inputs:
    """Numbers around zero, pixels from 0 to 1, and both at a larger scale; of integers zeros, then zeros and ones."""
    n, shape = feeds.batch or 2, feeds.shape
    if isinstance(shape, Signature):
        return blank(shape, n) if draw == 0 else drawn(shape, n, rng)
    numbers = rng.standard_normal((n, *shape)) if draw != 1 else rng.random((n, *shape))
    return numbers.astype(np.float32) * (1 + 2 * (draw == 2))
