"""CSV files -> pandas tables, and folders of Parquet files as Hugging Face has them: `data/train-00000-of-00002.parquet`."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from engine.datasets.items import ALL, SPLIT_NAMES
from engine.datasets.parquet_files import damaged, opened
from engine.errors import DatasetError

if TYPE_CHECKING:
    from pandas import DataFrame


def parquet_parts(root: Path) -> dict[str, list[Path]]:
    """The Parquet files of a folder, or of `data/` in it, by split; empty where there are none. Raises DatasetError for a mixture."""
    files = sorted(root.glob("*.parquet")) or sorted((root / "data").glob("*.parquet"))
    parts: dict[str, list[Path]] = {}
    for file in files:
        word = re.split(r"[-_.]", file.name.lower())[0]
        parts.setdefault(SPLIT_NAMES.get(word, ALL), []).append(file)
    if ALL in parts and len(parts) > 1:
        known = next(s for s in parts if s != ALL)
        raise DatasetError(
            f"{root}: {parts[ALL][0].name} belongs to no split, but {parts[known][0].name} does; call it train-….parquet, or move it"
        )
    if parts and ALL not in parts and "train" not in parts:
        raise DatasetError(f"{root} has no train-….parquet, only {files[0].name}; add it, or give data.source one file")
    return parts


def read_csv(path: Path) -> DataFrame:
    """A CSV file as a table. Raises DatasetError."""
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give the path of a .csv or .parquet file") from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not UTF-8; save it again as UTF-8") from None
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise damaged(path, error) from None
    if not len(table):
        raise DatasetError(f"{path} has no rows; give at least one")
    _check_header(path)
    return table.rename(columns=str)


def _check_header(path: Path) -> None:
    """Refuse two columns of one name, of which pandas would call the second `a.1` and go on."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        names = [name for name in next(csv.reader(file)) if name]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise DatasetError(f"{path} has two columns {twice[0]!r}; give each a name of its own")


def class_names_of(path: Path, column: str) -> tuple[str, ...] | None:
    """The classes that Hugging Face's `datasets` wrote beside a Parquet file's labels, None where there are none."""
    if path.suffix != ".parquet":
        return None
    with opened(path) as file:
        written = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        names = json.loads(written)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return None
    return tuple(map(str, names)) if isinstance(names, list) and names else None
