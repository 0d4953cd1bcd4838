"""What an ONNX file says in ONNX Runtime about every sample of a split. What follows from it: `engine/quality/`, without running again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.cores import each
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import StepError
from engine.graph.graph import gives_shares, read_onnx
from engine.graph.inputs import padded
from engine.graph.multiplying import rounds_as_it_runs
from engine.graph.outputs import Layout
from engine.graph.states import counted
from engine.measure.session import Runner
from engine.quality.predictions import (
    Predictions,
    are_shares,
    concatenated,
    from_scores,
    least_share,
    scores_of_shares,
)

# 100 images are few enough for activations to stay in cache, and many enough that Python's part does not count.
_BATCH = 100


def counted_in(path: Path, runner: Runner) -> int:
    """How many samples a file is run on at once: what it insists on, or one where it rounds to what it finds in a batch, or 100."""
    if runner.fixed_batch:
        return runner.fixed_batch
    return 1 if rounds_as_it_runs(read_onnx(path)) else _BATCH


def predict(
    path: Path,
    split: Split,
    preprocessing: Preprocessing,
    classes: int,
    threads: int = 1,
    graph_optimisation: str = "all",
    provider: str = "CPU",
) -> Predictions:
    """Run the file on every image of `split`, in batches of 100, or as `counted_in` says.

    Where the file ends in a softmax, or gives shares in another way, they are taken as such.

    Raises StepError when there are no images, ONNX Runtime cannot load or run the file, it does not give one score for each of `classes`
    classes, or its scores are not numbers (training diverged).
    """
    how = {"threads": threads, "graph_optimisation": graph_optimisation, "provider": provider}
    return predictions_of(as_scores(path, class_outputs(path, split, preprocessing, classes, **how)), split)


def class_outputs(
    path: Path, split: Split, preprocessing: Preprocessing, classes: int, **how: Any
) -> list[npt.NDArray[Any]]:
    """What the file gives for all images, as it gives it, one number for each class, in consecutive batches (b, classes). `how` is as of
    `predict`, which also says what is raised.
    """

    def check(found: npt.NDArray[Any], n: int) -> None:
        if found.ndim != 2 or len(found) != n:
            raise StepError(f"{path.name} gives an output of shape {found.shape}; (N, classes) is needed")
        if found.shape[1] != classes:
            raise StepError(
                f"{path.name} gives {found.shape[1]} scores for an image, but the dataset has {classes} classes; "
                "give a model for these classes, or name the classes that it knows under data.classes"
            )

    return _run(path, split, preprocessing, check, "logits that are not numbers (NaN), first for image", **how)


def as_scores(path: Path, outputs: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Batches of `class_outputs` as scores whose softmax they are: shares are turned into their logarithms."""
    # What they are is told by all of them: one image may look like anything.
    if gives_shares(onnx.load_model(path, load_external_data=False)) or all(map(are_shares, outputs)):
        least = min(map(least_share, outputs))
        return [scores_of_shares(part, least) for part in outputs]
    return outputs


def predictions_of(batches: list[npt.NDArray[Any]], split: Split) -> Predictions:
    """From what `scores` gives."""
    parts, start = [], 0
    for part in batches:
        parts.append(from_scores(part, split.labels[start : start + len(part)]))
        start += len(part)
    return concatenated(parts)


def values(path: Path, split: Split, preprocessing: Preprocessing, **how: Any) -> npt.NDArray[Any]:
    """The file's output for every sample of `split`, (n, …) of any shape, run as `predict` does; several outputs as `layout_of` has them.

    Raises StepError when there are no samples, ONNX Runtime cannot load or run the file, or the output does not have one row for each
    sample, or holds NaN.
    """

    def check(found: npt.NDArray[Any], n: int) -> None:
        if found.ndim < 1 or len(found) != n:
            raise StepError(
                f"{path.name} gives an output of shape {found.shape} for {n} samples; one row for each is needed"
            )

    nan = "outputs that are not numbers (NaN), first for sample"
    return np.concatenate(_run(path, split, preprocessing, check, nan, **how))


def layout_of(path: Path, split: Split, preprocessing: Preprocessing) -> Layout | None:
    """How `values` of a file with several outputs lie side by side; None for a file with one. Raises StepError as `values`."""
    if len(counted(onnx.load_model(path, load_external_data=False))) < 2:
        return None
    runner = Runner(path, 1)
    inputs = preprocessing(split.inputs[:1])
    runner(padded(inputs, runner.fixed_batch or 1))
    return runner.layout


def _run(
    path: Path,
    split: Split,
    preprocessing: Preprocessing,
    check: Callable[[npt.NDArray[Any], int], None],
    nan: str,
    threads: int = 1,
    **how: Any,
) -> list[npt.NDArray[Any]]:
    if not len(split):
        raise StepError(f"{path.name} has no images to be measured on; give the dataset at least one test image")
    runner = Runner(path, threads, **how)
    batch = counted_in(path, runner)

    def outputs_from(start: int) -> npt.NDArray[Any]:
        inputs = preprocessing(split.inputs[start : start + batch])
        n = len(inputs)
        inputs = padded(inputs, runner.fixed_batch or n)
        found = runner(inputs)
        check(found, len(inputs))
        bad = np.flatnonzero(np.isnan(found[:n].astype(np.float64).reshape(n, -1)).any(axis=1))
        if len(bad):
            raise StepError(f"{path.name} gives {nan} {start + int(bad[0])}")
        return found[:n]

    # Samples are spread over the cores, not the sums of one: the answers are the same however many there are.
    return list(each(outputs_from, range(0, len(split), batch)))
