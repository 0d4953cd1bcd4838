"""Reads a user's `.npz` dataset into checked arrays. `load.py` makes splits of them.

Arrays: `x_train, y_train, x_test, y_test`, and pairs of `calibration` and `validation` where the user has them. `y_test` may be left out.
`class_names`, an array of text, names the classes.

Images are uint8 (0 to 255) or float, in one of three layouts: (n, height, width), (n, height, width, channels) or
(n, channels, height, width). The channel axis is the one of length 1 to 4; where both the second and the last are, or neither,
the layout is refused, not guessed. Labels are integers from 0, of shape (n,) or (n, 1).
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.errors import DatasetError

Array = npt.NDArray[np.generic]
Labels = npt.NDArray[np.int64]
REQUIRED = ("train", "test")
OPTIONAL = ("calibration", "validation")
UNLABELLED = -1
"""The label of a test image whose class nobody told."""
_CHANNELS = range(1, 5)
# Fewer leave nothing to calibrate on and to validate with once the splits are carved.
MIN_TRAIN_IMAGES = 20


def read_npz(path: Path) -> dict[str, tuple[Array, Labels]]:
    """Split name -> (images (n, channels, height, width), labels (n,)); images are uint8 or float32. Raises DatasetError."""
    arrays = _read_arrays(path)
    names = [*REQUIRED, *(name for name in OPTIONAL if f"x_{name}" in arrays or f"y_{name}" in arrays)]
    missing = [key for name in names for key in (f"x_{name}", f"y_{name}") if key not in arrays]
    # Test images may lack labels: then figures say how closely a trial answers like the baseline.
    unlabelled = missing == ["y_test"]
    if missing and not unlabelled:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise DatasetError(
            f"{path} has no {missing[0]!r} (it holds {found}); save x_train, y_train, x_test and y_test in it"
        )
    splits = {}
    for name in names:
        images = _images(arrays[f"x_{name}"], f"{path}: x_{name}")
        if name == "test" and unlabelled:
            splits[name] = images, np.full(len(images), UNLABELLED, np.int64)
            continue
        labels = _labels(arrays[f"y_{name}"], f"{path}: y_{name}")
        if len(images) != len(labels):
            raise DatasetError(
                f"{path}: x_{name} has {len(images)} images but y_{name} {len(labels)} labels; save one label each"
            )
        splits[name] = images, labels
    _check_alike(path, splits)
    return splits


def _read_arrays(path: Path) -> dict[str, Array]:
    """The arrays whose names matter, whatever else the file holds; never unpickles."""
    wanted = {f"{kind}_{name}" for name in (*REQUIRED, *OPTIONAL) for kind in "xy"}
    try:
        # Opened here: numpy leaves the files that it cannot read open.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DatasetError(
                    f"{path} holds one array, not named ones; save np.savez(path, x_train=…, y_train=…, …)"
                )
            names = wanted & set(file.files) or set(file.files)
            return {name: file[name] for name in names}
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; give the path of an .npz file") from None
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            what = "holds Python objects, or is not an .npz file; save plain number arrays with np.savez"
            raise DatasetError(f"{path} {what}") from None
        raise DatasetError(f"{path} is damaged ({_line(error)}); save it again with np.savez") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, AttributeError) as error:
        raise DatasetError(
            f"{path} is damaged or not an .npz file ({_line(error)}); save it again with np.savez"
        ) from None


def read_class_names(path: Path) -> tuple[str, ...] | None:
    """The names of the classes that a file holds, None where it holds none. The file is one that `read_npz` has read."""
    with np.load(path, allow_pickle=False) as file:
        if "class_names" not in file.files:
            return None
        names = file["class_names"]
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DatasetError(f"{path}: class_names is not a list of text; save np.array([...]) of the classes' names")
    return tuple(names.tolist())


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _images(array: Array, where: str) -> Array:
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DatasetError(f"{where} is {array.dtype}; save images as uint8 (0 to 255) or float32")
    images = _to_nchw(array, where)
    if 0 in images.shape:
        raise DatasetError(f"{where} is empty (shape {array.shape}); save at least one image")
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused below.
        images = np.ascontiguousarray(images, np.float32)
    bad = len(images) - int(np.isfinite(images).reshape(len(images), -1).all(1).sum())
    if bad:
        raise DatasetError(
            f"{where} has NaN, infinite or too large values in {bad} of {len(images)} images; remove or repair them"
        )
    return images


def _to_nchw(array: Array, where: str) -> Array:
    """The layout rule of this module."""
    if array.ndim == 3:
        return array[:, None]
    if array.ndim != 4:
        raise DatasetError(
            f"{where} has shape {array.shape}; save (n, height, width), with channels second or last if any"
        )
    first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
    if first and last:
        raise DatasetError(
            f"{where} has shape {array.shape}, where both the second and the last axis could be channels; save (n, height, width)"
        )
    if not first and not last:
        raise DatasetError(f"{where} has shape {array.shape}; channels, the second or the last axis, must be 1 to 4")
    return array if first else array.transpose(0, 3, 1, 2)


def _labels(array: Array, where: str) -> Labels:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise DatasetError(
            f"{where} has shape {array.shape}; save one integer per image (for one-hot labels, their argmax)"
        )
    if array.dtype.kind not in "iu":
        raise DatasetError(f"{where} is {array.dtype}; save integers from 0 to classes - 1")
    if len(array) and int(array.min()) < 0:
        raise DatasetError(f"{where} has the label {int(array.min())}; labels count from 0")
    return array.astype(np.int64)


def _check_alike(path: Path, splits: dict[str, tuple[Array, Labels]]) -> None:
    train = splits["train"][0]
    if len(train) < MIN_TRAIN_IMAGES:
        raise DatasetError(f"{path}: x_train has {len(train)} images; at least {MIN_TRAIN_IMAGES} are needed")
    for name, (images, _) in splits.items():
        if images.shape[1:] != train.shape[1:]:
            raise DatasetError(
                f"{path}: x_{name} is {images.shape[1:]} per image but x_train {train.shape[1:]}; make them alike"
            )
        if images.dtype != train.dtype:
            raise DatasetError(
                f"{path}: x_{name} is {images.dtype} but x_train {train.dtype}; save both in the same type"
            )
