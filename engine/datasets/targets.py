"""What there is to be right about: classes, values, something that a metric of the user's own understands, or nothing."""

from __future__ import annotations

import numpy as np

from engine.datasets.items import Gathered, Labels
from engine.datasets.labels import classified
from engine.datasets.splits import UNLABELLED, Array
from engine.errors import DatasetError
from engine.spec.metric import Task
from engine.spec.sections import Data

Targets = dict[str, Array]


def told(
    found: Gathered, data: Data
) -> tuple[Task, dict[str, Labels], tuple[str, ...], Targets | None, tuple[str, ...]]:
    """The task, class numbers by split (UNLABELLED where there are none), the classes' names, targets that are no classes, and what was
    decided.

    The task is what the spec says, otherwise what the labels look like: fractions are values. Raises DatasetError where they may be either.
    """
    task = _task(found, data)
    if task == "classification":
        labels, classes, notes = classified(found, data)
        return task, labels, classes, None, notes
    if data.classes is not None:
        raise DatasetError(f"data.classes stands beside data.task: {task}, which has none; leave one of them out")
    blank = {split: np.full(len(items), UNLABELLED, np.int64) for split, items in found.items.items()}
    if task == "fidelity":
        return task, blank, (), None, (f"{found.name}: figures say how a trial answers beside the baseline",)
    if any(labels is None for labels in found.labels.values()):
        bare = next(split for split, labels in found.labels.items() if labels is None)
        raise DatasetError(
            f"{data.source}: {found.called[bare][0]} have no targets, which task {task} needs; give them, or write data.task: fidelity"
        )
    targets = {
        split: _checked(np.asarray(labels), task, f"{data.source}: {found.called[split][1]}")
        for split, labels in found.labels.items()
    }
    shapes = {split: values.shape[1:] for split, values in targets.items()}
    if len(set(shapes.values())) > 1:
        raise DatasetError(
            f"{data.source}: targets differ in shape, {', '.join(f'{s} {x}' for s, x in shapes.items())}; make them alike"
        )
    return task, blank, (), targets, ()


def _task(found: Gathered, data: Data) -> Task:
    if data.task is not None:
        return data.task
    for split, labels in found.labels.items():
        if labels is None or labels.dtype.kind != "f":
            continue
        where = f"{data.source}: {found.called[split][1]}"
        rows = labels.ndim == 2 and labels.shape[1] > 1
        whole = bool((labels == np.floor(labels)).all())
        if rows and whole:
            continue  # of one-hot, or told by what reads it
        if whole:
            raise DatasetError(
                f"{where} is {labels.dtype} but holds whole numbers, which may be classes or values; write data.task: classification, "
                "or data.task: regression"
            )
        if rows and (labels.astype(np.float64) >= 0).all() and np.allclose(labels.sum(axis=1), 1, atol=1e-3):
            raise DatasetError(
                f"{where} has rows that add up to 1, which may be shares of classes or values; save class numbers, or write data.task: "
                "regression"
            )
        return "regression"
    return "classification"


def _checked(values: Array, task: Task, where: str) -> Array:
    """Targets as they are kept: float32 of values, anything but objects where a metric of the user's own reads them."""
    if values.dtype.kind == "O" and all(isinstance(v, str) for v in values.ravel().tolist()):
        values = values.astype(str)
    if values.dtype.kind not in ("iufb" if task == "regression" else "iufbU"):
        raise DatasetError(
            f"{where} is {values.dtype}; task {task} needs numbers{'' if task == 'regression' else ', or text'}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values).reshape(len(values), -1).all(axis=1)).sum())
        raise DatasetError(f"{where} has NaN or infinite values in {bad} of {len(values)} items; remove or repair them")
    if task != "regression":
        return values
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32)
    if not np.isfinite(kept).all():
        raise DatasetError(f"{where} has values that float32 does not hold; give them in another unit")
    return kept[:, 0] if kept.ndim == 2 and kept.shape[1] == 1 else kept
