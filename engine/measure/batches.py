"""Whether a file answers an image by that image alone, or also by the others of its batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.graph.inputs import padded
from engine.measure.accuracy import counted_in
from engine.measure.session import Runner

_TRIED = 32
# Of an image's largest score. Sums in another order make a thousandth of it; a rounded value may tip over, but not in half of the images.
_SAME = 1e-3


def batch_note(
    path: Path,
    split: Split,
    preprocessing: Preprocessing,
    classes: bool = True,
    threads: int = 1,
    graph_optimisation: str = "all",
    provider: str = "CPU",
) -> str | None:
    """What to know of a file whose answers depend on what else is in a batch; None for any other. `classes`: whether they are scores.

    The first images are run again one by one (in a batch of copies, where the file fixes the batch) and held against what they got in the
    batch that accuracy is counted in. Raises StepError where the file does not run on one image.
    """
    runner = Runner(path, threads, graph_optimisation, provider)
    batch = counted_in(path, runner)
    images = preprocessing(split.inputs[:batch])
    if len(images) < 2 or runner.fixed_batch == 1:
        return None
    copies = runner.fixed_batch or 1
    tried = min(len(images), _TRIED)
    together = runner(padded(images, runner.fixed_batch or 0))[:tried]
    alone = np.concatenate([runner(padded(images[i : i + 1], copies))[:1] for i in range(tried)])
    if not _differ(alone, together):
        return None
    if not classes:
        return (
            f"its answers depend on the other samples of a batch: most of the first {tried} test samples get other values alone than "
            f"among {len(images)}; figures are of batches of {len(images)}"
        )
    other = int((alone.argmax(1) != together.argmax(1)).sum())
    return (
        f"its answers depend on the other images of a batch: {other} of the first {tried} test images get another class alone than "
        f"among {len(images)}; figures are of batches of {len(images)}"
    )


def _differ(alone: npt.NDArray[np.float32], together: npt.NDArray[np.float32]) -> bool:
    """Whether most samples, (n, …) each, are answered otherwise."""
    alone, together = (x.reshape(len(x), -1) for x in (alone, together))
    with np.errstate(invalid="ignore"):  # infinite scores, which are answers, too, and are not told apart here
        off = np.abs(alone - together).max(1) / np.maximum(np.abs(together).max(1), 1e-12)
    return bool(np.median(off) > _SAME)
