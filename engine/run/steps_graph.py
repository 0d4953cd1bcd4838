"""A network's graph as steps work on it: one output, and states as inputs among others, with what they hold along a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import UNTOUCHED
from engine.datasets.splits import Split
from engine.graph.graph import load_onnx, open_session
from engine.graph.inputs import Array, Feeds, NamedArrays, is_array, padded
from engine.graph.one_output import as_one, as_several
from engine.graph.states import counted, set_states, states_of

_COMPARED = 100
_STREAM = 8
"""So many samples are a stream: the first of them begins with zeros, as every sample that is measured does."""
_BATCH = 100


@dataclass(frozen=True)
class StepsGraph:
    """`model` has one output, whatever its file has; `outputs` are those of the file; `data` goes with the model."""

    model: onnx.ModelProto
    outputs: tuple[onnx.ValueInfoProto, ...]
    data: Dataset

    @property
    def imitates(self) -> bool:
        """Whether a training is to make all outputs those of the float network, states among them, whatever the data have labels of."""
        return len(self.outputs) > 1

    @property
    def imitated(self) -> str | None:
        """What a trained trial is to say."""
        if not self.imitates:
            return None
        names = ", ".join(o.name for o in self.outputs)
        return f"training imitates the float network's {names}, each by what it varies by"

    def as_file(self, made: onnx.ModelProto) -> onnx.ModelProto:
        """What a step made of `model`, with the outputs and states of the file that it was made from."""
        if len(self.outputs) == 1:
            return made
        found = as_several(made, self.outputs)
        set_states(found, states_of(self.model))
        return found


def steps_graph(path: Path, data: Dataset, calibrates: int = _COMPARED, trains: bool = False) -> StepsGraph:
    """Of a file that may have several outputs, states among them.

    Then all outputs are made one (`as_one`). Of a network with states the data get these as inputs, for `calibrates` samples to calibrate,
    for validation, and, where it `trains`, for training: every eighth sample begins with zeros, the others with what the one before left
    in the float network, as in a stream. Outputs are no scores of classes then. Raises ModelError.
    """
    model = load_onnx(path, several=True)
    outputs = tuple(model.graph.output)
    if len(outputs) == 1:
        return StepsGraph(model, outputs, data)
    if states_of(model):
        data = _streamed(model, data, max(calibrates, _COMPARED), trains)
    return StepsGraph(as_one(model, data.preprocessing(data.calibration.head(_COMPARED).inputs)), outputs, data)


def _streamed(model: onnx.ModelProto, data: Dataset, calibrates: int, trains: bool) -> Dataset:
    calibration, validation, train = (
        _stream(model, data, split)
        for split in (data.calibrating(calibrates), data.validation, data.train if trains else data.train.head(1))
    )
    return replace(
        data,
        task="fidelity",
        classes=(),
        preprocessing=UNTOUCHED,
        calibration=calibration,
        validation=validation,
        train=train,
    )


def _stream(model: onnx.ModelProto, data: Dataset, split: Split) -> Split:
    """A split whose inputs have the states, first axis samples, that stand before each of them in a stream."""
    feeds, states = Feeds.of_graph(model), [s for s in states_of(model) if s.axis is not None]
    inputs = data.preprocessing(split.inputs)
    named = {feeds.taken[0].name: inputs} if is_array(inputs) else dict(inputs.arrays)
    n, held = len(split), dict[str, Array]()
    blank = feeds.zeros(1)
    for state in states:
        sizes = np.moveaxis(blank[state.input], state.axis or 0, 0).shape[1:]
        held[state.input] = np.zeros((n, *sizes), blank[state.input].dtype)
    session = open_session(model)
    fixed = feeds.batch
    # A sample's state is known once the one that stands so far before it has been run.
    lanes = max(-(-n // _STREAM), fixed or 1)
    size = fixed or min(_BATCH, lanes)
    for start in range(0, n - lanes if states else 0, size):
        end = min(start + size, n - lanes)
        part = NamedArrays({name: array[start:end] for name, array in (named | held).items()})
        given = session.run([s.output for s in states], feeds(padded(part, fixed or 0)))
        for state, array in zip(states, given, strict=True):
            left = np.moveaxis(array, state.axis or 0, 0)[: end - start]
            held[state.input][start + lanes : end + lanes] = left
    return Split(NamedArrays(named | held), split.labels, split.targets, split.slices)


def counted_as_one(path: Path, data: Dataset) -> onnx.ModelProto:
    """The graph with the outputs that count, made one where they are several; states are zeros. Raises ModelError."""
    model = load_onnx(path, several=True)
    names = counted(model)
    if len(names) < len(model.graph.output):
        kept = [onnx.ValueInfoProto.FromString(o.SerializeToString()) for o in model.graph.output if o.name in names]
        del model.graph.output[:]
        model.graph.output.extend(kept)
    return as_one(model, data.preprocessing(data.calibration.head(_COMPARED).inputs)) if len(names) > 1 else model
