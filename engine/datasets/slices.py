"""Slices: further arrays of the data that say of each item where it is from, site, device, speaker; figures are told by them, too.

They are text, or whole numbers that are read as text; they are no input of the network, and nothing is trained on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.datasets.items import ALL, Items
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.spec.sections import Data

MOST_VALUES = 100
"""More different values than this are no slices but names of single items."""


@dataclass(frozen=True)
class Rows:
    """One slice of a split: the items, by their places, of which the array of that name says `value`."""

    array: str
    value: str
    places: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.places)


def rows_of(slices: Mapping[str, Array]) -> tuple[Rows, ...]:
    """Every slice of a split, array by array; values in the order of numbers where all are whole ones, otherwise of text."""
    found: list[Rows] = []
    for name, values in slices.items():
        present = np.unique(values).tolist()
        if all(value.removeprefix("-").isdecimal() for value in present):
            present.sort(key=int)
        found += [Rows(name, value, np.flatnonzero(values == value)) for value in present]
    return tuple(found)


def slice_arrays(
    where: str,
    arrays: Mapping[str, Array],
    data: Data,
    items: Mapping[str, Items],
    called: Mapping[str, tuple[str, str]],
    roles: Callable[[str], Mapping[tuple[str, str], str]],
    save: str,
) -> dict[str, dict[str, Array]]:
    """The arrays that `data.slices` names, by part of the source and name. `roles`: (part, "x") -> which array is it, of one called so.

    Raises DatasetError where one of the part that the test is of is missing, or one does not fit.
    """
    tested = next(part for part in ("test", ALL, "train") if part in items)
    found: dict[str, dict[str, Array]] = {part: {} for part in items}
    for name in data.slices:
        known = roles(name)
        if (tested, "x") not in known:
            missing = name if tested == ALL else f"{name}_{tested}"
            raise DatasetError(
                f"{where} has no {missing!r}, which data.slices asks for (it holds {', '.join(sorted(arrays))}); {save} it beside "
                f"{called[tested][0]}, one value an item, or correct data.slices"
            )
        for part in items:
            key = known.get((part, "x"))
            if key is None:
                continue
            values = slice_values(arrays[key], f"{where}: {key}")
            if len(values) != len(items[part]):
                told = f"{called[part][0]} has {len(items[part])} items but {key} {len(values)} values"
                raise DatasetError(f"{where}: {told}; give one value each")
            found[part][name] = values
        check_few(f"{where}: {name}", [parts[name] for parts in found.values() if name in parts])
    return found


def slice_values(array: Array, where: str) -> Array:
    """Values as text, (n,); raises DatasetError for what is neither text nor whole numbers."""
    values = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if values.ndim != 1:
        raise DatasetError(f"{where} has shape {array.shape}; a slice is one value an item")
    if values.dtype.kind == "O" and all(isinstance(v, str) for v in values.tolist()):
        values = values.astype(str)
    if values.dtype.kind not in "iubU":
        kind = "mixed" if values.dtype.kind == "O" else values.dtype
        raise DatasetError(
            f"{where} is {kind}; slices are text or whole numbers: give a name, or a number, for each group"
        )
    texts = values.astype(str)
    empty = int((np.char.strip(texts) == "").sum())
    if empty:
        raise DatasetError(f"{where} is empty text for {empty} of {len(texts)} items; name their slice, 'unknown' say")
    odd = next((text for text in np.unique(texts).tolist() if not text.isprintable()), None)
    if odd is not None:
        raise DatasetError(f"{where} has the value {odd!r:.60}, which cannot be printed on one line; write it plainly")
    return texts


def check_few(where: str, parts: Sequence[Array]) -> None:
    """Raises DatasetError for more different values, in all parts together, than anybody looks at."""
    different = len(np.unique(np.concatenate(parts)))
    if different > MOST_VALUES:
        raise DatasetError(
            f"{where} has {different:,} different values; slices are at most {MOST_VALUES}: group them, or leave it out"
        )
