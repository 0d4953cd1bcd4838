"""Tables: of picture paths and labels, of pictures themselves (Hugging Face's `image` column), or of numbers, one column each.

The labels' column is called `label`, `target`, `class` or `y`, or `data.target` names it, or several, whose numbers are the targets
(n, columns). A column `split` says train, test, validation or calibration. Paths are relative to the table. Of numbers, every other
column is one of the vector (n, columns).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.datasets.file_hash import file_sha256
from engine.datasets.items import ALL, SPLIT_NAMES, Gathered, Items, Stored
from engine.datasets.parquet_pictures import paths_of
from engine.datasets.parquet_tables import Table, read_table
from engine.datasets.picture import Picture
from engine.datasets.picture_files import look_at
from engine.datasets.slices import check_few, slice_values
from engine.datasets.splits import SPLIT_SEED, Array
from engine.datasets.table_files import class_names_of
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
    return digest([table, [hash_of(file) for file in named_files(path)]])


def hash_of(file: Path) -> str:
    """SHA-256, in hex, of a picture that a table names. Raises DatasetError."""
    return file_sha256(file, f"picture {file}", "correct the path, which is relative to the table, or remove the row")


def named_files(path: Path) -> tuple[Path, ...]:
    """The pictures that a table names beside it. Raises DatasetError."""
    return _named_files(path, file_sha256(path, f"data {path}", "make it readable"))


@lru_cache(maxsize=64)
def _named_files(path: Path, sha256: str) -> tuple[Path, ...]:
    """The pictures that a table names, none for a table of something else; read once for a content."""
    if path.suffix == ".csv":
        table = _read([path], lambda _: False)
        column = _pictures_of(table, str(path))
        return () if column is None else tuple(path.parent / str(name) for name in table.frame[column])
    return tuple(path.parent / name for name in paths_of(path, PATHS))


def gather_table(data: Data) -> Gathered:
    """What a table holds. Raises DatasetError."""
    path = Path(data.source)
    table = _read([path], lambda column: column in (*data.targets, *data.slices))
    split = next((c for c in table.columns if c.lower() == _SPLIT and c not in data.targets), None)
    if split is None:
        return _gathered(data, path.name, {ALL: table})
    tables: dict[str, Table] = {}
    for value, rows in table.frame.groupby(split, sort=True, dropna=False):
        known = SPLIT_NAMES.get(str(value).strip().lower())
        if known is None:
            raise DatasetError(f"{path}: column {split!r} has {value!r}; write train, test, validation or calibration")
        if known in tables:
            raise DatasetError(f"{path}: column {split!r} calls {known} by two names; write one")
        tables[known] = table.of(rows).without(split)
    if "train" not in tables:
        raise DatasetError(
            f"{path}: column {split!r} has no train, only {', '.join(tables)}; add such rows, or leave the column out"
        )
    return _gathered(data, path.name, tables)


def gather_parquet_folder(data: Data, name: str, parts: dict[str, list[Path]]) -> Gathered:
    """What the Parquet files of a folder hold, by split. Raises DatasetError."""
    tables = {s: _read(files, lambda column: column in (*data.targets, *data.slices)) for s, files in parts.items()}
    return _gathered(data, name, tables)


def _read(files: list[Path], asked_for: Callable[[str], bool]) -> Table:
    """Pictures beside what names them come first."""
    known = (*TARGETS, *PATHS, _SPLIT)
    return read_table(files, lambda c: c.lower() in PATHS, lambda c: asked_for(c) or c.lower() in known)


def _gathered(data: Data, name: str, tables: dict[str, Table]) -> Gathered:
    """In a random order, the same every time: the first few rows are then some of every class."""
    where, shuffle = data.source, np.random.default_rng(SPLIT_SEED)
    tables = {split: t.of(t.frame.iloc[shuffle.permutation(len(t.frame))]) for split, t in tables.items()}
    first = next(iter(tables.values()))
    for split, table in tables.items():
        if set(table.columns) != set(first.columns):
            raise DatasetError(
                f"{where}: the columns of {split} are {', '.join(table.columns)}, not {', '.join(first.columns)}; make them alike"
            )
    pictures, targets = _pictures_of(first, where), _targets_of(first, data)
    if pictures in targets:
        raise DatasetError(f"{where}: column {pictures!r} holds the pictures, not the labels; correct data.target")
    labels = {split: _labels_of(t.frame, targets, where) for split, t in tables.items()}
    slices = _slices(tables, data)
    items: dict[str, Items]
    notes: tuple[str, ...]
    if pictures is not None:
        looked, notes = look_at(
            {s: _files(t.frame[pictures], t.files[0].parent, where) for s, t in tables.items()}, data
        )
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
    names = class_names_of(first.files[0], targets[0]) if len(targets) == 1 else None
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


def _slices(tables: dict[str, Table], data: Data) -> dict[str, dict[str, Array]]:
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
            _labels(table.frame[name], where)  # refuses what is missing
            found[split][name] = slice_values(table.frame[name].to_numpy(), where)
        check_few(where, [found[split][name] for split in tables])
    return found


def _pictures_of(table: Table, where: str) -> str | None:
    """The column of pictures, otherwise of their paths; None in a table of numbers."""
    known = [c for name in PATHS for c in table.columns if c.lower() == name and c in table.frame]
    for kind in (Picture, str):
        for column in known:
            values = table.frame[column]
            if isinstance(next(iter(values.dropna()), None), kind):
                if values.isna().any():
                    missing = int(values.isna().sum())
                    raise DatasetError(f"{where}: column {column!r} has {missing} missing values; fill or remove them")
                return column
    return None


def _targets_of(table: Table, data: Data) -> tuple[str, ...]:
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
        if not isinstance(value, str | Picture):
            raise DatasetError(f"{where}: row {i} has {value!r:.40} for a picture; give its path")
        found.append(value if isinstance(value, Picture) else Picture(value, folder / value))
    return found


def _numbers(
    tables: dict[str, Table], targets: tuple[str, ...], data: Data
) -> tuple[dict[str, Items], tuple[str, ...]]:
    """Rows of numbers as float32 (n, columns)."""
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
    items: dict[str, Items] = {s: Stored(table.numbers(columns, data.source)) for s, table in tables.items()}
    shown = ", ".join(columns[:5]) + (", …" if len(columns) > 5 else "")
    notes = [f"the network reads {len(columns)} columns: {shown}"]
    notes += [f"column {dropped[0]!r} without a name counts the rows, and was left out"] if dropped else []
    return items, tuple(notes)


def _is_index(column: str, tables: dict[str, Table]) -> bool:
    """Whether a column without a name just counts rows, as pandas writes its index."""
    if not column.startswith("Unnamed: "):
        return False
    values = np.sort(np.concatenate([t.column(column).to_numpy() for t in tables.values()]))
    return bool(np.array_equal(values, np.arange(len(values))))
