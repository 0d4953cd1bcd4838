"""Arrays by name -> items: which array is what, and what its shape and type mean.

Arrays are `x_train, y_train, x_test, y_test`, and pairs of `calibration` and `validation` where the user has them; or `x` and `y` alone
(`images` or `data`, `labels` or `target`), of which a test is drawn. `class_names`, text, names the classes.

Where `data.slices` names arrays, they are told apart by split like the others: `site_test`, or `site` beside `x`.

Where `data.inputs` names arrays, they take the place of `x`: one is read like it, several as they are (`several.py`).

Inputs are uint8 or float, or integers that are no pixels, such as the numbers of tokens. Of two axes they are vectors (n, numbers); of
three, images of one channel (n, height, width); of four, images with the channels, 1 to 4, second or last; all others are kept as they
are. `data.kind` says so where the shape does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from engine.datasets.items import ALL, SPLIT_NAMES, SPLITS, Gathered, Items, Stored
from engine.datasets.several import check_same, finite, named_arrays
from engine.datasets.slices import slice_arrays
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.graph.inputs import is_array
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


def roles(names: Iterable[str], where: str, x: str = "x") -> dict[Role, str]:
    """Which array is what; those that are nothing are left out. Raises DatasetError where two are the same.

    `x`: what the spec calls the inputs.
    """
    found: dict[Role, str] = {}
    called = _X if x == "x" else (re.sub(r"[-/.]", "_", x.lower()),)
    for name in sorted(names):
        role = _role(name.lower(), called)
        if role is None:
            continue
        if role in found:
            raise DatasetError(f"{where} holds {found[role]!r} and {name!r}, which mean the same; keep one of them")
        found[role] = name
    # Beside splits, the undivided arrays are something else.
    return {r: n for r, n in found.items() if r[0] != ALL} or found


def _role(name: str, x: tuple[str, ...]) -> Role | None:
    plain = re.sub(r"[-/.]", "_", name)
    for part, words in (("x", x), ("y", _Y)):
        if name in words or plain in words:
            return ALL, part
        for split, meant in SPLIT_NAMES.items():
            if plain in {f"{split}_{word}" for word in words} | {f"{word}_{split}" for word in words}:
                return meant, part
    return None


def read_names(names: Iterable[str], where: str, data: Data) -> set[str]:
    """The arrays whose names matter; raises DatasetError as `roles`."""
    listed = [*names]
    named = (*(data.arrays.values() or ("x",)), *data.slices)
    found = {name for x in named for name in roles(listed, where, x).values()}
    return found | ({"class_names"} & {*listed})


def gathered(name: str, where: str, arrays: Mapping[str, Array], data: Data, save: str) -> Gathered:
    """What arrays by name hold; `where` is what messages call their source, `save` how one is written. Raises DatasetError."""
    if len(data.arrays) > 1:
        return gathered_several(name, where, arrays, data, save)
    x = next(iter(data.arrays.values()), "x")
    known = roles(arrays, where, x)
    splits = [s for s in (ALL, *SPLITS) if (s, "x") in known or (s, "y") in known]
    wanted = [(s, part) for s in dict.fromkeys([*(splits if ALL in splits else ["train", *splits])]) for part in "xy"]
    missing = [role for role in wanted if role not in known]
    unlabelled = not any(part == "y" for _, part in known) or missing == [("test", "y")]
    if missing := [role for role in missing if role[1] == "x" or not unlabelled]:
        held = ", ".join(sorted(arrays)) or "nothing"
        split, part = missing[0]
        key = (x if part == "x" else part) + ("" if split == ALL else f"_{split}")
        raise DatasetError(
            f"{where} has no {key!r} (it holds {held}); {save} {x}_train, y_train, {x}_test and y_test, or {x} and y alone; "
            "arrays of other names go under data.inputs"
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
        class_names_of(arrays, where),
        tuple(notes),
        slice_arrays(where, arrays, data, items, called, lambda slices: roles(arrays, where, slices), save),
    )


def gathered_several(name: str, where: str, arrays: Mapping[str, Array], data: Data, save: str) -> Gathered:
    """As `gathered`, of inputs that are several arrays each."""
    known = {array: roles(arrays, where, array) for array in data.arrays.values()}
    first = next(iter(known))
    splits = [s for s in (ALL, *SPLITS) if any((s, "x") in found for found in known.values())] or ["train"]
    splits = splits if ALL in splits or "train" in splits else ["train", *splits]
    labels = {s: found[s, "y"] for found in known.values() for s in splits if (s, "y") in found}
    held = ", ".join(sorted(arrays)) or "nothing"
    for split in splits:
        ending = "" if split == ALL else f"_{split}"
        missing = [f"{a}{ending}" for a, found in known.items() if (split, "x") not in found]
        missing += [f"y{ending}"] if labels and split not in labels and [*labels, "test"] != splits else []
        if missing:
            raise DatasetError(
                f"{where} has no {missing[0]!r} (it holds {held}); {save} it beside {first}{ending}, or correct data.inputs"
            )
    stored = {
        s: named_arrays(where, {n: (known[a][s, "x"], arrays[known[a][s, "x"]]) for n, a in data.arrays.items()})
        for s in splits
    }
    for split, key in labels.items():
        if len(arrays[key]) != len(stored[split]):
            told = f"{known[first][split, 'x']} has {len(stored[split])} items but {key} {len(arrays[key])} labels"
            raise DatasetError(f"{where}: {told}; give one label each")
    check_same(where, stored)
    items = {split: Stored(inputs) for split, inputs in stored.items()}
    called = {split: (known[first][split, "x"], labels.get(split, "")) for split in splits}
    return Gathered(
        name,
        items,
        {split: arrays[labels[split]] if split in labels else None for split in splits},
        called,
        class_names_of(arrays, where),
        slices=slice_arrays(where, arrays, data, items, called, lambda slices: roles(arrays, where, slices), save),
    )


def class_names_of(arrays: Mapping[str, Array], where: str) -> tuple[str, ...] | None:
    """The classes' names, where there is an array of them; raises DatasetError where it is none of text."""
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
    """Inputs as they are kept, (n, channels, …) of float32, uint8 or other integers, and what is to be said of them; raises
    DatasetError.
    """
    if 0 in array.shape:
        raise DatasetError(f"{where} is empty (shape {array.shape}); save at least one item")
    array, notes = _whole_numbers(array, kind, where)
    if array.dtype.kind not in "iufb":
        raise DatasetError(f"{where} is {array.dtype}; save it as float32, or pixels as uint8 (0 to 255)")
    inputs = _to_nchw(array, where) if kind == "image" else array
    return finite(inputs, where) if inputs.dtype.kind == "f" else np.ascontiguousarray(inputs), notes


def _whole_numbers(array: Array, kind: str, where: str) -> tuple[Array, list[str]]:
    """Integers that are pixels beyond doubt become uint8; of images others are refused, elsewhere they are kept: they may name things."""
    if array.dtype.kind not in "iub" or array.dtype == np.uint8 or kind != "image":
        return array, []
    low, high = int(array.min()), int(array.max())
    if array.dtype.kind == "b":
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
    arrays = {
        split: stored.inputs
        for split, stored in items.items()
        if isinstance(stored, Stored) and is_array(stored.inputs)
    }
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
