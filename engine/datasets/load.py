"""A dataset by its spec: found, read, checked, split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from engine.datasets.cache import check_bound, is_large
from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import FASHION_MNIST_SHA256, load_fashion_mnist
from engine.datasets.file_hash import file_sha256
from engine.datasets.function import function_checksum, gather_function, is_function
from engine.datasets.items import Gathered, Items, Stored
from engine.datasets.named import is_named, prepared_file
from engine.datasets.npz import gather_npy, gather_npz
from engine.datasets.pen_digits import gather_pen_digits, pen_digits_checksum
from engine.datasets.picture import DamagedPictures
from engine.datasets.picture_files import Pictures
from engine.datasets.picture_folder import folder_checksum, gather_folder
from engine.datasets.preprocessing import (
    UNTOUCHED,
    Preprocessing,
    measured_preprocessing,
    stated_preprocessing,
    usual_scale,
)
from engine.datasets.ranges import range_notes
from engine.datasets.sharing import shared_out
from engine.datasets.sound_files import Sounds
from engine.datasets.splits import Array, Split
from engine.datasets.tables import gather_table, table_checksum
from engine.datasets.targets import told
from engine.errors import DatasetError
from engine.graph.inputs import Held, is_array, is_on_disk
from engine.graph.on_disk import OnDisk
from engine.spec.canonical import digest
from engine.spec.sections import EMBEDDED, Data, Measure

_KINDS = (
    "fashion_mnist, pen_digits, the path of an .npz, .npy, .csv or .parquet file, of a folder of pictures, path/to/file.py:function, "
    "torchvision:NAME or medmnist:NAME"
)


@dataclass(frozen=True)
class _Source:
    """What reads a kind of source, and what its checksum is; both raise DatasetError. `has_pictures`: sizes may be made alike;
    `has_sounds`: it may hold some.
    """

    checksum: Callable[[], str]
    gather: Callable[[], Gathered]
    has_pictures: bool = False
    has_sounds: bool = False


def reported(test: Split, measure: Measure) -> Split:
    """The images of a test split that the figures of a sweep are of. Raises DatasetError when none are left."""
    return test.reported(None if measure.test_samples == "all" else measure.test_samples, measure.held_back)


def load_dataset(data: Data) -> Dataset:
    """A dataset by its spec; what each kind of source holds is said where it is read: `npz.py` and `arrays.py`, `picture_folder.py`,
    `tables.py`, `function.py`.

    Where the source has no test, one is drawn, the same one every time. Where the spec is silent, mean and std are those of the training
    items, and classes are named as the source says, or numbered. Raises DatasetError.
    """
    source = _source_of(data)
    if source is not None:
        return _loaded(data, dataset_checksum(data))
    dataset = load_fashion_mnist()
    preprocessing = stated_preprocessing(data, dataset.train.inputs) or dataset.preprocessing
    classes = dataset.classes if isinstance(data.classes, int | None) else data.classes
    if len(classes) != len(dataset.classes) or data.classes not in (classes, None, len(classes)):
        raise DatasetError(
            f"data.classes has {data.classes if isinstance(data.classes, int) else len(classes)} names, but {data.source} "
            f"{len(dataset.classes)} classes; name each once"
        )
    return replace(
        dataset, checksum=dataset_checksum(data), preprocessing=preprocessing, classes=classes, **_stated_inputs(data)
    )


def _stated_inputs(data: Data) -> dict[str, Any]:
    """What the spec says of the network's inputs beside which arrays they are."""
    return {"constants": data.constants, "only": next(iter(data.arrays), None) if len(data.arrays) == 1 else None}


