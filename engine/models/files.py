"""Graphs that users bring as a file, ONNX of any age or a program of torch.export: checked, and made into what the steps work on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from engine.datasets.dataset import Dataset
from engine.graph.graph import fixed_batch, graph_inputs, open_session
from engine.models.exported import check_program, program_to_onnx, read_interface
from engine.models.fits import check_answers, check_shape
from engine.models.onnx_file import external_files, read_checked, read_onnx_for


def _is_program(path: Path) -> bool:
    return path.suffix == ".pt2"


def check_file(path: Path) -> None:
    """All that can be told of a file without the data; raises ModelError."""
    batch_of(path)


def batch_of(path: Path) -> int | None:
    """Items per run where the file fixes that, None where any number will do; raises ModelError for a file that cannot be used."""
    return read_interface(path).taken[0] or None if _is_program(path) else read_checked(path).batch


def taken_by(path: Path) -> tuple[int, ...]:
    """The axes of one item that a file takes, 0 where they are free; raises ModelError for a file that cannot be used."""
    return read_interface(path).taken[1:] if _is_program(path) else read_checked(path).taken


def given_by(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what a file gives for one item of this shape; raises ModelError for a file that cannot be used."""
    if _is_program(path):
        return read_interface(path).given[1:]
    model = read_onnx_for(path, shape)
    blank = np.zeros((fixed_batch(model) or 1, *shape), np.float32)
    return tuple(open_session(model).run(None, {graph_inputs(model)[0].name: blank})[0].shape[1:])


def files_of(path: Path) -> list[Path]:
    """The file, and those beside it that it keeps weights in."""
    return [path] if _is_program(path) else [path, *external_files(path)]


def check_fits(source: str, data: Dataset) -> None:
    """Raises ModelError unless the file takes inputs as `data` has them, one and several at a time, and gives a score for each class.

    Of a program, which only torch can run, what it says of itself is checked; it is run when it is loaded.
    """
    path = Path(source)
    if _is_program(path):
        check_program(path, data)
        return
    check_shape(source, read_checked(path).taken, data)
    check_answers(source, read_onnx_for(path, data.input_shape), data)


def load_file(path: Path, data: Dataset) -> tuple[onnx.ModelProto, str | None]:
    """The graph that recipes start from, one self-contained model of a known input shape, and what to know of it; raises ModelError."""
    if _is_program(path):
        model, note = program_to_onnx(path, data)
        check_answers(str(path), model, data)
        return model, note
    check_shape(str(path), read_checked(path).taken, data)
    return read_onnx_for(path, data.input_shape), None
