"""The embedded dataset: Fashion-MNIST, from the four files of its authors."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Array, Split, carve
from engine.errors import DatasetError
from engine.paths import DATA

# SHA-256 of the files as the dataset's authors publish them (github.com/zalandoresearch/fashion-mnist, MIT licence).
FASHION_MNIST_SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


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
    train, calibration, validation = carve(train_x[:, None], train_y.astype(np.int64))
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
