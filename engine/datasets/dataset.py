"""Datasets: four disjoint splits of (inputs, labels), their preprocessing and a checksum.

Pixels stay as they are stored (uint8 where possible); `Preprocessing` turns them into what a network reads, the same way in
training, in measurement and in the exported bundle.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.datasets.named import is_named, prepared_file
from engine.datasets.npz import Labels, read_class_names, read_npz
from engine.errors import DatasetError
from engine.paths import DATA
from engine.spec.steps import digest
from engine.spec.sweep import Data, Measure

Array = npt.NDArray[np.generic]

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
# SHA-256 of the files as the dataset's authors publish them (github.com/zalandoresearch/fashion-mnist, MIT licence).
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
# Of the images that a dataset gives for training: what calibration and validation take. The draw is fixed, so that the shipped
# checkpoints, trained on `train` alone, have never seen the other two.
SPLIT_SEED = 20261123
CALIBRATION_IMAGES = 1_000
VALIDATION_IMAGES = 5_000
MOST_SHARED = 0.01
"""Splits of a user's file may share so many of their images."""


@dataclass(frozen=True)
class Preprocessing:
    """How stored inputs become a network's float32 input: `(x * scale - mean) / std`, per channel.

    `scale` is 1/255 for uint8 images and 1 for float inputs; `mean` and `std` have one entry per channel.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Array) -> npt.NDArray[np.float32]:
        """Inputs of shape (n, channels, height, width), any number type; float32 of the same shape."""
        mean = np.asarray(self.mean, np.float32).reshape(1, -1, 1, 1)
        std = np.asarray(self.std, np.float32).reshape(1, -1, 1, 1)
        return ((inputs.astype(np.float32) * np.float32(self.scale) - mean) / std).astype(np.float32)


@dataclass(frozen=True)
class Split:
    """Inputs (n, channels, height, width) and int64 labels (n,); all labels are -1 where nobody told the classes (test only)."""

    inputs: Array
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.inputs)

    def head(self, n: int | None) -> Split:
        """The first n items, or all of them for None."""
        return self if n is None else Split(self.inputs[:n], self.labels[:n])

    def take(self, chosen: npt.NDArray[np.intp]) -> Split:
        """The items of these numbers, in this order."""
        return Split(self.inputs[chosen], self.labels[chosen])

    def reported(self, samples: int | None, held_back: float = 0.0) -> Split:
        """Of a test split: what every figure of a sweep is measured on, the first `samples` (None: all) that are not held back.

        Raises DatasetError when nothing is left.
        """
        kept = (
            self if not held_back else self.take(np.setdiff1d(np.arange(len(self)), _held_back(len(self), held_back)))
        )
        if not len(kept):
            raise DatasetError(
                f"measure.held_back: {held_back:g} of {len(self)} test images leaves none to measure on; give a smaller share"
            )
        return kept.head(samples)

    def held_back(self, share: float) -> Split:
        """Of a test split: the share, in (0, 1), that only `paretoscope confirm` looks at."""
        return self.take(_held_back(len(self), share))


@dataclass(frozen=True)
class Dataset:
    """Disjoint splits; `test` is for reporting only. `checksum` is the SHA-256 of all that the splits were made from."""

    name: str
    checksum: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    calibration: Split
    validation: Split
    test: Split

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        _, channels, height, width = self.train.inputs.shape
        return channels, height, width


def _held_back(n: int, share: float) -> npt.NDArray[np.intp]:
    """Which of n test images are held back, sorted: drawn at random, since files may be sorted by class; the same for every sweep."""
    return np.sort(np.random.default_rng(SPLIT_SEED).permutation(n)[: max(1, round(n * share))])


def _carve(inputs: Array, labels: npt.NDArray[np.int64]) -> tuple[Split, Split, Split]:
    """Training images -> disjoint (train, calibration, validation); the two small ones never take more than a fifth."""
    n = len(inputs)
    n_calibration = min(CALIBRATION_IMAGES, n // 10)
    n_validation = min(VALIDATION_IMAGES, n // 10)
    order = np.random.default_rng(SPLIT_SEED).permutation(n)
    calibration, validation, train = np.split(order, [n_calibration, n_calibration + n_validation])
    return (
        Split(inputs[train], labels[train]),
        Split(inputs[calibration], labels[calibration]),
        Split(inputs[validation], labels[validation]),
    )


def _read_idx(path: Path, sha256: str) -> Array:
    """One gzipped IDX file (yann.lecun.com/exdb/mnist), checked against its checksum first."""
    if not path.is_file():
        raise DatasetError(f"{path} is missing; restore it from a fresh clone (`git checkout -- data/fashion_mnist`)")
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise DatasetError(
            f"{path} has the wrong checksum (SHA-256 {found[:12]}…, expected {sha256[:12]}…); "
            "restore it from a fresh clone (`git checkout -- data/fashion_mnist`)"
        )
    body = gzip.decompress(raw)
    dimensions = body[3]
    shape = [int.from_bytes(body[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return np.frombuffer(body, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


@lru_cache(maxsize=1)
def load_fashion_mnist(folder: Path = DATA / "fashion_mnist") -> Dataset:
    """The embedded dataset: 60,000 + 10,000 grey images of 28×28 (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747).

    Raises DatasetError when a file is missing or its checksum is wrong.
    """
    files = {name: _read_idx(folder / name, sha256) for name, sha256 in FASHION_MNIST_SHA256.items()}
    train_x, train_y, test_x, test_y = files.values()
    train, calibration, validation = _carve(train_x[:, None], train_y.astype(np.int64))
    return Dataset(
        name="fashion_mnist",
        checksum=hashlib.sha256("".join(FASHION_MNIST_SHA256.values()).encode()).hexdigest(),
        classes=FASHION_MNIST_CLASSES,
        # Mean and standard deviation of the 60,000 training images.
        preprocessing=Preprocessing(1 / 255, (0.2860,), (0.3530,)),
        train=train,
        calibration=calibration,
        validation=validation,
        test=Split(test_x[:, None], test_y.astype(np.int64)),
    )


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
    channels = dataset.input_shape[0]
    preprocessing = _stated_preprocessing(data, dataset.preprocessing.scale, channels) or dataset.preprocessing
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
    train, calibration, validation = _carve(*splits["train"])
    given = {name: Split(*splits[name]) for name in ("calibration", "validation") if name in splits}
    check_disjoint(data.source, {name: inputs for name, (inputs, _) in splits.items()})
    if len(given) == 2:
        train = Split(*splits["train"])
    scale = 1 / 255 if train.inputs.dtype == np.uint8 else 1.0
    channels = train.inputs.shape[1]
    return Dataset(
        name=data.source if is_named(data.source) else path.name,
        checksum=checksum,
        classes=classes,
        preprocessing=_stated_preprocessing(data, scale, channels) or _measured_preprocessing(train.inputs, scale),
        train=train,
        calibration=given.get("calibration", calibration),
        validation=given.get("validation", validation),
        test=Split(*splits["test"]),
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
    for name, values in labels.items():
        if int(values.max()) >= len(classes):
            raise DatasetError(
                f"{data.source}: y_{name} has the label {values.max()}, but there are {len(classes)} classes "
                f"(0 to {len(classes) - 1}); correct the labels, or name all classes under data.classes"
            )
    return classes


def _stated_preprocessing(data: Data, scale: float, channels: int) -> Preprocessing | None:
    """What the spec says, checked against the images; None where it says nothing."""
    if data.mean is None and data.std is None:
        return None
    if data.mean is None or data.std is None:
        raise DatasetError(
            f"data.{'mean' if data.mean is None else 'std'} is missing; give both mean and std, or neither"
        )
    for name, values in (("mean", data.mean), ("std", data.std)):
        if len(values) != channels:
            raise DatasetError(
                f"data.{name} has {len(values)} values, but {data.source} has {channels} channels; give one each"
            )
        if scale != 1 and not all(0 <= v <= 1 for v in values):
            raise DatasetError(
                f"data.{name} is {list(values)}, but uint8 pixels are scaled to 0 … 1 first; divide it by 255"
            )
    return Preprocessing(scale, data.mean, data.std)


def _measured_preprocessing(inputs: Array, scale: float) -> Preprocessing:
    """Mean and standard deviation per channel, summed in float64 over chunks so that large sets need no second copy."""
    total, squares = np.zeros(inputs.shape[1]), np.zeros(inputs.shape[1])
    for start in range(0, len(inputs), 1000):
        chunk = inputs[start : start + 1000].astype(np.float64) * scale
        total += chunk.sum((0, 2, 3))
        squares += np.square(chunk).sum((0, 2, 3))
    n = inputs[:, 0].size
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    # A channel that never changes carries nothing; dividing by one keeps it finite.
    std[std < 1e-6] = 1.0
    return Preprocessing(scale, tuple(mean.tolist()), tuple(std.tolist()))
