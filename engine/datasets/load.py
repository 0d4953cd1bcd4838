"""A dataset by its spec: found, read, checked."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import FASHION_MNIST_SHA256, load_fashion_mnist
from engine.datasets.named import is_named, prepared_file
from engine.datasets.npz import Labels, read_class_names, read_npz
from engine.datasets.preprocessing import measured_preprocessing, stated_preprocessing, usual_scale
from engine.datasets.ranges import range_notes
from engine.datasets.splits import Array, Split, carve
from engine.errors import DatasetError
from engine.spec.canonical import digest
from engine.spec.sections import Data, Measure

MOST_SHARED = 0.01
"""Splits of a user's file may share so many of their images."""


def reported(test: Split, measure: Measure) -> Split:
    """The images of a test split that the figures of a sweep are of. Raises DatasetError when none are left."""
    return test.reported(None if measure.test_samples == "all" else measure.test_samples, measure.held_back)


def load_dataset(data: Data) -> Dataset:
    """A dataset by its spec: `fashion_mnist`, an `.npz` file (its layout: `engine/datasets/npz.py`), or a name that was prepared as one.

    Where the spec is silent, mean and std are those of the training images, and classes are named as the file says, or numbered. `mean`
    and `std` are of pixels scaled to 0 … 1 for uint8 images, of the values as stored for float ones. Raises DatasetError.
    """
    if (path := _file_of(data.source)) is not None:
        return _from_npz(data, path, dataset_checksum(data))
    dataset = load_fashion_mnist()
    preprocessing = stated_preprocessing(data, dataset.train.inputs) or dataset.preprocessing
    classes = dataset.classes if data.classes is None else data.classes
    if len(classes) != len(dataset.classes):
        raise DatasetError(
            f"data.classes has {len(classes)} names, but {data.source} {len(dataset.classes)} classes; name each once"
        )
    return replace(dataset, checksum=dataset_checksum(data), preprocessing=preprocessing, classes=classes)


def dataset_checksum(data: Data) -> str:
    """SHA-256, in hex, of the files and of what the spec says about them; reads an .npz file's bytes but not its arrays.

    Raises DatasetError for sources that do not exist.
    """
    if (path := _file_of(data.source)) is not None:
        try:
            with path.open("rb") as file:
                files = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise DatasetError(f"data {data.source} does not exist; give the path of an .npz file") from None
        except OSError as error:
            raise DatasetError(
                f"data {data.source} cannot be read ({error.strerror}); give the path of an .npz file"
            ) from None
    else:
        files = hashlib.sha256("".join(FASHION_MNIST_SHA256.values()).encode()).hexdigest()
    stated = data.model_dump(mode="json", exclude={"source"})
    return digest([files, stated]) if any(v is not None for v in stated.values()) else files


def is_available(source: str) -> bool:
    """Whether a dataset of this name can be loaded here: its files are there, and there is something that reads them."""
    try:
        dataset_checksum(Data(source=source))
    except DatasetError:
        return False
    return True


def _file_of(source: str) -> Path | None:
    """The .npz file of a source, None for the embedded dataset; raises DatasetError for any other."""
    if source.endswith(".npz"):
        return Path(source)
    if source == "fashion_mnist":
        return None
    if is_named(source):
        return prepared_file(source)
    if Path(source).is_dir() or ".py:" in source:
        raise DatasetError(
            f"data {source!r} is not supported yet; convert it to an .npz with x_train, y_train, x_test and y_test"
        )
    hint = "did you mean 'fashion_mnist'?" if get_close_matches(source.lower(), ["fashion_mnist"]) else ""
    raise DatasetError(
        f"data {source!r} is not known; {hint or 'give fashion_mnist, the path of an .npz file, torchvision:NAME or medmnist:NAME'}"
    )


@lru_cache(maxsize=1)
def _from_npz(data: Data, path: Path, checksum: str) -> Dataset:
    """The file as splits; `checksum` makes the cache follow the file's content."""
    splits = read_npz(path)
    if data.classes is None:
        data = data.model_copy(update={"classes": read_class_names(path)})
    classes = _classes(data, {name: labels for name, (_, labels) in splits.items()})
    train, calibration, validation = carve(*splits["train"])
    given = {name: Split(*splits[name]) for name in ("calibration", "validation") if name in splits}
    inputs = {name: images for name, (images, _) in splits.items()}
    check_disjoint(data.source, inputs)
    if len(given) == 2:
        train = Split(*splits["train"])
    return Dataset(
        name=data.source if is_named(data.source) else path.name,
        checksum=checksum,
        classes=classes,
        preprocessing=stated_preprocessing(data, train.inputs)
        or measured_preprocessing(train.inputs, usual_scale(train.inputs)),
        train=train,
        calibration=given.get("calibration", calibration),
        validation=given.get("validation", validation),
        test=Split(*splits["test"]),
        notes=range_notes(data.source, inputs),
    )


def image_hashes(inputs: Array) -> npt.NDArray[np.bytes_]:
    """A 16-byte digest of each image's content, (n,)."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in inputs], "S16")


def check_disjoint(source: str, splits: dict[str, Array]) -> None:
    """Refuse splits that share images: what was chosen or trained on one would be reported on the other.

    Up to 1 % is let pass, since large collections do hold some image twice. Raises DatasetError.
    """
    hashes = {name: image_hashes(inputs) for name, inputs in splits.items()}
    for a, b in combinations(hashes, 2):
        shared = int(np.isin(hashes[b], hashes[a]).sum())
        if shared > MOST_SHARED * len(hashes[b]):
            raise DatasetError(
                f"{source}: {shared} of {len(hashes[b])} images of x_{b} are also in x_{a}; splits must be disjoint, or choices would be "
                "reported on images that they were made on: remove them from one"
            )


def _classes(data: Data, labels: dict[str, Labels]) -> tuple[str, ...]:
    """Class names as stated, otherwise numbers; every label must have one."""
    if data.classes is None:
        present = np.unique(labels["train"])
        absent = np.setdiff1d(np.arange(present[-1] + 1), present)
        if len(absent):
            raise DatasetError(
                f"{data.source}: y_train has labels up to {present[-1]} but none is {absent[0]}; "
                "number the classes from 0 without gaps, or name all of them under data.classes"
            )
    classes = data.classes or tuple(str(i) for i in range(int(labels["train"].max()) + 1))
    if len(classes) < 2:
        raise DatasetError(f"{data.source} has {len(classes)} class; at least 2 are needed")
    if twice := next((name for i, name in enumerate(classes) if name in classes[:i]), None):
        where = [i for i, name in enumerate(classes) if name == twice]
        raise DatasetError(
            f"{data.source}: classes {where[0]} and {where[1]} are both called {twice!r}; give each a name of its own under data.classes"
        )
    for name, values in labels.items():
        if int(values.max()) >= len(classes):
            raise DatasetError(
                f"{data.source}: y_{name} has the label {values.max()}, but there are {len(classes)} classes "
                f"(0 to {len(classes) - 1}); correct the labels, or name all classes under data.classes"
            )
    return classes
