"""Whether a graph and a dataset fit each other, told before any work starts. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import first_line, open_session
from engine.graph.inputs import Array, Feeds, Shape, Signature, blank, resized
from engine.graph.states import State, counted, states_of
from engine.models.shapes import batch_text, noun, shape_text

# Real samples that a graph is tried on.
_TRIED = 100


def check_answers(source: str, model: onnx.ModelProto, data: Dataset) -> None:
    """Raises ModelError unless a graph that takes the data's shape gives a score for each class, for one input and for several; of values,
    unless it gives a row for each input.
    """
    try:
        session = open_session(model)
    except ModelError as error:
        raise ModelError(f"model {source}: {error}") from None
    feeds, states = Feeds.of_graph(model), states_of(model)
    names = counted(model)
    shape, fixed = data.input_shape, feeds.batch
    plain = not isinstance(shape, Signature) and not isinstance(feeds.shape, Signature)
    # Zeros are no pixels, and may be no token: what is not floats is tried on real samples.
    some = None if plain else data.preprocessing(data.calibration.head(_TRIED).inputs)
    for n in (fixed,) if fixed else (3, 1):
        many = f"{n} {noun(shape)}" if n > 1 else f"one {noun(shape, 1)}"
        try:
            feed = feeds(blank(shape, n) if some is None else resized(some, n))
            given = session.run(names, feed)
            found = given[0].shape
            _check_states(source, session, states, feed)
        except ModelError as error:
            raise ModelError(f"model {source}: {error}") from None
        except Exception as error:  # the runtime's own classes share no base below Exception
            raise ModelError(
                f"model {source} does not run on {many}: {first_line(error)}; export it with a free batch"
            ) from None
        if len(given) > 1 and data.has_classes:
            raise ModelError(
                f"model {source}: several outputs count, but the data have classes; name the one with their scores under model.output, or "
                "write data.task: other, with a metric of your own"
            )
        if not data.has_classes:
            for name, one in zip(names, given, strict=True):
                check_rows(f"{source}: its output {name!r}" if len(names) > 1 else source, one.shape, n, many)
            continue
        if len(found) != 2 or found[0] != n:
            raise ModelError(
                f"model {source} gives {found} for {many}, not ({n}, {len(data.classes)}); where one {noun(shape, 1)} alone differs, "
                "something, such as a Squeeze of all axes, drops its batch: flatten instead, and export again"
            )
        check_scores(source, found[1], data)


def _check_states(
    source: str, session: onnxruntime.InferenceSession, states: Sequence[State], feed: Mapping[str, Array]
) -> None:
    """Raises ModelError unless what is fed back is as what it is fed into, in shape and type."""
    for state, back in zip(states, session.run([s.output for s in states], dict(feed)) if states else (), strict=True):
        taken = feed[state.input]
        if (back.shape, back.dtype) != (taken.shape, taken.dtype):
            raise ModelError(
                f"model {source}: state {state.input!r} is {taken.dtype} {taken.shape}, but {state.output!r}, which is fed back into it, "
                f"is {back.dtype} {back.shape}; correct model.state"
            )


def check_rows(source: str, found: tuple[int, ...], n: int, many: str) -> None:
    """Raises ModelError unless outputs that are values have one row for each of n inputs, which `many` words."""
    if not found or found[0] != n:
        raise ModelError(
            f"model {source} gives {found} for {many}; one row for each is needed: something drops or mixes the batch, such as a Squeeze "
            "of all axes"
        )


def check_scores(source: str, given: int, data: Dataset) -> None:
    """Raises ModelError unless there is a score for each class."""
    if given == 1 and len(data.classes) == 2:
        raise ModelError(
            f"model {source} gives one number for two classes; export it with a score for each, or write data.task: other with a metric of "
            "your own, path/to/file.py:function(outputs, targets)"
        )
    if given != len(data.classes):
        raise ModelError(
            f"model {source} gives {given} scores for {_article(data)} {noun(data.input_shape, 1)}, but the dataset has "
            f"{len(data.classes)} classes; give a model for these classes, or name the classes that it knows under data.classes"
        )


def _article(data: Dataset) -> str:
    return "an" if noun(data.input_shape, 1)[0] in "aeiou" else "a"


def check_shape(source: str, taken: Shape, data: Dataset) -> None:
    """Raises ModelError unless a graph takes the data's shape; an axis of `taken`, which has no batch axis, is 0 where it is free."""
    shape, last = data.input_shape, data.preprocessing.channels_last
    if isinstance(shape, Signature) or isinstance(taken, Signature):
        _check_signature(source, _named(taken), _named(shape), data)
        return
    if agrees(taken, shape):
        return
    turned = (shape[-1], *shape[:-1]) if last else (*shape[1:], shape[0])
    if len(shape) > 1 and agrees(taken, turned):
        here, there = ("last (NHWC)", "first") if last else ("first", "last (NHWC)")
        remedy = (
            "leave data.preprocess.layout out"
            if last
            else "write `preprocess: {layout: NHWC}` under data, or export it with channels first"
        )
        raise ModelError(
            f"model {source} takes {noun(shape)} as {_free_text(taken)}, channels {there}, but they come as {batch_text(shape)}, channels "
            f"{here}, here; {remedy}"
        )
    # Arrays of three axes are read as images of one channel.
    kept = ", or write data.kind: series" if len(taken) == 2 and shape[0] == 1 and agrees(taken, shape[1:]) else ""
    here = f"those of {data.name} are" if len(taken) == len(shape) else f"{data.name} has {noun(shape)} of"
    raise ModelError(
        f"model {source} takes {noun(taken)} of {'×'.join(str(size or '?') for size in taken)}, but {here} "
        f"{shape_text(shape)}; give a model for such {noun(shape)}, or other {noun(taken)}{kept}"
    )


