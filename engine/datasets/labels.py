"""Labels as people keep them, integers, rows of one-hot or text, -> class numbers, and what the classes are called."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from engine.datasets.items import Gathered, Labels
from engine.datasets.splits import UNLABELLED, Array
from engine.errors import ClassesUnknownError, DatasetError
from engine.spec.sections import Data


def classified(found: Gathered, data: Data) -> tuple[dict[str, Labels], tuple[str, ...], tuple[str, ...]]:
    """Class numbers by split, the classes' names, and what was decided; UNLABELLED where there are no labels. Raises DatasetError."""
    raw = {split: labels for split, labels in found.labels.items() if labels is not None}
    stated = _stated(found, data)
    if not raw:
        if stated is None:
            raise ClassesUnknownError(
                f"{data.source} has no labels, so nobody knows how many classes there are; give data.classes, e.g. classes: 1000 "
                "(`paretoscope check` finds it)"
            )
        numbers: dict[str, Labels] = {}
        classes, notes = stated, [f"{found.name} has no labels: figures say how a trial answers beside the baseline"]
    elif any(labels.dtype.kind in "UO" for labels in raw.values()):
        numbers, classes, notes = _from_text(found, data, raw)
    else:
        numbers, classes, notes = _from_numbers(found, data, raw, stated)
    if len(classes) < 2:
        raise DatasetError(f"{data.source} has {len(classes)} class; at least 2 are needed")
    _check_told_apart(data.source, classes)
    every = {
        split: numbers[split] if split in numbers else np.full(len(items), UNLABELLED, np.int64)
        for split, items in found.items.items()
    }
    return every, classes, tuple(notes)


def _stated(found: Gathered, data: Data) -> tuple[str, ...] | None:
    """The classes by the spec, otherwise by the source; None where neither names or counts them."""
    if isinstance(data.classes, int) and found.class_names is not None:
        if len(found.class_names) != data.classes:
            raise DatasetError(
                f"data.classes is {data.classes}, but {data.source} names {len(found.class_names)} classes; leave it out, or name all"
            )
        return found.class_names
    return data.class_names or found.class_names


def _from_numbers(
    found: Gathered, data: Data, raw: dict[str, Array], stated: tuple[str, ...] | None
) -> tuple[dict[str, Labels], tuple[str, ...], list[str]]:
    numbers, notes, columns = {}, [], 0
    for split, labels in raw.items():
        where = f"{data.source}: {found.called[split][1]}"
        if labels.ndim == 2 and labels.shape[1] > 1:
            numbers[split] = _from_one_hot(labels, where)
            columns = max(columns, labels.shape[1])
        else:
            numbers[split] = _integers(labels, where)
    if columns:
        notes.append(f"labels were rows of {columns} numbers, one of them 1: read as its place")
    first = next(iter(numbers))
    highest = int(numbers[first].max())
    if stated is None and not columns:
        absent = np.setdiff1d(np.arange(highest + 1), numbers[first])
        if len(absent):
            by_one = ": subtract 1 from each" if absent.tolist() == [0] else ""
            values = "; write data.task: regression where they are values"
            raise DatasetError(
                f"{data.source}: {found.called[first][1]} has labels up to {highest} but none is {absent[0]}; number the classes from 0 "
                f"without gaps{by_one}, or name all of them under data.classes{values}"
            )
    classes = stated or tuple(map(str, range(max(highest + 1, columns))))
    for split, labels in numbers.items():
        if max(int(labels.max()), columns - 1) >= len(classes):
            raise DatasetError(
                f"{data.source}: {found.called[split][1]} has the label {max(int(labels.max()), columns - 1)}, but there are "
                f"{len(classes)} classes (0 to {len(classes) - 1}); correct the labels, or name all classes under data.classes"
            )
    return numbers, classes, notes


def _integers(array: Array, where: str) -> Labels:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DatasetError(f"{where} has shape {array.shape}; give one integer an item, or one row of one-hot")
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.floor(array)).all():
        # `data.task: classification` stands there, otherwise it was asked for.
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DatasetError(f"{where} is {array.dtype}; save integers from 0 to classes - 1, or the classes' names")
    if int(array.min()) < 0:
        raise DatasetError(f"{where} has the label {int(array.min())}; labels count from 0")
    return array.astype(np.int64)


