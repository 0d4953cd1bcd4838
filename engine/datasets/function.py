"""Datasets that a Python function of the user's returns: `path/to/file.py:function`, called without arguments.

It returns a mapping of arrays (named as in `arrays.py`), or a pair (train, test) of torch datasets or lists of (input, label); where the
network has several inputs, a mapping of them in the place of each input. The file may say which files its functions read, so that the
data's checksum follows them: `DATA_FILES = ["x.npy", "pictures"]` at the top level, plain text, files or folders, relative to the file.
What else they read, nobody sees: after a change of it, change the code or that list.

Arrays are in memory, as they are returned; large ones that are mapped (`np.load(path, mmap_mode="r")`) stay in their files (`cache.py`).

Code of a user's is run only where they run Paretoscope themselves; a server for many forbids it for its own process.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.datasets.arrays import gathered
from engine.datasets.cache import is_large
from engine.datasets.file_hash import file_sha256
from engine.datasets.items import SPLIT_NAMES, Gathered
from engine.datasets.splits import Array
from engine.datasets.user_function import called, failure, function_code, load_function
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk, of_mapped
from engine.spec.canonical import digest
from engine.spec.sections import Data
from engine.spec.sent_code import lies_at

_FILES = "DATA_FILES"
_WANTED = 'return {"x_train": …, "y_train": …, "x_test": …, "y_test": …}, {"x": …, "y": …}, or a pair (train, test) of datasets'


class Permission:
    """Whether this process may run code of a user's."""

    given = True


def forbid_functions() -> None:
    """From now on this process runs no function of a user's: it loads no dataset that one returns."""
    Permission.given = False


def is_function(source: str) -> bool:
    """Whether a source is a function in a Python file."""
    return ".py:" in source


def _parts(source: str) -> tuple[Path, str]:
    path, _, function = source.rpartition(":")
    if not function.isidentifier():
        raise DatasetError(f"data {source!r}: {function!r} is not a function's name; write {path}:FUNCTION")
    return lies_at(Path(path)), function


def function_checksum(source: str) -> str:
    """SHA-256, in hex, of a function's name, the code of its file and of what that imports from beside it, and the files that it names.

    Nothing is run. What the function reads beyond these files is not seen. Raises DatasetError.
    """
    path, function = _parts(source)
    code = function_code(source, "data")
    files = [
        (file.relative_to(path.parent).as_posix(), file_sha256(file, f"{path}: {_FILES}: {file}", "correct the list"))
        for file in _declared(path)
    ]
    return digest([function, code, files])