def agrees(taken: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """The same number of axes, and the same size wherever the graph fixes one."""
    return len(taken) == len(shape) and all(size in (0, own) for size, own in zip(taken, shape, strict=True))


def _free_text(taken: tuple[int, ...]) -> str:
    return f"(N, {', '.join(str(size or '?') for size in taken)})"


_Named = dict[str, tuple[tuple[int, ...], str]]


def _named(shape: Shape) -> _Named:
    tensors = shape.tensors if isinstance(shape, Signature) else (("", shape, "float32"),)
    return {name: (axes, kind) for name, axes, kind in tensors}


def _check_signature(source: str, taken: _Named, given: _Named, data: Dataset) -> None:
    """As `check_shape`, where one of the two is not one array of floats."""
    if [*taken] == [""] and len(given) == 1:
        given = {"": next(iter(given.values()))}
    for name in [*taken, *given]:
        if name not in taken or name not in given:
            has, lacks = ("the model", "the data") if name in taken else ("the data", "the model")
            raise ModelError(
                f"model {source} takes {_listed(taken)}, but {data.name} has {_listed(given)}: {name or 'one array'} of {has} is not one "
                f"of "
                f"{lacks}; correct data.inputs"
            )
    for name, (axes, kind) in taken.items():
        own, stored = given[name]
        what = f"input {name!r}" if name else "its input"
        if not agrees(axes, own):
            raise ModelError(
                f"model {source}: {what} is {_free_text(axes)}, but {data.name} has {batch_text(own)} of it; save it in this shape"
            )
        floats, others = np.dtype(kind).kind == "f", np.dtype(stored).kind != "f"
        if floats and others and not name:
            raise ModelError(
                f"model {source}: {what} is {kind}, but {data.name} has {stored}; save numbers as float32: x.astype(np.float32), or write "
                "data.preprocess: {scale: …} where they are to be scaled"
            )
        if not floats and not others and not name and not _is_plain(data):
            raise ModelError(
                f"model {source}: {what} is {kind}, but preprocessing makes floats of the data; write data.preprocess: none"
            )


def _is_plain(data: Dataset) -> bool:
    way = data.preprocessing
    return way.untouched or (way.scale == 1 and set(way.mean) == {0.0} and set(way.std) == {1.0})


def _listed(named: _Named) -> str:
    return ", ".join(f"{name} {kind} {batch_text(axes)}".strip() for name, (axes, kind) in named.items())
