"""Columns as an Arrow file: written from a `Block`, and read back as one that stays in the file until it is looked at.

Numbers are float64 as they are, NaN included, so what is read is what was written, bit for bit. A column of which every value is the same
(no interval, never estimated) is a word in the file's head. Facts are text, numbers and bytes; of few different values each is kept once.
Nothing in a file is code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pydantic_core

from engine.frontier.columns import Fact, Numbers, Objects, Place, as_objects
from engine.frontier.dominance import Bools, Floats
from engine.frontier.stored_columns import Block
from engine.trials.evidence import Seeds

Stamps = npt.NDArray[np.int64]
"""Shape (trials, 3): position, revision, digest, as `engine/store/stamps.py` has them."""
_HEAD = b"paretoscope"
_PARTS = ("value", "low", "high")


@cache
def version() -> str:
    """Names the code that makes columns of records: what another version of it made is not taken for what this one would."""
    engine = Path(__file__).resolve().parents[1]
    files = [*sorted((engine / "trials").glob("*.py")), engine / "metrics.py"]
    files += [engine / "frontier" / name for name in ("columns.py", "stored_columns.py", "column_format.py")]
    digest = hashlib.sha256(pydantic_core.__version__.encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def write(block: Block, stamps: Stamps, path: Path) -> None:
    """Write a block of columns and the stamps of the records that they are of. Raises OSError."""
    arrays = {f"stamp {i}": pa.array(np.ascontiguousarray(stamps[:, i])) for i in range(3)}
    arrays |= {f"fact {name}": _CODECS[name][0](column) for name, column in block.facts.items()}
    same: dict[str, Any] = {}
    for place, numbers in block.numbers.items():
        columns = {part: getattr(numbers, part) for part in _PARTS} | {"estimated": numbers.estimated}
        for part, column in columns.items():
            _put(json.dumps([*place, part]), column, arrays, same)
    for device, barred in block.barred.items():
        _put(json.dumps([device]), barred, arrays, same)
    head = {
        "count": len(block),
        "devices": block.devices,
        "places": list(block.numbers),
        "barred": list(block.barred),
        "same": same,
    }
    table = pa.table(arrays).replace_schema_metadata({_HEAD: json.dumps(head).encode()})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _put(name: str, column: Floats | Bools, arrays: dict[str, pa.Array], same: dict[str, Any]) -> None:
    if column.dtype == np.bool_ and len(column) and (column == column[0]).all():
        same[name] = bool(column[0])
    elif column.dtype != np.bool_ and np.isnan(column).all():
        same[name] = None
    else:
        arrays[name] = pa.array(column, from_pandas=False)


def read(content: pa.Buffer) -> tuple[Block, Stamps]:
    """The columns and stamps in a file's bytes. Raises ValueError or KeyError for what is no such file."""
    table = pa.ipc.open_file(content).read_all()
    head = json.loads((table.schema.metadata or {})[_HEAD])
    count = head["count"]
    if table.num_rows != count:
        raise ValueError("the columns are of other lengths than they should be")

    def column(name: str) -> npt.NDArray[Any]:
        if name in head["same"]:
            value = head["same"][name]
            return np.full(count, np.nan) if value is None else np.full(count, value, np.bool_)
        return np.asarray(_whole(table, name).to_numpy(zero_copy_only=False))

    def numbers(key: str, device: str) -> Numbers:
        found = [column(json.dumps([key, device, part])) for part in (*_PARTS, "estimated")]
        return Numbers(*found)

    places: list[Place] = [(key, device) for key, device in head["places"]]
    block = Block(
        _Facts(table),
        {place: numbers(*place) for place in places},
        tuple(head["devices"]),
        {device: column(json.dumps([device])) for device in head["barred"]},
    )
    return block, np.stack([column(f"stamp {i}") for i in range(3)], axis=1)


class _Facts(Mapping[Fact, Objects]):
    """Facts that are made into Python objects when they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._names = [cast(Fact, n[5:]) for n in table.column_names if n.startswith("fact ")]
        self._made: dict[Fact, Objects] = {}

    def __getitem__(self, name: Fact) -> Objects:
        if name not in self._made:
            self._made[name] = _CODECS[name][1](_whole(self._table, f"fact {name}"))
        return self._made[name]

    def __iter__(self) -> Iterator[Fact]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _whole(table: pa.Table, name: str) -> Any:
    chunks = table.column(name).chunks
    return chunks[0] if len(chunks) == 1 else table.column(name).combine_chunks()


def _plain(kind: Any) -> tuple[Callable[[Objects], Any], Callable[[Any], Objects]]:
    return lambda column: pa.array(column, kind, from_pandas=False), lambda array: as_objects(array.to_pylist())


def _few(
    kind: Any, to: Callable[[Any], Any], back: Callable[[Any], Any]
) -> tuple[Callable[[Objects], Any], Callable[[Any], Objects]]:
    """Of few different values, which are written, and made again, once each; None stays None."""

    def write(column: Objects) -> Any:
        places: dict[Any, int] = {}
        at = [None if value is None else places.setdefault(value, len(places)) for value in column.tolist()]
        return pa.DictionaryArray.from_arrays(pa.array(at, pa.int32()), pa.array([to(v) for v in places], kind))

    def read(array: Any) -> Objects:
        values = as_objects([*(back(v) for v in array.dictionary.to_pylist()), None])
        made: Objects = values[array.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)]
        return made

    return write, read


def _write_steps(column: Objects) -> Any:
    places: dict[bytes, int] = {}
    at = [places.setdefault(step, len(places)) for steps in column.tolist() for step in steps]
    ends = np.cumsum([0, *(len(steps) for steps in column.tolist())])
    values = pa.DictionaryArray.from_arrays(pa.array(at, pa.int32()), pa.array(list(places), pa.binary()))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)


def _read_steps(array: Any) -> Objects:
    known = array.values.dictionary.to_pylist()
    steps = [known[i] for i in array.values.indices.to_pylist()]
    ends = array.offsets.to_pylist()
    return as_objects([tuple(steps[a:b]) for a, b in pairwise(ends)])


def _same(value: Any) -> Any:
    return value


_CODECS: dict[Fact, tuple[Callable[[Objects], Any], Callable[[Any], Objects]]] = {
    "id": _plain(pa.string()),
    "label": _plain(pa.string()),
    "state": _few(pa.string(), _same, _same),
    "provenance": _few(pa.string(), _same, _same),
    "machine": _few(pa.string(), lambda m: json.dumps(m), lambda text: tuple(json.loads(text))),
    "is_baseline": _plain(pa.bool_()),
    "tied_with_baseline": _plain(pa.bool_()),
    "predictions": _plain(pa.string()),
    "artifact": _plain(pa.string()),
    "demand": _few(pa.binary(), _same, _same),
    "seeds": _few(pa.string(), lambda s: json.dumps(asdict(s)), lambda text: Seeds.from_json(json.loads(text))),
    "finished_s": _plain(pa.float64()),
    "error": _few(pa.string(), _same, _same),
    "stopped": _few(pa.string(), _same, _same),
    "own_metrics": _few(pa.string(), lambda keys: json.dumps(keys), lambda text: tuple(json.loads(text))),
    "steps": (_write_steps, _read_steps),
}