def dataset_checksum(data: Data) -> str:
    """SHA-256, in hex, of the files and of what the spec says about them; reads their bytes but not what they hold, and runs no code.

    Raises DatasetError for sources that do not exist.
    """
    source = _source_of(data)
    files = source.checksum() if source else hashlib.sha256("".join(FASHION_MNIST_SHA256.values()).encode()).hexdigest()
    stated = data.model_dump(mode="json", exclude={"source", "labels", "kind", "target", "task", "inputs", "slices"})
    # Where nothing is said of the task and labels are classes, it is the same data.
    task = data.task if data.task != "classification" else None
    # Slices say how figures are told apart, and change no input, but for the columns of a table.
    columns = data.slices if source and _may_be_table(data.source) else None
    said = {"kind": data.kind, "target": data.target, "task": task, "inputs": data.inputs, "slices": columns or None}
    stated |= {key: value for key, value in said.items() if value is not None}
    return digest([files, stated]) if any(v is not None for v in stated.values()) else files


def is_available(source: str) -> bool:
    """Whether a dataset of this name can be loaded here: its files are there, and there is something that reads them."""
    try:
        dataset_checksum(Data(source=source))
    except DatasetError:
        return False
    return True


def _source_of(data: Data) -> _Source | None:
    """What reads a source, None for the embedded dataset; raises DatasetError for one that is unknown."""
    found = _found(data)
    if (
        (found is None or not found.has_pictures)
        and data.preprocess
        and (data.preprocess.resize or data.preprocess.crop)
    ):
        which = "resize" if data.preprocess.resize else "crop"
        raise DatasetError(
            f"data.preprocess.{which} is for pictures of a folder or a table, but {data.source} holds arrays; leave it out"
        )
    if data.preprocess and data.preprocess.audio and (found is None or not found.has_sounds):
        which = next(iter(data.preprocess.audio))
        raise DatasetError(f"data.preprocess.{which} is for sounds, but {data.source} holds none; leave it out")
    if found is None and data.kind not in (None, "image"):
        raise DatasetError(f"data.kind is {data.kind}, but {data.source} holds images; leave it out")
    if data.target is not None and not _may_be_table(data.source):
        raise DatasetError(
            f"data.target {data.target!r} names a table's column, but {data.source} is no table; leave it out"
        )
    if data.slices and (found is None or data.source.endswith(".npy")):
        raise DatasetError(
            f"data.slices names {', '.join(data.slices)}, but {data.source} holds inputs and labels alone; save arrays of these "
            "names in an .npz file, or return them from a function (path/to/file.py:function)"
        )
    holds_one = found is None or found.has_pictures or data.source.endswith(".npy")
    if holds_one and data.arrays and [*data.arrays.values()] != ["x"]:
        raise DatasetError(
            f"data.inputs names {', '.join(data.arrays.values())}, but {data.source} holds one array, which is called x; save several in "
            f"an "
            ".npz file, or return them from a function (path/to/file.py:function)"
        )
    return found


def _may_be_table(source: str) -> bool:
    return source.endswith((".csv", ".parquet")) or Path(source).is_dir()


def _found(data: Data) -> _Source | None:
    source, path = data.source, Path(data.source)
    if source == "fashion_mnist":
        return None
    if source == "pen_digits":
        return _Source(pen_digits_checksum, lambda: gather_pen_digits(data))
    if is_function(source):
        return _Source(lambda: function_checksum(source), lambda: gather_function(data), has_sounds=True)
    if source.endswith(".npz"):
        return _Source(
            lambda: _file_checksum(source, ".npz"), lambda: gather_npz(data, path.name, path), has_sounds=True
        )
    if source.endswith(".npy"):
        return _Source(lambda: _npy_checksum(data), lambda: gather_npy(data, path), has_sounds=True)
    if source.endswith((".csv", ".parquet")):
        return _Source(lambda: table_checksum(data), lambda: gather_table(data), has_pictures=True)
    if is_named(source):
        prepared = prepared_file(source)
        return _Source(lambda: _file_checksum(str(prepared), ".npz"), lambda: gather_npz(data, source, prepared))
    if path.is_dir():
        return _Source(lambda: folder_checksum(data), lambda: gather_folder(data), has_pictures=True, has_sounds=True)
    if source.endswith("/"):
        raise DatasetError(f"data {source} does not exist; give the path of a folder of pictures")
    close = get_close_matches(source.lower(), EMBEDDED, n=1)
    raise DatasetError(f"data {source!r} is not known; {f'did you mean {close[0]!r}?' if close else f'give {_KINDS}'}")


