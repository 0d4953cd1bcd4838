"""Graphs that users bring as a file, ONNX of any age or a program of torch.export: checked, and made into what the steps work on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import fixed_batch, open_session
from engine.graph.inputs import Feeds, Shape, Signature, resized
from engine.graph.states import states_of
from engine.models.exported import check_program, program_to_onnx, read_interface
from engine.models.fits import check_answers, check_shape
from engine.models.interface import Interface
from engine.models.onnx_file import external_files, read_checked, read_file, read_onnx_for
from engine.spec.sections import Data, Model


def _is_program(path: Path) -> bool:
    return path.suffix == ".pt2"


def _section(model: Model | Path | str) -> Model:
    return model if isinstance(model, Model) else Model(source=str(model))


def check_file(model: Model | Path) -> None:
    """All that can be told of a file without the data; raises ModelError."""
    batch_of(model)


def batch_of(model: Model | Path, data: Data | None = None) -> int | None:
    """Items per run where the file fixes that, None where any number will do; raises ModelError for a file that cannot be used."""
    model = _section(model)
    path = Path(model.source)
    if not _is_program(path):
        return read_checked(model, data).batch
    if model.output is not None or model.outputs or model.state or model.axes:
        raise ModelError(
            f"model {path} is an exported program, of which model.output, outputs, state and axes change nothing; leave them out"
        )
    return read_interface(path).batch or None


def taken_by(model: Model, data: Data | None = None) -> Shape:
    """The axes of one item that a file takes, 0 where they are free; raises ModelError for a file that cannot be used."""
    path = Path(model.source)
    return read_interface(path).taken if _is_program(path) else read_checked(model, data).taken


def given_by(model: Model, data: Dataset) -> tuple[int, ...]:
    """The shape of what a file gives for one item of the data; raises ModelError for a file that cannot be used."""
    path = Path(model.source)
    if _is_program(path):
        return read_interface(path).given[1:]
    graph = read_onnx_for(path, data.input_shape, Interface.of(model, data))
    feed = Feeds.of_graph(graph)(resized(data.preprocessing(data.train.inputs[:1]), fixed_batch(graph) or 1))
    return tuple(open_session(graph).run(None, feed)[0].shape[1:])


def files_of(path: Path) -> list[Path]:
    """The file, and those beside it that it keeps weights in."""
    return [path] if _is_program(path) else [path, *external_files(path)]


def check_fits(model: Model | str, data: Dataset) -> None:
    """Raises ModelError unless the file takes inputs as `data` has them, one and several at a time, and gives a score for each class.

    Of a program, which only torch can run, what it says of itself is checked; it is run when it is loaded.
    """
    model = _section(model)
    path = Path(model.source)
    if _is_program(path):
        check_program(path, data)
        return
    _check_taken(model, data)
    check_answers(model.source, read_onnx_for(path, data.input_shape, Interface.of(model, data)), data)


def _check_taken(model: Model, data: Dataset) -> None:
    if isinstance(data.input_shape, Signature) or data.only or data.constants or model.state:
        taken = Feeds.of_graph(read_file(Path(model.source), Interface.of(model, data))).shape
    else:
        taken = read_checked(model).taken
        if isinstance(taken, Signature) and len(taken.tensors) > 1:
            read_file(Path(model.source), Interface.of(model, data))  # says what is missing
    check_shape(model.source, taken, data)


def load_file(model: Model | Path, data: Dataset) -> tuple[onnx.ModelProto, str | None]:
    """The graph that recipes start from, one self-contained model of a known input shape, and what to know of it; raises ModelError."""
    model = _section(model)
    path = Path(model.source)
    if _is_program(path):
        graph, note = program_to_onnx(path, data)
        check_answers(str(path), graph, data)
        return graph, note
    _check_taken(model, data)
    graph = read_onnx_for(path, data.input_shape, Interface.of(model, data))
    return graph, _interface_note(model, data, [state.input for state in states_of(graph)])


def _interface_note(model: Model, data: Dataset, states: Sequence[str]) -> str | None:
    """What to know of a file that takes less than the one that it was made from, and of its states."""
    told = [f"input {name} is {value!r:.40} in it" for name, value in data.constants.items()]
    if states:
        told.append(f"state {', '.join(states)} is zero at the start of every sample, and is fed back in a stream")
    if stored := [name for name in model.state if name not in states]:
        told.append(f"state {', '.join(stored)} is zero at the start of every sample, and no input of it")
    return "; ".join(told) or None
