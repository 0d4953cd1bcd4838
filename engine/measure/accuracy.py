"""What an ONNX file says in ONNX Runtime about every image of a split. What follows from it: `engine/quality/`, without running again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.cores import each
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import StepError
from engine.graph.graph import gives_shares
from engine.graph.inputs import padded
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
BATCH = 100


def predict(
    path: Path,
    split: Split,
    preprocessing: Preprocessing,
    classes: int,
    threads: int = 1,
    graph_optimisation: str = "all",
    provider: str = "CPU",
) -> Predictions:
    """Run the file on every image of `split`, in batches of 100, or of what the file insists on.

    Where the file ends in a softmax, or gives shares in another way, they are taken as such.

    Raises StepError when there are no images, ONNX Runtime cannot load or run the file, it does not give one score for each of `classes`
    classes, or its scores are not numbers (training diverged).
    """
    if not len(split):
        raise StepError(f"{path.name} has no images to be measured on; give the dataset at least one test image")
    runner = Runner(path, threads, graph_optimisation, provider)
    batch = runner.fixed_batch or BATCH
    shares = gives_shares(onnx.load_model(path, load_external_data=False))

    def scores_from(start: int) -> npt.NDArray[Any]:
        images = preprocessing(split.inputs[start : start + batch])
        n = len(images)
        images = padded(images, runner.fixed_batch or n)
        scores = runner(images)
        if scores.ndim != 2 or len(scores) != len(images):
            raise StepError(f"{path.name} gives an output of shape {scores.shape}; (N, classes) is needed")
        if scores.shape[1] != classes:
            raise StepError(
                f"{path.name} gives {scores.shape[1]} scores for an image, but the dataset has {classes} classes; "
                "give a model for these classes, or name the classes that it knows under data.classes"
            )
        _check_numbers(scores[:n], path, start)
        return scores[:n]

    # Images are spread over the cores, not the sums of one: the answers are the same however many there are.
    outputs = each(scores_from, range(0, len(split), batch))
    # What they are is told by all of them: one image may look like anything.
    if shares or all(map(are_shares, outputs)):
        least = min(map(least_share, outputs))
        outputs = [scores_of_shares(scores, least) for scores in outputs]
    return concatenated(
        [from_scores(scores, split.labels[i * batch : i * batch + len(scores)]) for i, scores in enumerate(outputs)]
    )


def _check_numbers(scores: npt.NDArray[np.generic], path: Path, start: int) -> None:
    bad = np.flatnonzero(np.isnan(scores.astype(np.float64)).any(axis=1))
    if len(bad):
        raise StepError(f"{path.name} gives logits that are not numbers (NaN), first for image {start + int(bad[0])}")
