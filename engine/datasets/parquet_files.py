"""Parquet files, gone through a batch at a time by pyarrow; what is wrong with one is a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import DatasetError

if TYPE_CHECKING:
    import pyarrow as pa

_BUFFER_BYTES = 1 << 20


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """pyarrow's ParquetFile, which then reads pages as they are asked for, not columns. Raises DatasetError, also for what breaks while
    it is read.
    """
    try:
        import pyarrow.lib
        import pyarrow.parquet as pq
    except ImportError:
        raise DatasetError(f"{path} takes pyarrow to read; install it (pip install pyarrow), or save a .csv") from None
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give the path of a .csv or .parquet file") from None
    except (OSError, pyarrow.lib.ArrowException) as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> DatasetError:
    """The line for a table that cannot be read."""
    reason = " ".join(str(error).split())[:120]
    return DatasetError(f"{path} is damaged or no {path.suffix[1:]} file ({reason}); save it again")


def row_groups(file: Any) -> Iterator[tuple[int, int, int]]:
    """(number, first row, rows) of each."""
    first = 0
    for group in range(file.metadata.num_row_groups):
        n = file.metadata.row_group(group).num_rows
        yield group, first, n
        first += n


def batches(file: Any, columns: Sequence[str], rows: int, group: int) -> Iterator[pa.RecordBatch]:
    """Some columns of a row group, so many rows at a time."""
    yield from file.iter_batches(batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes."""
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))