def _declared(path: Path) -> list[Path]:
    """The files of `DATA_FILES`, of folders all that is in them, sorted."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError):
        return []  # Loading the file reports it, with the line.
    found: list[Path] = []
    for node in body:
        if not (isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == _FILES for t in node.targets)):
            continue
        try:
            names = ast.literal_eval(node.value)
        except ValueError:
            names = None
        if not isinstance(names, list | tuple) or not all(
            isinstance(n, str) and not Path(n).is_absolute() for n in names
        ):
            raise DatasetError(f"{path}: {_FILES} is not a list of plain text; write, say, {_FILES} = ['x.npy']")
        for name in names:
            at = path.parent / name
            found += sorted(f for f in at.rglob("*") if f.is_file()) if at.is_dir() else [at]
    return found


def gather_function(data: Data) -> Gathered:
    """What the function returns, called once. Raises DatasetError, also where this process may not run it."""
    path, function = _parts(data.source)
    name = f"{path.name}:{function}"
    if not Permission.given:
        raise DatasetError(
            f"data {name} is a Python function, which the dashboard does not run; use the command line for what needs its items"
        )
    if not path.is_file():
        raise DatasetError(f"data {data.source!r}: {path} does not exist; give the path of a Python file")
    build = load_function(data.source, "data", DatasetError)
    arrays, nested = _as_arrays(called(data.source, "data", build, refusal=DatasetError), name)
    if nested and not data.arrays:
        data = data.model_copy(update={"inputs": {key: key for key in nested} | data.constants})
    found = gathered(name, name, arrays, data, "return")
    if _declared(path):
        return found
    note = (
        f"what {name} reads from files is not in the data's checksum: name them in its file, {_FILES} = [...], or change "
        "its code when they change"
    )
    return replace(found, notes=(*found.notes, note))


def _as_arrays(value: Any, name: str) -> tuple[dict[str, Array | OnDisk], tuple[str, ...]]:
    """Arrays by name, and the names of the inputs where these are mappings themselves, `{"x_train": {"image": …, "age": …}, …}`."""
    if isinstance(value, Mapping):
        flat: dict[str, Array | OnDisk] = {}
        names: dict[str, None] = {}
        for key, part in value.items():
            if isinstance(part, Mapping):
                split = next((word for word in re.split(r"[-_/.]", str(key)) if word in SPLIT_NAMES), "")
                ending = f"_{split}" if split else ""
                names |= dict.fromkeys(map(str, part))
                flat |= {f"{own}{ending}": _held(array, f"{name}: {key}: {own}") for own, array in part.items()}
            elif part is not None:
                flat[str(key)] = _held(part, f"{name}: {key}")
        return flat, tuple(names)
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and not any(hasattr(part, "ndim") for part in value)
    if not is_pair:
        raise DatasetError(f"data {name} returned {_shown(value)}; {_WANTED}")
    arrays: dict[str, Array | OnDisk] = {}
    names = dict[str, None]()
    for split, part in zip(("train", "test"), value, strict=True):
        found, own = _from_dataset(part, split, f"{name}: {split}")
        arrays, names = {**arrays, **found}, names | dict.fromkeys(own)
    classes = [getattr(part, "classes", None) for part in value]
    if (
        isinstance(classes[0], list | tuple)
        and classes[0] == classes[1]
        and all(isinstance(c, str) for c in classes[0])
    ):
        arrays["class_names"] = np.array(classes[0])
    return arrays, tuple(names)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(type(v).__name__ for v in value[:3])})"
    return f"a {type(value).__name__}"


def _held(value: Any, where: str) -> Array | OnDisk:
    """An array; a large one that is mapped is left in its file."""
    mapped = of_mapped(value) if isinstance(value, np.memmap) and is_large(value.nbytes) else None
    return _array(value, where) if mapped is None else mapped


def _array(value: Any, where: str) -> Array:
    try:
        found = np.asarray(value)
    except Exception as error:  # tensors on a device, ragged lists, and what else a user's own class raises
        raise DatasetError(f"{where} is no array ({failure(error)}); return numpy arrays") from None
    if found.dtype.kind == "O" and all(isinstance(v, str) for v in found.ravel().tolist()):
        return found.astype(str)
    if found.dtype.kind not in "iufbU":
        raise DatasetError(f"{where} is an array of {found.dtype}; return numbers, or text for labels")
    return found


def _from_dataset(part: Any, split: str, where: str) -> tuple[dict[str, Array], tuple[str, ...]]:
    """A torch dataset or a list, item by item, each put where it stays as soon as it is there; and the inputs' names where it has
    several.
    """
    if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        raise DatasetError(
            f"{where} is a {type(part).__name__}, of which neither length nor items are known; {_WANTED}"
        )
    n, labels = len(part), []
    inputs: dict[str, Array] = {}
    names: tuple[str, ...] = ()
    for i in range(n):
        try:
            item = part[i]
        except Exception as error:  # the user's own code
            raise DatasetError(f"{where}: item {i} failed: {failure(error)}; fix the dataset") from None
        if not isinstance(item, list | tuple) or len(item) != 2:
            raise DatasetError(f"{where}: item {i} is {_shown(item)}, not a pair (input, label); return pairs")
        label = item[1]
        several = isinstance(item[0], Mapping)
        values = {str(name): value for name, value in item[0].items()} if several else {"x": item[0]}
        if i == 0:
            names = tuple(values) if several else ()
        elif inputs.keys() != values.keys():
            raise DatasetError(
                f"{where}: input {i} holds {', '.join(values)} but input 0 {', '.join(inputs)}; make them alike"
            )
        for name, found in values.items():
            value = _array(found, f"{where}: input {i}")
            like = inputs.setdefault(name, np.empty((n, *value.shape), value.dtype))
            if (value.shape, value.dtype) != (like.shape[1:], like.dtype):
                raise DatasetError(
                    f"{where}: input {i} is {value.dtype} {value.shape} but input 0 is {like.dtype} {like.shape[1:]}; make them alike"
                )
            like[i] = value
        labels.append(label if isinstance(label, str) else _array(label, f"{where}: label {i}"))
    if not n:
        raise DatasetError(f"{where} is empty; return at least one item")
    try:
        return {f"{name}_{split}": array for name, array in inputs.items()} | {f"y_{split}": np.array(labels)}, names
    except ValueError:
        raise DatasetError(f"{where}: labels differ in shape; give one integer an item") from None
