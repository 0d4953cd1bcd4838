"""What a teacher says of a dataset's training images, computed once and kept as an artifact of its own.

Whatever runs as an ONNX graph can teach, and every student of the same teacher reads the same file: an epoch of distillation costs
the student's time alone. The graph runs in ONNX Runtime; on a GPU in torch, where torch knows all its operators.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from engine.compress.quantization.torch_graph import FloatGraph
from engine.compress.torch_device import device, from_inputs, to_array
from engine.cores import each
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import UNLABELLED, Split
from engine.errors import SetupError, StepError
from engine.graph.graph import (
    constant_names,
    first_line,
    fixed_batch,
    open_session,
    softmax_behind,
    with_outputs,
)
from engine.graph.inputs import Feeds, Inputs, is_array, padded, shape_of
from engine.models.shapes import batch_text, check_images
from engine.models.torch_inputs import call

Half = npt.NDArray[np.float16]
# As in measure/accuracy.py: activations stay in cache, and Python's part does not count.
_BATCH = 100
# So much righter is a teacher under other names of its classes, where those are in another order; chance makes a few hundredths.
_OTHER_ORDER = 0.1
# What `torch_graph.py` reads graphs as.
_TORCH_GRAPH_OPSET = 21
_CLASSIFIERS = ("Gemm", "MatMul", "Conv")
_SOFTMAX = ("Softmax", "LogSoftmax")
# What numpy raises for a file that is missing, cut short, altered, or something else altogether.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class TeacherOutputs:
    """For each view and image, in the split's order: `logits` (views, n, classes) and `features` (views, n, width) or None.

    View 0 is the image as stored, view 1, where there is one, its mirror image. Features are what the classifier reads. float16
    keeps three digits, where a temperature divides logits anyway; values, which are no scores, are float32.
    """

    logits: Half | npt.NDArray[np.float32]
    features: Half | None

    def __len__(self) -> int:
        return int(self.logits.shape[1])

    def save(self, path: Path) -> None:
        """Write an .npz (no pickle) under exactly this name; the same outputs give the same bytes."""
        arrays = {"logits": self.logits} | ({} if self.features is None else {"features": self.features})
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> TeacherOutputs:
        """The inverse of `save`; raises SetupError for a missing or damaged file."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                loaded = cls(arrays["logits"], arrays["features"] if "features" in arrays.files else None)
        except _DAMAGE as error:
            raise SetupError(
                f"{path} holds no teacher's outputs ({error}); delete it and run the sweep again"
            ) from None
        held = [a for a in (loaded.logits, loaded.features) if a is not None]
        kinds = (np.float16, np.float32)
        if any(a.dtype not in kinds or a.ndim != 3 or a.shape[:2] != loaded.logits.shape[:2] for a in held):
            raise SetupError(
                f"{path} holds no teacher's outputs (wrong type or shape); delete it and run the sweep again"
            )
        return loaded


def teacher_outputs(
    model: onnx.ModelProto,
    split: Split,
    preprocessing: Preprocessing,
    mirrored: bool,
    features: bool,
    threads: int = 1,
    values: bool = False,
) -> TeacherOutputs:
    """Run a teacher on every image of `split`, and on its mirror image where `mirrored`; `features` keeps those too.

    Several inputs have no mirror image, and no such view. A softmax at the graph's end is left out: logits are wanted. With `values`,
    outputs are no scores, and kept as they are, (n, numbers) float32. Raises ModelError when the runtime refuses the graph, StepError when
    it does not run on these images, when its outputs are not (n, classes) numbers that float16 holds, or when features are asked of a graph
    whose classifier cannot be told (see `classifier_input`).
    """
    mirrored = mirrored and is_array(split.inputs)
    if mirrored and is_array(split.inputs):
        check_images(split.inputs.shape[1:])
    names = [
        model.graph.output[0].name if values else logits_name(model),
        *([classifier_input(model)] if features else []),
    ]
    batch = fixed_batch(model)
    on_gpu = _on_gpu(model, names)
    run = on_gpu or _in_onnx_runtime(model, names, threads)

    def said(what: tuple[int, int]) -> list[npt.NDArray[Any]]:
        view, start = what
        stored = split.inputs[start : start + (batch or _BATCH)]
        if is_array(stored):
            # Before preprocessing, which may move the width elsewhere.
            images: Inputs = np.ascontiguousarray(preprocessing(stored[..., ::-1] if view else stored))
        else:
            images = preprocessing(stored)
        n = len(images)
        images = padded(images, batch or n)
        try:
            results = run(images)
        except Exception as error:  # the runtime's own classes share no base below Exception
            shape = f"of shape {images.shape}" if is_array(images) else batch_text(shape_of(images))
            raise StepError(f"the teacher does not run on input {shape}: {first_line(error)}") from None
        return [
            _as_they_are(found, name)[:n] if values and name == names[0] else _rows(found, name, name == names[0])[:n]
            for found, name in zip(results, names, strict=True)
        ]

    kept = []
    for view in range(1 + mirrored):
        starts = [(view, start) for start in range(0, len(split), batch or _BATCH)]
        # A GPU is one: what is spread over cores are the images that a core takes itself.
        parts = [said(start) for start in starts] if on_gpu else each(said, starts)
        kept.append([np.concatenate(rows) for rows in zip(*parts, strict=True)])
    logits, *others = (np.stack(views) for views in zip(*kept, strict=True))
    return TeacherOutputs(logits, others[0] if features else None)


