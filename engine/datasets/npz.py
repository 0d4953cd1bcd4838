"""Reads `.npz` and `.npy` files of numpy into arrays; nothing is ever unpickled. `arrays.py` says what they are."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engine.datasets.arrays import gathered, read_names
from engine.datasets.items import Gathered
from engine.datasets.splits import Array
from engine.errors import DatasetError
from engine.spec.sections import Data


def gather_npz(data: Data, name: str, path: Path) -> Gathered:
    """What an `.npz` file holds. Raises DatasetError."""
    return gathered(name, str(path), _read_arrays(path, data), data, "save")


def gather_npy(data: Data, path: Path) -> Gathered:
    """The items of an `.npy` file, with the labels of another where the spec names it. Raises DatasetError."""
    arrays = {"x": _read_array(path)}
    if data.labels is not None:
        arrays["y"] = _read_array(Path(data.labels))
    return gathered(path.name, str(path), arrays, data, "save")


def _read_array(path: Path) -> Array:
    with _readable(path, ".npy", "np.save"), path.open("rb") as stream:
        found = np.load(stream, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise DatasetError(f"{path} holds named arrays, not one; call it .npz")
        return found


def _read_arrays(path: Path, data: Data) -> dict[str, Array]:
    """The arrays whose names matter, whatever else the file holds."""
    # Opened here: numpy leaves the files that it cannot read open.
    with _readable(path, ".npz", "np.savez"), path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise DatasetError(f"{path} holds one array, not named ones; save np.savez(path, x_train=…, y_train=…, …)")
        wanted = read_names(file.files, str(path), data)
        return {name: file[name] for name in wanted or file.files}


@contextmanager
def _readable(path: Path, suffix: str, save: str) -> Iterator[None]:
    """What numpy raises for files that are none, or damaged, in one line."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give the path of an {suffix} file") from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            what = f"holds Python objects, or is not an {suffix} file; save plain number arrays with {save}"
            raise DatasetError(f"{path} {what}") from None
        raise DatasetError(f"{path} is damaged ({_line(error)}); save it again with {save}") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, AttributeError) as error:
        raise DatasetError(
            f"{path} is damaged or not an {suffix} file ({_line(error)}); save it again with {save}"
        ) from None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