def _from_one_hot(array: Array, where: str) -> Labels:
    values = np.asarray(array, np.float64) if array.dtype.kind in "iufb" else None
    if values is None or array.ndim != 2 or not (((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all()):
        raise DatasetError(
            f"{where} has shape {array.shape}, but its rows are not one-hot (one 1, all else 0); give one integer an item, or write "
            "data.task: regression where they are values, other where they are what your metric compares with"
        )
    places: Labels = values.argmax(1).astype(np.int64)
    return places


def _from_text(
    found: Gathered, data: Data, raw: dict[str, Array]
) -> tuple[dict[str, Labels], tuple[str, ...], list[str]]:
    """Each distinct text is a class, in the order of text unless a list of them says otherwise."""
    texts = {split: _texts(labels, f"{data.source}: {found.called[split][1]}") for split, labels in raw.items()}
    present = sorted(set().union(*(t.tolist() for t in texts.values())))
    known, classes, notes = _classes_of_text(data, found.class_names, present)
    numbers = {}
    for split, values in texts.items():
        distinct, inverse = np.unique(values, return_inverse=True)
        numbers[split] = np.array([known[t] for t in distinct.tolist()], np.int64)[inverse]
    if "train" in numbers and data.classes is None and found.class_names is None:
        untaught = np.setdiff1d(np.concatenate(list(numbers.values())), numbers["train"])
        if len(untaught):
            split = next(s for s, labels in numbers.items() if untaught[0] in labels)
            name = next(t for t in present if known[t] == untaught[0])
            raise DatasetError(
                f"{data.source}: {found.called[split][1]} has the class {name!r}, which {found.called['train'][1]} does not have; "
                "correct the name, or leave these items out"
            )
    return numbers, classes, notes


def _classes_of_text(
    data: Data, listed: tuple[str, ...] | None, present: list[str]
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """Text -> class number, the classes, and what was decided."""
    if isinstance(data.classes, int) and all(t.isdecimal() and int(t) < data.classes for t in present):
        numbered = {t: int(t) for t in present}
        if len(set(numbered.values())) == len(present):
            return numbered, data.class_names or (), [f"labels are numbers of {data.classes} classes"]
    names = listed if isinstance(data.classes, int | None) else data.classes
    where = "its class_names" if isinstance(data.classes, int | None) else "data.classes"
    by_place = {t: i for i, t in enumerate(present)}
    if names is not None:
        missing = [t for t in present if t not in names]
        if not missing:
            return {t: names.index(t) for t in present}, names, []
        if len(missing) == len(present) == len(names):
            return by_place, names, [f"classes are renamed in the order of text: {_pairs(present, names)}"]
        raise DatasetError(
            f"{data.source} has the class {missing[0]!r}, which is not one of {where} ({_few(names)}); "
            "correct it, or name all that there are"
        )
    if isinstance(data.classes, int) and data.classes != len(present):
        raise DatasetError(
            f"data.classes is {data.classes}, but {data.source} has {len(present)} classes ({_few(present)}); name all {data.classes} "
            "under data.classes, in the model's order"
        )
    notes = []
    if all(t.isdecimal() for t in present) and present != sorted(present, key=int):
        notes.append(f"classes are in the order of text, {_few(present)}; name them under data.classes in the model's")
    return by_place, tuple(present), notes


def _texts(labels: Array, where: str) -> Array:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not all(isinstance(t, str) and t.strip() for t in labels.tolist()):
        raise DatasetError(f"{where} mixes text with something else, or has empty text; give one class's name an item")
    return labels.astype(str)


def _few(names: Iterable[str]) -> str:
    some = list(names)
    return ", ".join(some[:5]) + (", …" if len(some) > 5 else "")


def _pairs(present: list[str], names: tuple[str, ...]) -> str:
    return _few(f"{old} is {new}" for old, new in zip(present, names, strict=True))


def _check_told_apart(source: str, classes: tuple[str, ...]) -> None:
    if len(set(classes)) == len(classes):
        return
    twice = next(name for i, name in enumerate(classes) if name in classes[:i])
    where = [i for i, name in enumerate(classes) if name == twice]
    raise DatasetError(
        f"{source}: classes {where[0]} and {where[1]} are both called {twice!r}; give each a name of its own under data.classes"
    )
