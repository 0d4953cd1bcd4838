"""Arrays by name -> items: which array is what, and what its shape and type mean.

Arrays are `x_train, y_train, x_test, y_test`, and pairs of `calibration` and `validation` where the user has them; or `x` and `y` alone
(`images` or `data`, `labels` or `target`), of which a test is drawn. `class_names`, text, names the classes.

Inputs are uint8 or float. Of two axes they are vectors (n, numbers); of three, images of one channel (n, height, width); of four, images
with the channels, 1 to 4, second or last; all others are kept as they are. `data.kind` says so where the shape does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from engine.datasets.items import ALL, SPLIT_NAMES, SPLITS, Gathered, Items, Stored
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.spec.sections import Data

_X = ("x", "images", "image", "data", "inputs", "features")
_Y = ("y", "labels", "label", "target", "targets")
_CHANNELS = range(1, 5)
_RANKS = {"vector": (2,), "series": (3,), "image": (3, 4)}
_SHAPES = {
    "vector": "(n, numbers)",
    "series": "(n, channels, time)",
    "image": "(n, height, width), with channels second or last if any",
}

Role = tuple[str, str]
"""A split, or `all`, and `x` or `y`."""


def roles(names: Iterable[str], where: str) -> dict[Role, str]:
    """Which array is what; those that are nothing are left out. Raises DatasetError where two are the same."""
    found: dict[Role, str] = {}
    for name in sorted(names):
        role = _role(name.lower())
        if role is None:
            continue
        if role in found:
            raise DatasetError(f"{where} holds {found[role]!r} and {name!r}, which mean the same; keep one of them")
        found[role] = name
    # Beside splits, the undivided arrays are something else.
    return {r: n for r, n in found.items() if r[0] != ALL} or found


def _role(name: str) -> Role | None:
    if name in _X or name in _Y:
        return ALL, "x" if name in _X else "y"
    first, _, second = re.sub(r"[-/.]", "_", name).partition("_")
    split, part = (SPLIT_NAMES.get(second), first) if first in (*_X, *_Y) else (SPLIT_NAMES.get(first), second)
    return (split, "x" if part in _X else "y") if split and part in (*_X, *_Y) else None


def gathered(name: str, where: str, arrays: Mapping[str, Array], data: Data, save: str) -> Gathered:
    """What arrays by name hold; `where` is what messages call their source, `save` how one is written. Raises DatasetError."""
    known = roles(arrays, where)
    splits = [s for s in (ALL, *SPLITS) if (s, "x") in known or (s, "y") in known]
    wanted = [(s, part) for s in dict.fromkeys([*(splits if ALL in splits else ["train", *splits])]) for part in "xy"]
    missing = [role for role in wanted if role not in known]
    unlabelled = not any(part == "y" for _, part in known) or missing == [("test", "y")]
    if missing := [role for role in missing if role[1] == "x" or not unlabelled]:
        held = ", ".join(sorted(arrays)) or "nothing"
        split, part = missing[0]
        key = part if split == ALL else f"{part}_{split}"
        raise DatasetError(
            f"{where} has no {key!r} (it holds {held}); {save} x_train, y_train, x_test and y_test, or x and y alone"
        )
    items: dict[str, Items] = {}
    notes: list[str] = []
    kinds = {}
    for split in splits:
        key = known[split, "x"]
        kinds[split] = kind_of(arrays[key], data.kind, f"{where}: {key}")
        inputs, said = checked(arrays[key], kinds[split], f"{where}: {key}")
        items[split] = Stored(inputs)
        notes += said
        if (split, "y") in known and len(arrays[known[split, "y"]]) != len(inputs):
            labels = known[split, "y"]
            raise DatasetError(
                f"{where}: {key} has {len(inputs)} items but {labels} {len(arrays[labels])} labels; give one label each"
            )
    called = {s: (known[s, "x"], known.get((s, "y"), "")) for s in splits}
    _check_alike(where, items, called)
    return Gathered(
        name,
        items,
        {s: arrays[known[s, "y"]] if (s, "y") in known else None for s in splits},
        called,
        _class_names(arrays, where),
        tuple(notes),
    )


def _class_names(arrays: Mapping[str, Array], where: str) -> tuple[str, ...] | None:
    names = arrays.get("class_names")
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DatasetError(f"{where}: class_names is not a list of text; save np.array([...]) of the classes' names")
    return tuple(names.tolist())


def kind_of(array: Array, stated: str | None, where: str) -> str:
    """`image`, `series`, `vector` or `array`, as stated or by the shape. Raises DatasetError where the shape is none of the stated kind."""
    if array.ndim < 2:
        raise DatasetError(
            f"{where} has shape {array.shape}; save one row an item: (n, numbers), (n, channels, time) or (n, height, width)"
        )
    if stated is not None:
        if array.ndim not in _RANKS.get(stated, (array.ndim,)):
            raise DatasetError(f"{where} has shape {array.shape}, but data.kind is {stated}: that is {_SHAPES[stated]}")
        return stated
    if array.ndim == 4:
        return "image" if array.shape[1] in _CHANNELS or array.shape[3] in _CHANNELS else "array"
    return {2: "vector", 3: "image"}.get(array.ndim, "array")


def checked(array: Array, kind: str, where: str) -> tuple[Array, list[str]]:
    """Inputs as they are kept, (n, channels, …) of uint8 or float32, and what is to be said of them; raises DatasetError."""
    if 0 in array.shape:
        raise DatasetError(f"{where} is empty (shape {array.shape}); save at least one item")
    array, notes = _whole_numbers(array, kind, where)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DatasetError(f"{where} is {array.dtype}; save it as float32, or pixels as uint8 (0 to 255)")
    inputs = _to_nchw(array, where) if kind == "image" else array
    if inputs.dtype == np.uint8:
        return np.ascontiguousarray(inputs), notes
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused below.
        inputs = np.ascontiguousarray(inputs, np.float32)
    bad = sum(
        int((~np.isfinite(part).reshape(len(part), -1).all(1)).sum())
        for part in (inputs[i : i + 1000] for i in range(0, len(inputs), 1000))
    )
    if bad:
        raise DatasetError(
            f"{where} has NaN, infinite or too large values in {bad} of {len(inputs)} items; remove or repair them"
        )
    return inputs, notes


def _whole_numbers(array: Array, kind: str, where: str) -> tuple[Array, list[str]]:
    """Integers that are pixels beyond doubt become uint8; others are refused."""
    if array.dtype.kind not in "iub" or array.dtype == np.uint8:
        return array, []
    low, high = int(array.min()), int(array.max())
    if array.dtype.kind == "b" or kind != "image":
        raise DatasetError(f"{where} is {array.dtype}; save numbers as float32: {_key(where)}.astype(np.float32)")
    if low < 0 or high > 255:
        raise DatasetError(
            f"{where} is {array.dtype} from {low} to {high}, which are no pixels of 0 to 255; save it as float32, or scaled, as uint8"
        )
    return array.astype(np.uint8), [
        f"{_key(where)} is {array.dtype} from {low} to {high}, and was read as uint8 pixels"
    ]


def _key(where: str) -> str:
    return where.rpartition(": ")[2]


def _to_nchw(array: Array, where: str) -> Array:
    """Channels second; where both axes could be the channels, or neither, the layout is refused, not guessed."""
    if array.ndim == 3:
        return array[:, None]
    first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
    if first and last:
        raise DatasetError(
            f"{where} has shape {array.shape}, where both the second and the last axis could be channels; save (n, height, width), "
            "or write data.kind: array to keep it as it is, channels second"
        )
    if not first and not last:
        raise DatasetError(
            f"{where} has shape {array.shape}; an image's channels, the second or the last axis, must be 1 to 4: write data.kind: array"
        )
    return array if first else array.transpose(0, 3, 1, 2)


def _check_alike(where: str, items: Mapping[str, Items], called: Mapping[str, tuple[str, str]]) -> None:
    arrays = {split: stored.inputs for split, stored in items.items() if isinstance(stored, Stored)}
    first = next(iter(arrays))
    like = arrays[first]
    for split, inputs in arrays.items():
        if inputs.shape[1:] != like.shape[1:]:
            raise DatasetError(
                f"{where}: {called[split][0]} is {inputs.shape[1:]} per item but {called[first][0]} {like.shape[1:]}; make them alike"
            )
        if inputs.dtype != like.dtype:
            raise DatasetError(
                f"{where}: {called[split][0]} is {inputs.dtype} but {called[first][0]} {like.dtype}; save both in the same type"
            )
