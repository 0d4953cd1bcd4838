"""What a check says of slices: how many items each has in every split, and those of which little can be said."""

from __future__ import annotations

import numpy as np

from engine.check.findings import Finding
from engine.datasets.dataset import Dataset
from engine.datasets.items import SPLITS
from engine.datasets.load import reported
from engine.datasets.slices import rows_of
from engine.datasets.splits import Split
from engine.spec.sections import Measure

FEW = 30
"""With fewer test samples a slice's figures are hardly known."""
_NAMED = 5


def slice_counts(data: Dataset) -> dict[str, dict[str, dict[str, int]]]:
    """Array -> value -> how many items each split has, of the splits that have the array."""
    splits: dict[str, Split] = {name: getattr(data, name) for name in SPLITS}
    every = {
        array: np.concatenate([s.slices[array] for s in splits.values() if array in s.slices])
        for array in data.test.slices
    }
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for row in rows_of(every):
        counts.setdefault(row.array, {})[row.value] = {
            name: int((split.slices[row.array] == row.value).sum())
            for name, split in splits.items()
            if row.array in split.slices
        }
    return counts


def slice_findings(data: Dataset, measure: Measure) -> list[Finding]:
    """Slices that a split lacks, and those with few of the test samples that figures are of."""
    found, counts = [], slice_counts(data)
    tested = {(r.array, r.value): len(r) for r in rows_of(reported(data.test, measure).slices)}
    for array, values in counts.items():
        for split in SPLITS:
            if missing := [value for value, of in values.items() if of.get(split) == 0]:
                what = "figures say nothing of them" if split == "test" else f"nothing of them is in {split}"
                found.append(
                    Finding(
                        "warning",
                        f"{split} has no item of {len(missing)} of {len(values)} slices by {array} ({_some(missing)})",
                        f"{what}; add items of them, or see that this is meant",
                    )
                )
        few = [f"{value}: {n}" for value in values if 0 < (n := tested.get((array, value), 0)) < FEW]
        if few:
            found.append(
                Finding(
                    "warning",
                    f"{len(few)} of {len(values)} slices by {array} have fewer than {FEW} test samples ({_some(few)})",
                    "their intervals are wide; add test samples, or group slices",
                )
            )
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