def _file_checksum(source: str, suffix: str) -> str:
    return file_sha256(Path(source), f"data {source}", f"give the path of an {suffix} file")


def _npy_checksum(data: Data) -> str:
    inputs = _file_checksum(data.source, ".npy")
    return inputs if data.labels is None else digest([inputs, _file_checksum(data.labels, ".npy")])


@lru_cache(maxsize=1)
def _loaded(data: Data, checksum: str) -> Dataset:
    """The source as splits; `checksum` makes the cache follow its content."""
    source = _source_of(data)
    assert source is not None
    found = source.gather()
    task, labels, classes, targets, label_notes = told(found, data)
    shares, share_notes = shared_out(data.source, found, labels)
    splits: dict[str, Split] = {}
    damaged: list[str] = []
    kept = _decoded(found, data)
    for split, (part, chosen) in shares.items():
        try:
            inputs = kept.get(part, found.items[part]).read(chosen)
        except DamagedPictures as error:
            damaged += error.pictures
            continue
        rows = slice(None) if chosen is None else chosen
        slices = {name: values[rows] for name, values in found.slices.get(part, {}).items()}
        splits[split] = Split(inputs, labels[part][rows], None if targets is None else targets[part][rows], slices)
    if damaged:
        raise DamagedPictures(damaged)
    train = splits["train"].inputs
    if is_on_disk(train) and dataset_checksum(data) != checksum:
        raise DatasetError(f"{data.source} was changed while it was read; leave it alone and run again")
    given = {s: i for s, (part, _) in shares.items() if part == s and _has_units(i := splits[s].inputs)}
    ranges = range_notes(data.source, {"train": train} | given) if given and is_array(train) else ()
    return Dataset(
        name=found.name,
        checksum=checksum,
        classes=classes,
        preprocessing=_preprocessing(data, train),
        train=splits["train"],
        calibration=splits["calibration"],
        validation=splits["validation"],
        test=splits["test"],
        notes=(*ranges, *found.notes, *label_notes, *share_notes),
        task=task,
        sounds=_sounds_of(found, data),
        **_stated_inputs(data),
    )


def _decoded(found: Gathered, data: Data) -> dict[str, Items]:
    """Pictures or sounds that are large together, by part, decoded into files of the cache; raises DamagedPictures."""
    pictures = {part: items for part, items in found.items.items() if isinstance(items, Pictures | Sounds)}
    n_bytes, what = sum(items.nbytes for items in pictures.values()), f"what the files of {data.source} hold"
    if not is_large(n_bytes):
        return {}
    check_bound(n_bytes, what)
    kept: dict[str, Items] = {}
    damaged: list[str] = []
    for part, items in pictures.items():
        try:
            kept[part] = Stored(items.on_disk(what))
        except DamagedPictures as error:
            damaged += error.pictures
    if damaged:
        raise DamagedPictures(damaged)
    return kept


def _sounds_of(found: Gathered, data: Data) -> dict[str, Any]:
    """How sounds became what is stored; empty where there are none."""
    files = next((items for items in found.items.values() if isinstance(items, Sounds)), None)
    return dict(files.settings) if files else data.preprocess.audio if data.preprocess else {}


def _has_units(inputs: Held) -> TypeGuard[Array | OnDisk]:
    """Whether splits can be held against each other by their ranges: not what counts or names things."""
    return is_array(inputs) and (inputs.dtype == np.uint8 or inputs.dtype.kind == "f")


def _preprocessing(data: Data, train: Held) -> Preprocessing:
    stated = stated_preprocessing(data, train)
    if stated is not None or not is_array(train):
        return stated or UNTOUCHED
    return measured_preprocessing(train, usual_scale(train))
