"""ONNX files that other tools have made, to be measured as they are: checked against the data, no operator changed, no opset raised.

A file is its bytes. Where it keeps weights in other files, it is those of the one file that has them all.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import fixed_batch, input_shape, save_onnx
from engine.graph.inline import inlined
from engine.graph.multiplying import UNCOUNTED
from engine.models.fits import check_answers, check_shape
from engine.models.onnx_file import external_files, fix_axes, read_file

# What a protobuf message can hold.
_LARGEST = 2**31 - 1


def bytes_of(path: Path) -> bytes:
    """The bytes that stand for a file, which need no other file; raises ModelError for one that cannot be used."""
    model = read_file(path)
    if not external_files(path):
        return path.read_bytes()
    if model.ByteSize() > _LARGEST:
        raise ModelError(
            f"{path} has {model.ByteSize() / 1e9:.1f} GB with its weights; files of up to 2 GB can be added"
        )
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def check_made(path: Path, data: Dataset, batch: int | None, name: str | None = None) -> None:
    """Raises ModelError, which calls the file `name`, unless it takes the data and gives a score for each class.

    `batch`: how many items a timed run has, None where nothing is timed; a file that fixes its batch must fix that one.
    """
    said = name or str(path)
    model = read_file(path)
    check_shape(said, input_shape(model), data)
    fix_axes(model, data.input_shape, Path(said))
    check_answers(said, model, data)
    fixed = fixed_batch(model)
    if fixed and batch and fixed != batch:
        raise ModelError(
            f"model {said} takes batches of {fixed} only, but latency is measured with {batch} in this sweep; export it with a free batch, "
            f"or with {batch}"
        )


def fit(made: Path, data: Dataset, output: Path) -> str:
    """Write the file that is measured: the same bytes, or with the free axes fixed to the data's; what a trial is to say of it.

    Raises ModelError for a file that does not go with the data.
    """
    said = "that was added"
    check_made(made, data, None, said)
    model = read_file(made)
    if 0 not in input_shape(model):
        shutil.copyfile(made, output)
        how = "measured as it is"
    else:
        fix_axes(model, data.input_shape, Path(said))
        save_onnx(model, output)
        how = "nothing but the free axes of its input was changed, to the data's sizes"
    found = f"made elsewhere, {how} (SHA-256 {hashlib.sha256(made.read_bytes()).hexdigest()[:12]}…)"
    if uncounted := sorted({n.op_type for n in inlined(model).graph.node} & UNCOUNTED):
        found += f"; parameters, MACs and estimates for devices leave out its operators {', '.join(uncounted)}"
    return found
