"""Rows of a CSV or of Parquet files as one table. Of Parquet, pictures stay in the files, and so do numbers where they are many: these are
written in rows of float32 into a file of the cache, a few megabytes at a time, and read from there.

A batch of rows is decoded column by column, a page of each at a time (1 MB as pyarrow writes them), which is the peak.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from engine.datasets.cache import cached, check_bound, is_large
from engine.datasets.file_hash import file_sha256
from engine.datasets.parquet_files import batches, opened, row_groups
from engine.datasets.parquet_pictures import holds_pictures, pictures_of
from engine.datasets.splits import Array
from engine.datasets.table_files import read_csv
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk
from engine.spec.canonical import digest

if TYPE_CHECKING:
    import pyarrow as pa
    from pandas import DataFrame, Series

_BATCH_BYTES = 8 << 20


@dataclass(frozen=True)
class Table:
    """Rows of one part of a source. `columns` are those of its `files`; some of them may be there alone, and not in `frame`, whose index
    says which rows of the files, one after the other, it has.
    """

    frame: DataFrame
    columns: tuple[str, ...]
    files: tuple[Path, ...]
    large: bool = False

    def of(self, frame: DataFrame) -> Table:
        """Some of the rows."""
        return Table(frame, self.columns, self.files, self.large)

    def without(self, column: str) -> Table:
        """One column less."""
        return Table(
            self.frame.drop(columns=column), tuple(c for c in self.columns if c != column), self.files, self.large
        )

    def column(self, name: str) -> Series[Any]:
        """Of all rows, read now where it is in the files alone."""
        import pandas as pd

        if name in self.frame:
            return self.frame[name]
        read = [_in_memory(file, [name]) for file in self.files]
        return pd.concat(read, ignore_index=True)[name].iloc[self.frame.index]

    def numbers(self, columns: Sequence[str], where: str) -> Array | OnDisk:
        """Columns as float32 (n, columns); on disk where they are many. Raises DatasetError for what is no finite number."""
        if self.large:
            return _on_disk(self, columns, where).part(self.frame.index.to_numpy(np.intp))
        found = _Numbers(columns, where)
        rows = found.of(self.frame)
        found.check()
        return rows


def read_table(files: Sequence[Path], embedded: Callable[[str], bool], small: Callable[[str], bool]) -> Table:
    """One CSV, or Parquet files of the same columns. `embedded`: the column that would hold pictures, by its name; `small`: those that
    are always read, labels say. Raises DatasetError.
    """
    import pandas as pd

    if files[0].suffix == ".csv":
        frame = read_csv(files[0])
        return Table(frame, tuple(frame.columns), (files[0],))
    schemas, rows = [], []
    for path in files:
        with opened(path) as file:
            schemas.append(_columns(file.schema_arrow))
            rows.append(file.metadata.num_rows)
    columns = schemas[0]
    for path, n, schema in zip(files, rows, schemas, strict=True):
        if not n:
            raise DatasetError(f"{path} has no rows; give at least one")
        if set(schema) != set(columns):
            raise DatasetError(f"{path} has the columns {', '.join(schema)}, unlike {files[0].name}; make them alike")
    pictures = next((c for c, kind in columns.items() if embedded(c) and holds_pictures(kind)), None)
    needed = [c for c in columns if small(c) and c != pictures]
    large = pictures is None and is_large(4 * sum(rows) * (len(columns) - len(needed)))
    read = []
    for path, n in zip(files, rows, strict=True):
        # Of what lies beside pictures, nothing but labels and slices is asked for.
        wanted = [*columns] if pictures is None and not large else needed
        part = _in_memory(path, wanted) if wanted else pd.DataFrame(index=range(n))
        if pictures is not None:
            part[pictures] = pd.Series(pictures_of(path, pictures), part.index, dtype=object)
        read.append(part)
    return Table(pd.concat(read, ignore_index=True), tuple(columns), tuple(files), large)


def _columns(schema: pa.Schema) -> dict[str, pa.DataType]:
    """By name, without what pandas wrote as the index of its rows."""
    index = [name for name in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(name, str)]
    return {field.name: field.type for field in schema if field.name not in index}


def _in_memory(path: Path, columns: Sequence[str]) -> DataFrame:
    import pandas as pd

    with opened(path):
        return pd.read_parquet(path, engine="pyarrow", columns=list(columns)).reset_index(drop=True)


class _Numbers:
    """Rows of some columns as float32, and what is wrong with them, told once all have been seen."""

    def __init__(self, columns: Sequence[str], where: str) -> None:
        self._columns, self._where = list(columns), where
        self._missing = np.zeros(len(columns), int)
        self._infinite = np.zeros(len(columns), bool)

    def of(self, frame: DataFrame) -> Array:
        """(n, columns); raises DatasetError for a column of something else."""
        from pandas.api.types import is_bool_dtype, is_numeric_dtype

        for i, column in enumerate(self._columns):
            values = frame[column]
            if not (is_numeric_dtype(values) or is_bool_dtype(values)):
                raise DatasetError(
                    f"{self._where}: column {column!r} holds {values.iloc[0]!r:.40}, no numbers; make numbers of it, or remove it"
                )
            self._missing[i] += int(values.isna().sum())
        if self._missing.any():
            return np.empty((len(frame), len(self._columns)), np.float32)
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused.
            numbers = np.ascontiguousarray(frame[self._columns].to_numpy(np.float32))
        self._infinite |= ~np.isfinite(numbers).all(0)
        return numbers

    def check(self) -> None:
        """Raises DatasetError for missing and infinite values of any of the rows."""
        for column, missing, infinite in zip(self._columns, self._missing, self._infinite, strict=True):
            where = f"{self._where}: column {column!r}"
            if missing:
                raise DatasetError(f"{where} has {missing} missing values; fill them, or remove the rows")
            if infinite:
                raise DatasetError(f"{where} has infinite or too large values; repair or remove them")


def _on_disk(table: Table, columns: Sequence[str], where: str) -> OnDisk:
    """All rows of the files, in their order; raises DatasetError."""
    import pyarrow as pa

    rows, what = 0, f"what {where} holds"
    for path in table.files:
        with opened(path) as file:
            rows += file.metadata.num_rows
    made_of = [file_sha256(path, str(path), "make it readable") for path in table.files]
    n_bytes = rows * len(columns) * 4
    check_bound(n_bytes, what)

    def write(into: IO[bytes]) -> None:
        found = _Numbers(columns, where)
        for path in table.files:
            for frame in _frames(path, columns):
                into.write(found.of(frame).data)
        found.check()

    key = digest(["numbers", made_of, list(columns), pa.__version__, _own_code()])
    return cached(key, n_bytes, what, write, ((rows, len(columns)), np.dtype(np.float32)))


def _frames(path: Path, columns: Sequence[str]) -> Iterator[DataFrame]:
    """A file's rows, a few at a time. What is done with them is outside of `opened`, which takes every OSError for the file's."""
    import pyarrow as pa

    with opened(path) as file:
        for group, _, _ in row_groups(file):
            for batch in batches(file, columns, max(1, _BATCH_BYTES // (4 * len(columns))), group):
                yield pa.Table.from_batches([batch]).to_pandas(ignore_metadata=True)


@cache
def _own_code() -> str:
    """Of this module, which decides what numbers a row has."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
