"""Tables: of picture paths and labels, of pictures themselves (Hugging Face's `image` column), or of numbers, one column each.

The labels' column is called `label`, `target`, `class` or `y`, or `data.target` names it, or several, whose numbers are the targets
(n, columns). A column `split` says train, test, validation or calibration. Paths are relative to the table. Of numbers, every other
column is one of the vector (n, columns).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.datasets.file_hash import file_sha256
from engine.datasets.items import ALL, SPLIT_NAMES, Gathered, Items, Stored
from engine.datasets.picture_files import Picture, look_at
from engine.datasets.slices import check_few, slice_values
from engine.datasets.splits import SPLIT_SEED, Array
from engine.datasets.table_files import class_names_of, read_table
from engine.errors import DatasetError
from engine.spec.canonical import digest
from engine.spec.sections import Data

if TYPE_CHECKING:
    from pandas import DataFrame, Series

TARGETS = ("label", "target", "class", "y")
PATHS = ("path", "file", "filename", "file_name", "filepath", "image", "image_path", "img")
_SPLIT = "split"


def table_checksum(data: Data) -> str:
    """SHA-256, in hex, of the table and of the pictures that it names, in their order. Raises DatasetError."""
    path = Path(data.source)
    table = file_sha256(path, f"data {data.source}", "give the path of a .csv or .parquet file")
    return digest([table, [_hash_of(file) for file in _named_files(path, table)]])


def _hash_of(file: Path) -> str:
    return file_sha256(file, f"picture {file}", "correct the path, which is relative to the table, or remove the row")


@lru_cache(maxsize=4)
def _named_files(path: Path, sha256: str) -> tuple[Path, ...]:
    """The pictures that a table names, none for a table of something else; read once for a content."""
    table = read_table(path)
    column = _pictures_of(table, str(path))
    if column is None or isinstance(table[column].iloc[0], dict):
        return ()
    return tuple(path.parent / str(name) for name in table[column])


def gather_table(data: Data) -> Gathered:
    """What a table holds. Raises DatasetError."""
    path = Path(data.source)
    table = read_table(path)
    split = next((c for c in table.columns if c.lower() == _SPLIT and c not in data.targets), None)
    if split is None:
        return _gathered(data, path.name, {ALL: table}, [path])
    tables: dict[str, DataFrame] = {}
    for value, rows in table.groupby(split, sort=True, dropna=False):
        known = SPLIT_NAMES.get(str(value).strip().lower())
        if known is None:
            raise DatasetError(f"{path}: column {split!r} has {value!r}; write train, test, validation or calibration")
        if known in tables:
            raise DatasetError(f"{path}: column {split!r} calls {known} by two names; write one")
        tables[known] = rows.drop(columns=split)
    if "train" not in tables:
        raise DatasetError(
            f"{path}: column {split!r} has no train, only {', '.join(tables)}; add such rows, or leave the column out"
        )
    return _gathered(data, path.name, tables, [path])


def gather_parquet_folder(data: Data, name: str, parts: dict[str, list[Path]]) -> Gathered:
    """What the Parquet files of a folder hold, by split. Raises DatasetError."""
    import pandas as pd

    tables = {}
    for split, files in parts.items():
        read = [read_table(file) for file in files]
        for file, table in zip(files, read, strict=True):
            if set(table.columns) != set(read[0].columns):
                raise DatasetError(
                    f"{file} has the columns {', '.join(table.columns)}, unlike {files[0].name}; make them alike"
                )
        tables[split] = pd.concat(read, ignore_index=True)
    return _gathered(data, name, tables, [file for files in parts.values() for file in files])


def _gathered(data: Data, name: str, tables: dict[str, DataFrame], files: list[Path]) -> Gathered:
    """In a random order, the same every time: the first few rows are then some of every class."""
    where, shuffle = data.source, np.random.default_rng(SPLIT_SEED)
    tables = {split: t.iloc[shuffle.permutation(len(t))] for split, t in tables.items()}
    first = next(iter(tables.values()))
    for split, table in tables.items():
        if set(table.columns) != set(first.columns):
            raise DatasetError(
                f"{where}: the columns of {split} are {', '.join(table.columns)}, not {', '.join(first.columns)}; make them alike"
            )
    pictures, targets = _pictures_of(first, where), _targets_of(first, data)
    if pictures in targets:
        raise DatasetError(f"{where}: column {pictures!r} holds the pictures, not the labels; correct data.target")
    labels = {split: _labels_of(t, targets, where) for split, t in tables.items()}
    slices = _slices(tables, data)
    items: dict[str, Items]
    notes: tuple[str, ...]
    if pictures is not None:
        looked, notes = look_at({s: _files(t[pictures], files[0].parent, where) for s, t in tables.items()}, data)
        items = {**looked}
    else:
        if data.preprocess and (data.preprocess.resize or data.preprocess.crop):
            raise DatasetError(
                f"data.preprocess.resize and crop are for pictures, but {where} holds numbers; leave them out"
            )
        if not targets and data.classes is None and data.task != "fidelity":
            raise DatasetError(
                f"{where} has no column called {', '.join(TARGETS[:-1])} or {TARGETS[-1]} (it has {', '.join(first.columns)}); write "
                "data.target: NAME, or data.classes where there are no labels"
            )
        items, notes = _numbers(tables, targets, data)
    row = "its rows" if ALL in tables else "the rows of {}"
    said = f"column{'s' if len(targets) > 1 else ''} {', '.join(map(repr, targets))}"
    called = {s: (row.format(s), said) for s in tables}
    names = class_names_of(files[0], targets[0]) if len(targets) == 1 else None
    return Gathered(name, items, labels, called, names, notes, slices)


def _labels_of(table: DataFrame, targets: tuple[str, ...], where: str) -> Array | None:
    """The labels; of several columns their numbers (n, columns)."""
    found = [_labels(table[target], f"{where}: column {target!r}") for target in targets]
    if len(found) < 2:
        return found[0] if found else None
    for target, values in zip(targets, found, strict=True):
        if values.dtype.kind not in "iuf":
            raise DatasetError(
                f"{where}: column {target!r} holds {values[0]!r:.40}, but several targets are numbers; name one column under data.target"
            )
    return np.column_stack([values.astype(np.float64) for values in found])


def _slices(tables: dict[str, DataFrame], data: Data) -> dict[str, dict[str, Array]]:
    """The columns that `data.slices` names, by split."""
    first = next(iter(tables.values()))
    found: dict[str, dict[str, Array]] = {split: {} for split in tables}
    for name in data.slices:
        if name not in first.columns:
            raise DatasetError(
                f"data.slices {name!r} is no column of {data.source}; it has {', '.join(first.columns)}; correct it"
            )
        where = f"{data.source}: column {name!r}"
        for split, table in tables.items():
            _labels(table[name], where)  # refuses what is missing
            found[split][name] = slice_values(table[name].to_numpy(), where)
        check_few(where, [found[split][name] for split in tables])
    return found


def _pictures_of(table: DataFrame, where: str) -> str | None:
    """The column of pictures or of their paths, None in a table of numbers."""
    for name in PATHS:
        for column in table.columns:
            if column.lower() == name and isinstance(table[column].iloc[0], str | dict):
                if table[column].isna().any():
                    raise DatasetError(
                        f"{where}: column {column!r} has {int(table[column].isna().sum())} missing values; fill or remove them"
                    )
                return str(column)
    return None


def _targets_of(table: DataFrame, data: Data) -> tuple[str, ...]:
    for name in data.targets:
        if name not in table.columns:
            raise DatasetError(f"data.target {name!r} is no column of {data.source}; it has {', '.join(table.columns)}")
    if data.targets:
        return data.targets
    found = [c for c in table.columns if c.lower() in TARGETS]
    if len(found) > 1:
        raise DatasetError(
            f"{data.source} has the columns {found[0]!r} and {found[1]!r}; say which holds the labels: data.target: {found[0]}"
        )
    return (str(found[0]),) if found else ()


def _labels(column: Series[Any], where: str) -> Array:
    missing = int(column.isna().sum())
    if missing:
        raise DatasetError(
            f"{where} has {missing} missing values (NA and None count as such); fill or remove these rows"
        )
    values = column.to_numpy()
    if values.dtype.kind == "b" or (
        values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.floor(values)).all()
    ):
        return values.astype(np.int64)
    return values if values.dtype.kind in "iuf" else values.astype(object)


def _files(column: Series[Any], folder: Path, where: str) -> list[Picture]:
    found = []
    for i, value in zip(column.index, column, strict=True):
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
            named = f"{where}: row {i}" + (f" ({path})" if path else "")
            if content is None and not path:
                raise DatasetError(f"{named} has no picture; remove the row")
            found.append(Picture(named, content if content is not None else folder / str(path)))
        elif isinstance(value, str):
            found.append(Picture(value, folder / value))
        else:
            raise DatasetError(f"{where}: row {i} has {value!r:.40} for a picture; give its path")
    return found


def _numbers(
    tables: dict[str, DataFrame], targets: tuple[str, ...], data: Data
) -> tuple[dict[str, Items], tuple[str, ...]]:
    """Rows of numbers as float32 (n, columns)."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if data.kind not in (None, "vector", "array"):
        raise DatasetError(f"data.kind is {data.kind}, but {data.source} holds rows of numbers; leave it out")
    first = next(iter(tables.values()))
    others = [c for c in first.columns if c not in targets and c not in data.slices]
    columns = [c for c in others if not _is_index(c, tables)]
    dropped = [c for c in others if c not in columns]
    if not columns:
        raise DatasetError(
            f"{data.source} has no column beside {', '.join(map(repr, targets))}; add the numbers that the network reads"
        )
    items: dict[str, Items] = {}
    for split, table in tables.items():
        for column in columns:
            where, values = f"{data.source}: column {column!r}", table[column]
            if not (is_numeric_dtype(values) or is_bool_dtype(values)):
                raise DatasetError(
                    f"{where} holds {values.iloc[0]!r:.40}, no numbers; make numbers of it, or remove it"
                )
            missing = int(values.isna().sum())
            if missing:
                raise DatasetError(f"{where} has {missing} missing values; fill them, or remove the rows")
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused below.
            numbers = table[columns].to_numpy(np.float32)
        bad = np.flatnonzero(~np.isfinite(numbers).all(0))
        if len(bad):
            raise DatasetError(
                f"{data.source}: column {columns[bad[0]]!r} has infinite or too large values; repair or remove them"
            )
        items[split] = Stored(np.ascontiguousarray(numbers))
    shown = ", ".join(columns[:5]) + (", …" if len(columns) > 5 else "")
    notes = [f"the network reads {len(columns)} columns: {shown}"]
    notes += [f"column {dropped[0]!r} without a name counts the rows, and was left out"] if dropped else []
    return items, tuple(notes)


def _is_index(column: str, tables: dict[str, DataFrame]) -> bool:
    """Whether a column without a name just counts rows, as pandas writes its index."""
    if not column.startswith("Unnamed: "):
        return False
    values = np.sort(np.concatenate([t[column].to_numpy() for t in tables.values()]))
    return bool(np.array_equal(values, np.arange(len(values))))
