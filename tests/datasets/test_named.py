"""Datasets by name: made once into a file of our own, checked, and read by numpy alone."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from engine.datasets import named as named_datasets
from engine.datasets.fashion_mnist import FASHION_MNIST_SHA256, load_fashion_mnist
from engine.datasets.load import load_dataset
from engine.datasets.named import prepare, prepared
from engine.errors import DatasetError
from engine.paths import DATA
from engine.spec.sections import Data
from tests.helpers.command_line import paretoscope

pytestmark = pytest.mark.usefixtures("home")


def test_torchvisions_own_reader_gives_the_embedded_images(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FASHION_MNIST_SHA256:
        with gzip.open(DATA / "fashion_mnist" / name) as packed, (raw / name.removesuffix(".gz")).open("wb") as file:
            shutil.copyfileobj(packed, file)
    prepare("torchvision:FashionMNIST", tmp_path)
    ours, theirs = load_fashion_mnist(), load_dataset(Data(source="torchvision:FashionMNIST"))
    assert theirs.classes == ours.classes
    for split in ("train", "calibration", "validation", "test"):
        assert np.array_equal(getattr(theirs, split).inputs, getattr(ours, split).inputs)
        assert np.array_equal(getattr(theirs, split).labels, getattr(ours, split).labels)
    assert prepared() == ["torchvision:FashionMNIST"]


def gtsrb(root, per_class=30, classes=3):
    """Traffic signs as their authors lay them out: folders of .ppm for training, a table for the test images; sizes differ."""
    random = np.random.default_rng(0)

    def image(path, number):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20 + number % 5, 24, 3), dtype=np.uint8)).save(path)

    for label in range(classes):
        for number in range(per_class):
            image(root / f"gtsrb/GTSRB/Training/{label:05d}/{number:05d}.ppm", number)
    test = root / "gtsrb/GTSRB/Final_Test/Images"
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for number in range(12):
        image(test / f"{number:05d}.ppm", number)
        rows.append(f"{number:05d}.ppm;24;20;0;0;1;1;{number % classes}")
    (root / "gtsrb/GT-final_test.csv").write_text("\n".join(rows) + "\n")


def test_images_of_differing_sizes_become_one_size(tmp_path):
    gtsrb(tmp_path)
    prepare("torchvision:GTSRB", tmp_path)
    data = load_dataset(Data(source="torchvision:GTSRB"))
    assert data.input_shape == (3, 32, 32)
    assert len(data.test) == 12
    assert data.test.labels.tolist() == [n % 3 for n in range(12)]
    assert data.classes == ("0", "1", "2")


def test_medmnist_is_checked_and_brings_its_class_names(tmp_path, monkeypatch):
    random, path = np.random.default_rng(0), tmp_path / "pneumoniamnist.npz"
    arrays = {}
    for split, n in (("train", 60), ("val", 10), ("test", 20)):
        arrays[f"{split}_images"] = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match=r"wrong checksum \(MD5"):
        prepare("medmnist:pneumoniamnist", tmp_path)
    entry = named_datasets._medmnist()["pneumoniamnist"]
    monkeypatch.setitem(entry, "md5", hashlib.md5(path.read_bytes()).hexdigest())
    prepare("medmnist:pneumoniamnist", tmp_path)
    data = load_dataset(Data(source="medmnist:pneumoniamnist"))
    assert data.classes == ("normal", "pneumonia")
    assert (len(data.validation), len(data.test)) == (10, 20)
    assert np.array_equal(data.test.inputs[:, 0], arrays["test_images"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prepare", "medmnist:nosuch"], "'medmnist:nosuch' is not known; known: pathmnist"),
        (["--prepare", "medmnist:pathmnist"], "pathmnist.npz does not exist; fetch https://zenodo.org"),
        (["--prepare", "torchvision:ops"], "is not a dataset of torchvision with a train and a test part"),
        (["--prepare", "torchvision:CIFAR10"], "CIFAR10 cannot be read: Dataset not found or corrupted"),
        (["--prepare", "imagenet"], "'imagenet' is not a name"),
        (["--download"], "give --prepare NAME"),
    ],
)
def test_what_cannot_be_prepared_is_one_line_and_leaves_nothing(home, arguments, message):
    done = paretoscope("datasets", *arguments, home=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((home / "datasets").glob("*.npz"))


def test_what_is_prepared_is_listed(home, tmp_path):
    gtsrb(tmp_path)
    paretoscope("datasets", "--prepare", "torchvision:GTSRB", "--from", tmp_path, "--side", 16, home=home)
    listed = json.loads(paretoscope("datasets", "--json", home=home).stdout)
    names = {row["name"]: row for row in listed}
    assert list(names) == ["fashion_mnist", "pen_digits", "torchvision:GTSRB"]
    assert names["torchvision:GTSRB"]["input_shape"] == [3, 16, 16]


def test_reading_a_prepared_dataset_takes_no_torch(tmp_path):
    gtsrb(tmp_path)
    prepare("torchvision:GTSRB", tmp_path)
    code = (
        "import sys; from engine.datasets.load import load_dataset; from engine.spec.sections import Data; "
        "load_dataset(Data(source='torchvision:GTSRB')); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
