"""What an int8 file answers where sums are exact, counted on a CPU where they saturate."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Array, Split
from engine.graph.graph import load_onnx
from engine.graph.outputs import share_apart
from engine.measure.accuracy import as_scores, layout_of, values
from engine.measure.emulation import IMAGES_AT_ONCE, Emulator, runtime_sums
from engine.measure.task_metric import scored
from engine.spec.metric import MetricChoice

_FUSES = ("extended", "all")
"""Levels of graph optimisation that fuse integer kernels; below them int8 files compute in float."""


def right_with_exact_sums(
    path: Path, split: Split, preprocessing: Preprocessing, graph_optimisation: str = "all", provider: str = "CPU"
) -> int | None:
    """How many images the file gets right on CPUs with exact sums; None where that is what is measured here, or there are no labels.

    Raises StepError and ModelError as `Emulator` does.
    """
    if (split.labels < 0).any():
        return None
    found = _exact(path, split, preprocessing, graph_optimisation, provider)
    return None if found is None else int((found.argmax(1) == split.labels).sum())


def metric_with_exact_sums(
    path: Path,
    split: Split,
    data: Dataset,
    choice: MetricChoice | None,
    graph_optimisation: str = "all",
    provider: str = "CPU",
) -> tuple[float | None, str | None]:
    """What the spec's own metric is on CPUs with exact sums; where neither it nor labels say how good answers are, how far they are from
    those of this CPU, as a sentence. None for what is not so.

    Raises StepError and ModelError as `Emulator` and `scored` do.
    """
    labelled = data.has_classes and split.is_labelled
    if choice is None and labelled:
        return None, None
    found = _exact(path, split, data.preprocessing, graph_optimisation, provider)
    if found is None:
        return None, None
    layout = None if data.has_classes else layout_of(path, split, data.preprocessing)
    if choice is not None:
        if data.has_classes:
            answers = found if choice.files else np.concatenate(as_scores(path, [found]))
            return scored(choice, answers, split.labels if labelled else None)[0].value, None
        return scored(choice, found, split.targets, layout=layout)[0].value, None
    here = values(path, split, data.preprocessing, graph_optimisation=graph_optimisation, provider=provider)
    if data.has_classes:
        apart = f"{int((here.argmax(1) != found.argmax(1)).sum()):,} of {len(here):,} samples get another class"
    else:
        off = share_apart(here, found, layout.parts if layout else ())
        apart = f"outputs are {off:.2%} of how they vary away from these"
    told = "measured on a CPU whose int8 sums saturate; with exact sums (CPUs with VNNI or AMX, Arm)"
    return None, f"{told} {apart}"


def _exact(
    path: Path, split: Split, preprocessing: Preprocessing, graph_optimisation: str, provider: str
) -> Array | None:
    """Answers with exact sums; None where they are what this CPU gives."""
    if runtime_sums() == "exact" or provider != "CPU" or graph_optimisation not in _FUSES:
        return None
    emulator = Emulator(load_onnx(path, several=True))
    if not emulator.possible:
        return None
    step = 10 * IMAGES_AT_ONCE
    parts = [emulator.exact(preprocessing(split.inputs[i : i + step])) for i in range(0, len(split), step)]
    return np.concatenate(parts)
