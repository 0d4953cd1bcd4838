"""Datasets by the names that torchvision and MedMNIST give them, made once into an `.npz` under the home.

Making one takes torchvision; reading it afterwards takes numpy alone, so the browser's process never imports torch. Nothing is downloaded
unless that is asked for.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import DatasetError
from engine.paths import DATA, home

Array = npt.NDArray[np.generic]

FAMILIES = ("torchvision", "medmnist")
SIDE = 32
"""Pixels of a side, where the images of a dataset differ in size."""


def is_named(source: str) -> bool:
    """Whether a source is a name in one of the families."""
    return source.partition(":")[0] in FAMILIES and ":" in source


def folder() -> Path:
    """Where prepared files lie; it may not exist."""
    return home() / "datasets"


def prepared_file(source: str) -> Path:
    """The prepared file of a name; DatasetError, saying how to make it, where there is none."""
    path = _path(source)
    if not path.is_file():
        raise DatasetError(
            f"data {source!r} is not prepared on this machine; `paretoscope datasets --prepare {source} --download` does it, or "
            "`--from FOLDER` with files that you have"
        )
    return path


def prepared() -> list[str]:
    """The names of which there is a prepared file."""
    return sorted(p.stem.replace("-", ":", 1) for p in folder().glob("*.npz") if is_named(p.stem.replace("-", ":", 1)))


def prepare(source: str, origin: Path | None = None, download: bool = False, side: int | None = None) -> Path:
    """Make the file of a name from what lies in `origin` (default: the home's `datasets/files`), downloaded first if asked to.

    `side` resizes every image to so many pixels each way; images of differing sizes become 32 without it. Raises DatasetError.
    """
    family, _, name = source.partition(":")
    path, origin = _path(source), origin or folder() / "files"
    if download:
        origin.mkdir(parents=True, exist_ok=True)
    arrays = (_from_medmnist if family == "medmnist" else _from_torchvision)(name, origin, download, side)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(suffix=".npz", dir=path.parent)
    os.close(descriptor)
    try:
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)
    return path


def _path(source: str) -> Path:
    family, _, name = source.partition(":")
    if family not in FAMILIES or not re.fullmatch(r"[A-Za-z0-9_]{1,60}", name):
        raise DatasetError(f"data {source!r} is not a name; write torchvision:CIFAR10 or medmnist:pathmnist")
    return folder() / f"{family}-{name}.npz"


@lru_cache(maxsize=1)
def _medmnist() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((DATA / "medmnist.json").read_text(encoding="utf-8"))["datasets"]
    return found


def _from_medmnist(name: str, origin: Path, download: bool, side: int | None) -> dict[str, Array]:
    known = _medmnist()
    if name not in known:
        raise DatasetError(f"data 'medmnist:{name}' is not known; known: {', '.join(known)}")
    entry, path = known[name], origin / f"{name}.npz"
    if download and not path.is_file():
        from torchvision.datasets.utils import download_url

        _fetched(name, lambda: download_url(entry["url"], str(origin), path.name, entry["md5"]))
    if not path.is_file():
        raise DatasetError(f"{path} does not exist; fetch {entry['url']}, or give --download")
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found != entry["md5"]:
        raise DatasetError(f"{path} has the wrong checksum (MD5 {found}, expected {entry['md5']}); fetch it again")
    try:
        with np.load(path, allow_pickle=False) as file:
            splits = {
                ours: (file[f"{theirs}_images"], file[f"{theirs}_labels"][:, 0].astype(np.int64))
                for ours, theirs in (("train", "train"), ("validation", "val"), ("test", "test"))
            }
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is not a file of MedMNIST ({error}); fetch it again") from None
    arrays = {f"x_{split}": _sized(list(images), side) for split, (images, _) in splits.items()}
    return (
        arrays | {f"y_{s}": labels for s, (_, labels) in splits.items()} | {"class_names": np.array(entry["classes"])}
    )


def _from_torchvision(name: str, origin: Path, download: bool, side: int | None) -> dict[str, Array]:
    import torchvision

    made = getattr(torchvision.datasets, name, None)
    options = inspect.signature(made.__init__).parameters if inspect.isclass(made) else {}
    if made is None or "root" not in options or not {"train", "split"} & set(options):
        raise DatasetError(
            f"data 'torchvision:{name}' is not a dataset of torchvision with a train and a test part; CIFAR10, GTSRB, SVHN and MNIST are"
        )
    arrays: dict[str, Array] = {}
    for split in ("train", "test"):
        which = {"train": split == "train"} if "train" in options else {"split": split}

        def open_it(which: dict[str, Any] = which) -> Any:
            return made(str(origin), download=download, **which)

        found = _fetched(name, open_it)
        images, labels = zip(*((np.asarray(image), int(label)) for image, label in found), strict=True)
        arrays |= {f"x_{split}": _sized(list(images), side), f"y_{split}": np.array(labels, np.int64)}
        classes = getattr(found, "classes", None)
    if classes and len(classes) == int(arrays["y_train"].max()) + 1:
        arrays["class_names"] = np.array([str(c) for c in classes])
    return arrays


def _fetched(name: str, fetch: Callable[[], Any]) -> Any:
    """What a library reads or downloads; what goes wrong there is one line here."""
    try:
        return fetch()
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DatasetError(
            f"{name} cannot be read: {reason}; give the folder that holds its files with --from, or --download"
        ) from None


def _sized(images: list[Any], side: int | None) -> Array:
    """Images as uint8 (n, height, width) or (n, height, width, channels), all of one size."""
    from PIL import Image

    if side is None and len({image.shape for image in images}) > 1:
        side = SIDE
    if side is not None:
        images = [np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BILINEAR)) for i in images]
    return np.stack(images).astype(np.uint8)