Run = Callable[[Inputs], list[npt.NDArray[Any]]]
"""Images (n, C, H, W), or what else the graph takes -> the tensors asked for."""


def _in_onnx_runtime(model: onnx.ModelProto, names: list[str], threads: int) -> Run:
    session, feeds = open_session(with_outputs(model, names), threads=threads), Feeds.of_graph(model)
    return lambda images: session.run(names, feeds(images))


def _on_gpu(model: onnx.ModelProto, names: list[str]) -> Run | None:
    """None where the calling thread has no GPU, or torch cannot run the graph."""
    if device().type == "cpu" or any(o.version < _TORCH_GRAPH_OPSET for o in model.opset_import if o.domain == ""):
        return None
    try:
        graph = FloatGraph(model, names)
    except StepError:
        return None

    def run(images: Inputs) -> list[npt.NDArray[Any]]:
        with torch.no_grad():
            return [to_array(found) for found in call(graph, from_inputs(images))]

    return run


def teacher_note(outputs: TeacherOutputs, labels: npt.NDArray[np.int64]) -> str | None:
    """What to know of a teacher that the labels (n,) of the training images contradict; None for one that has learnt these."""
    said, meant = outputs.logits[0].argmax(1), labels[: len(outputs)]
    if (meant == UNLABELLED).any():
        return None
    right, guessed = float((said == meant).mean()), float(np.bincount(meant).max() / len(meant))
    # If each of its classes were called by the label that it goes with most often, in half of the images; the other half tells.
    classes = max(outputs.logits.shape[2], int(meant.max()) + 1)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (said[::2], meant[::2]), 1)
    renamed = float((counts.argmax(1)[said[1::2]] == meant[1::2]).mean()) if len(meant) > 1 else 0.0
    if renamed - right > _OTHER_ORDER and renamed > guessed + _OTHER_ORDER:
        return (
            f"the teacher is right on {right:.1%} of the training images, and would be on {renamed:.1%} if its classes were named "
            "otherwise: they seem to be in another order than the dataset's"
        )
    if right <= guessed:
        return f"the teacher is right on {right:.1%} of the training images, no more than who always says the commonest class"
    return None


def _rows(values: npt.NDArray[np.float32], name: str, is_logits: bool) -> Half:
    """(n, width); what a convolution reads, (n, width, height, width of the map), is averaged over the map."""
    if values.dtype == np.float32 and values.ndim == 4 and not is_logits:
        values = values.mean((2, 3))
    if values.dtype != np.float32 or values.ndim != 2:
        raise StepError(
            f"the teacher's {'output' if is_logits else 'features'} {name!r} are {values.dtype} of shape {values.shape}; "
            + ("a teacher must give float32 (N, classes)" if is_logits else "use feature_weight 0 with this teacher")
        )
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise StepError(f"the teacher's {name!r} are not numbers, or above 65,504; choose a teacher that was trained")
    return half


def _as_they_are(found: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    """(n, numbers) float32; raises StepError where they are no numbers."""
    with np.errstate(over="ignore"):
        values = found.reshape(len(found), -1).astype(np.float32)
    if not np.isfinite(values).all():
        raise StepError(f"the teacher's output {name!r} is not all numbers; choose a teacher that was trained")
    return values


def logits_name(model: onnx.ModelProto) -> str:
    """The graph's output, or what the softmax reads that makes it, whatever rounds, casts or reshapes its shares afterwards."""
    output = model.graph.output[0].name
    last = softmax_behind(model)
    return str(last.input[0] if last is not None and last.op_type in _SOFTMAX else output)


def classifier_input(model: onnx.ModelProto) -> str:
    """The tensor that the classifier reads: the input of the last Gemm, MatMul or Conv on the way to the output.

    Where that is a convolution (SqueezeNet), its input is a map of features. Raises StepError where several branches meet after the
    last layer, so that there is no one classifier, or where there is none.
    """
    constants = constant_names(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    name = logits_name(model)
    while name in makers:
        node = makers[name]
        dynamic = [i for i in node.input if i and i not in constants]
        if len(dynamic) != 1:
            break
        if node.op_type in _CLASSIFIERS:
            return str(dynamic[0])
        name = dynamic[0]
    raise StepError(
        f"the teacher has no single classifier before its output ({name!r} is not made by one layer); use feature_weight 0"
    )
