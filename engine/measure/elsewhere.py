"""What an int8 file answers where sums are exact, counted on a CPU where they saturate."""

from __future__ import annotations

from pathlib import Path

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.graph.graph import load_onnx
from engine.measure.emulation import IMAGES_AT_ONCE, Emulator, runtime_sums

_FUSES = ("extended", "all")
"""Levels of graph optimisation that fuse integer kernels; below them int8 files compute in float."""


def right_with_exact_sums(
    path: Path, split: Split, preprocessing: Preprocessing, graph_optimisation: str = "all", provider: str = "CPU"
) -> int | None:
    """How many images the file gets right on CPUs with exact sums; None where that is what is measured here, or there are no labels.

    Raises StepError and ModelError as `Emulator` does.
    """
    if runtime_sums() == "exact" or provider != "CPU" or graph_optimisation not in _FUSES or (split.labels < 0).any():
        return None
    emulator = Emulator(load_onnx(path))
    if not emulator.possible:
        return None
    right = 0
    for start in range(0, len(split), step := 10 * IMAGES_AT_ONCE):
        images, labels = split.inputs[start : start + step], split.labels[start : start + step]
        right += int((emulator.exact(preprocessing(images)).argmax(1) == labels).sum())
    return right
