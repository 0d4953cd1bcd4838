"""Pictures that a Parquet file holds, as Hugging Face keeps them: looked at and decoded as the file is gone through, never there whole.

A column is gone through twice, a few megabytes at a time: for headers and digests, and once more for the pixels, unless these are in the
cache. pyarrow reads whole pages, and writes up to 1,024 pictures into one (100 of Hugging Face's): a few pages are the peak beside what
`picture_files.py` takes, however many pictures and row groups there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.datasets.parquet_files import batches, is_binary, opened, row_groups
from engine.datasets.picture import Cell, Picture, in_threads
from engine.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_BYTES = 8 << 20
_MOST_ROWS = 64


def holds_pictures(kind: pa.DataType) -> bool:
    """Whether a column may hold pictures: structs of bytes or a path, or bytes alone."""
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return is_binary(kind)
    return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))


def pictures_of(path: Path, column: str) -> list[Picture | None]:
    """Each row's picture, left where it lies, or the file that it names; None for a row without. Raises DatasetError."""

    def looked(at: tuple[int, bytes | None, str | None]) -> Picture | None:
        row, content, file = at
        name = f"{path.name}: row {row}" + (f" ({file})" if file else "")
        if content is None:
            return Picture(name, path.parent / file) if file else None
        header = Picture(name, content).header()
        return Picture(name, Cell((path, column), row, hashlib.sha256(content).digest(), header))

    with opened(path) as file:
        found = list(in_threads(looked, _cells(file, column, None)))
    return found


def at_hand(pictures: Sequence[Picture]) -> Iterator[tuple[int, Picture]]:
    """Each with its place, to be opened: what lies in Parquet files is read, in the order in which it lies there, after all others.

    Raises DatasetError for a file that holds others than it did.
    """
    inside: dict[tuple[Path, str], list[tuple[Cell, int]]] = {}
    for place in as_they_lie(pictures).tolist():
        picture = pictures[place]
        if isinstance(picture.content, Cell):
            inside.setdefault(picture.content.column, []).append((picture.content, place))
        else:
            yield place, picture
    for (path, column), cells in inside.items():
        places = {cell.row: (cell, place) for cell, place in cells}
        seen = 0
        with opened(path) as file:
            for row, content, _ in _cells(file, column, np.array(list(places))):
                cell, place = places[row]
                if content is None or hashlib.sha256(content).digest() != cell.sha256:
                    raise _changed(path)
                seen += 1
                yield place, Picture(pictures[place].name, content)
        if seen < len(places):
            raise _changed(path)


def as_they_lie(pictures: Sequence[Picture]) -> npt.NDArray[np.intp]:
    """The order in which `at_hand` gives them: files as they are, then Parquet files by name, row by row."""

    def place(i: int) -> tuple[str, str, int]:
        content = pictures[i].content
        return (str(content.column[0]), content.column[1], content.row) if isinstance(content, Cell) else ("", "", 0)

    return np.array(sorted(range(len(pictures)), key=place), np.intp)


def _changed(path: Path) -> DatasetError:
    return DatasetError(f"{path} was changed while it was in use; leave it alone and run again")


def _cells(
    file: Any, column: str, wanted: npt.NDArray[np.intp] | None
) -> Iterator[tuple[int, bytes | None, str | None]]:
    """(row, bytes, path) of the wanted rows, None for all, in their order; other row groups are not read."""
    for group, first, n in row_groups(file):
        chosen = np.arange(n) if wanted is None else np.sort(wanted[(wanted >= first) & (wanted < first + n)]) - first
        if not len(chosen):
            continue
        at = 0
        for batch in batches(file, [column], _rows_at_a_time(file, column), group):
            some = chosen[(chosen >= at) & (chosen < at + len(batch))] - at
            values = batch.column(0)
            for i in some.tolist():
                value = values[i].as_py()
                content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
                yield first + at + i, content, name
            at += len(batch)


def _rows_at_a_time(file: Any, column: str) -> int:
    """So few that their bytes are a few megabytes, going by the column's mean."""
    about = file.metadata
    n_bytes: int = sum(
        part.total_uncompressed_size
        for group in range(about.num_row_groups)
        for i in range(about.num_columns)
        if (part := about.row_group(group).column(i)).path_in_schema.split(".")[0] == column
    )
    return max(1, min(_MOST_ROWS, _BATCH_BYTES * int(about.num_rows) // max(1, n_bytes)))


def paths_of(path: Path, names: Sequence[str]) -> list[str]:
    """What the column of pictures, whose name is one of these, names outside of the file. Raises DatasetError."""
    with opened(path) as file:
        kinds = {field.name: field.type for field in file.schema_arrow if field.name.lower() in names}
        column = next((c for c, kind in kinds.items() if holds_pictures(kind)), None)
        if column is not None:
            if is_binary(kinds[column]) or _all_have_bytes(file, column):
                return []
            return [name for _, content, name in _cells(file, column, None) if content is None and name]
        texts = [c for name in names for c in kinds if c.lower() == name and _is_text(kinds[c])]
        return [name for name in file.read(texts[:1]).column(0).to_pylist() if name] if texts else []


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _all_have_bytes(file: Any, column: str) -> bool:
    """Whether what the file says of its columns rules out a picture without bytes."""
    counts = [
        part.statistics.null_count if part.statistics is not None and part.statistics.has_null_count else None
        for group in range(file.metadata.num_row_groups)
        for i in range(file.metadata.num_columns)
        if (part := file.metadata.row_group(group).column(i)).path_in_schema == f"{column}.bytes"
    ]
    return bool(counts) and not any(n is None or n for n in counts)
