"""ONNX files that other tools have made, to be measured as they are: checked against the data, no operator changed, no opset raised.

A file is its bytes. Where it keeps weights in other files, it is those of the one file that has them all.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import onnx

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import fixed_batch, graph_inputs, read_onnx, save_onnx
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds, is_array
from engine.graph.multiplying import UNCOUNTED
from engine.graph.spelled_out import spelled_out
from engine.graph.states import states_of
from engine.models.fits import check_answers, check_shape
from engine.models.interface import Interface
from engine.models.onnx_file import external_files, fix_axes, read_file
from engine.spec.sections import Model

# What a protobuf message can hold.
_LARGEST = 2**31 - 1


def bytes_of(path: Path) -> bytes:
    """The bytes that stand for a file, which need no other file; raises ModelError for one that cannot be used."""
    model = read_onnx(path)
    if not external_files(path):
        return path.read_bytes()
    if model.ByteSize() > _LARGEST:
        raise ModelError(
            f"{path} has {model.ByteSize() / 1e9:.1f} GB with its weights; files of up to 2 GB can be added"
        )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def check_made(
    path: Path, data: Dataset, batch: int | None, name: str | None = None, like: Model | None = None
) -> None:
    """Raises ModelError, which calls the file `name`, unless it takes the data and gives a score for each class.

    `like`: the section of the sweep's model, which says what of its inputs and outputs counts.

    `batch`: how many items a timed run has, None where nothing is timed; a file that fixes its batch must fix that one.
    """
    said = name or str(path)
    model = _read(path, data, like)
    check_shape(said, Feeds.of_graph(model).shape, data)
    fix_axes(model, data.input_shape, Path(said), like.axes if like else None)
    check_answers(said, model, data)
    fixed = fixed_batch(model)
    if fixed and batch and fixed != batch:
        raise ModelError(
            f"model {said} takes batches of {fixed} only, but latency is measured with {batch} in this sweep; export it with a free batch, "
            f"or with {batch}"
        )


def _read(path: Path, data: Dataset, like: Model | None) -> onnx.ModelProto:
    """The file's graph, with constants, states and the output as in the sweep's own; one that has been made so already needs none of it."""
    wanted, names = Interface.of(section_for(path, like or Model(source=str(path))), data), inputs_of(path)
    wanted = replace(
        wanted,
        constants={name: value for name, value in wanted.constants.items() if name in names},
        # A single input may be called otherwise.
        arrays=None if len(names) == 1 and is_array(data.train.inputs) else wanted.arrays,
    )
    return read_file(path, wanted)


def section_for(path: Path, like: Model) -> Model:
    """The model's section for a file that stands in the place of a sweep's own: as the sweep has it, but for what the file has no more.

    Raises ModelError for a file that cannot be read.
    """
    model = read_onnx(path)
    names, given = {i.name for i in graph_inputs(model)}, [o.name for o in model.graph.output]
    return Model(
        source=str(path.resolve()),
        output=None if len(given) == 1 else like.output,
        outputs=_counted(like.outputs, given),
        state={name: back if back in given else None for name, back in like.state.items() if name in names},
        axes=like.axes,
    )


def inputs_of(path: Path) -> set[str]:
    """The names of what a file is fed. Raises ModelError."""
    return {i.name for i in graph_inputs(read_onnx(path))}


def _counted(wanted: tuple[str | int, ...], given: list[str]) -> tuple[str | int, ...]:
    """The outputs that count: as many as a file has may be called otherwise in it, and a file made from the sweep's own has no others."""
    if all(at in given for at in wanted) or len(wanted) != len(given):
        return wanted
    return tuple(range(len(given)))


def fit(made: Path, data: Dataset, output: Path, like: Model | None = None) -> str:
    """Write the file that is measured: the same bytes, or with the free axes fixed to the data's, and the inputs and the output that count
    as `like`, the section of the sweep's model, has it; what a trial is to say of it.

    Raises ModelError for a file that does not go with the data.
    """
    said = "that was added"
    check_made(made, data, None, said, like)
    model, file = _read(made, data, like), read_onnx(made)
    feeds = Feeds.of_graph(model)
    as_it_is = _interface(model) == _interface(file)
    if as_it_is and not states_of(model) and all(all(taken.axes[1:]) for taken in feeds.taken):
        shutil.copyfile(made, output)
        how = "measured as it is"
    else:
        fix_axes(model, data.input_shape, Path(said), like.axes if like else None)
        save_onnx(model, output)
        how = "nothing but the free axes of its input was changed, to the data's sizes"
        if states_of(model):
            how = "with the states of this sweep noted in it, and no operator changed"
        elif not as_it_is:
            how = "with constants, states and the output that counts as in this sweep, and no operator changed"
    found = f"made elsewhere, {how} (SHA-256 {hashlib.sha256(made.read_bytes()).hexdigest()[:12]}…)"
    if uncounted := sorted({n.op_type for n in spelled_out(inlined(model)).graph.node} & UNCOUNTED):
        found += f"; parameters, MACs and estimates for devices leave out its operators {', '.join(uncounted)}"
    return found


def _interface(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    return [i.name for i in graph_inputs(model)], [o.name for o in model.graph.output]
