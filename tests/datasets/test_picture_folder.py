"""Pictures in folders: read as torchvision reads them, split, and refused by name."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.datasets import file_hash
from engine.datasets.load import dataset_checksum, load_dataset
from engine.datasets.picture import Picture
from engine.datasets.picture_files import look_at
from engine.errors import DatasetError
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep

SPLITS = ("train", "calibration", "validation", "test")
RANDOM = np.random.default_rng(0)


def picture(path: Path, size: tuple[int, int] = (12, 10), mode: str = "RGB", **options: object) -> Path:
    """A file of noise, (width, height) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if mode in ("L", "P") else (size[1], size[0], len(mode))
    image = Image.fromarray(RANDOM.integers(0, 256, shape, dtype=np.uint8), None if mode != "P" else "L")
    if mode in ("LA", "CMYK"):
        image = Image.frombytes(mode, size, RANDOM.integers(0, 256, shape, dtype=np.uint8).tobytes())
    if mode == "P":
        image = image.convert("P")
        image.putpalette(RANDOM.integers(0, 256, 768, dtype=np.uint8).tolist())
    image.save(path, **options)
    return path


def pixels(path: Path, mode: str | None = None) -> np.ndarray:
    """(channels, height, width) as Pillow reads a file."""
    with Image.open(path) as opened:
        found = np.asarray(opened.convert(mode or opened.mode))
    return found[None] if found.ndim == 2 else found.transpose(2, 0, 1)


def class_folders(root: Path, n: int = 15, classes: tuple[str, ...] = ("bee", "ant", "cat"), **options) -> Path:
    for name in classes:
        for i in range(n):
            picture(root / name / f"{i:03d}.png", **options)
    return root


def load(root: Path, **data):
    return load_dataset(Data(source=str(root), **data))


def everything(data) -> list[bytes]:
    return sorted(i.tobytes() for s in SPLITS for i in getattr(data, s).inputs)


def refused(message: str, root: Path, **data) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        load(root, **data)
    assert "\n" not in str(caught.value)


def test_class_folders_are_classes_in_the_order_of_text(tmp_path):
    data = load(class_folders(tmp_path / "pets", 20))
    assert data.name == "pets"
    assert data.classes == ("ant", "bee", "cat")
    assert data.input_shape == (3, 10, 12)
    assert data.train.inputs.dtype == np.uint8
    assert [len(getattr(data, s)) for s in SPLITS] == [40, 4, 4, 12]
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    known = {pixels(p).tobytes(): data.classes.index(p.parent.name) for p in (tmp_path / "pets").rglob("*.png")}
    assert everything(data) == sorted(known)
    for split in SPLITS:
        part = getattr(data, split)
        assert [known[i.tobytes()] for i in part.inputs] == part.labels.tolist()
    assert any("pets has no test: 12 of 60 items" in n for n in data.notes)


def test_split_folders_are_the_splits_and_in_a_random_order(tmp_path):
    root = tmp_path / "pets"
    for name, n in (("train", 20), ("val", 3), ("test", 4)):
        class_folders(root / name, n)
    data = load(root)
    assert [len(getattr(data, s)) for s in SPLITS] == [48, 6, 9, 12]
    # Read folder by folder, the first four would be of one class.
    assert len(np.unique(data.test.labels[:4])) > 1
    assert data.notes == ()
    spec = parse_sweep({"model": {"source": "resnet8"}, "data": {"source": "pets"}}, tmp_path)
    assert spec.data.source == str(root)
    spec = parse_sweep({"model": {"source": "resnet8"}, "data": {"source": "no_such/"}}, tmp_path)
    assert spec.data.source == f"{tmp_path}/no_such/"


def test_a_flat_folder_has_no_labels(tmp_path):
    for i in range(40):
        picture(tmp_path / f"{i}.jpg")
    (tmp_path / "readme.txt").write_text("hello")
    refused("has no labels, so nobody knows how many classes", tmp_path)
    data = load(tmp_path, classes=1000)
    assert [len(getattr(data, s)) for s in SPLITS] == [4, 20, 4, 12]
    assert (data.test.labels == -1).all()


def test_pixels_are_those_of_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    sizes = [(40, 30), (30, 41), (33, 33), (97, 31), (28, 61), (300, 20)]
    for i in range(60):
        picture(tmp_path / "ab"[i % 2] / f"{i}.jpg", sizes[i % len(sizes)], quality=95)
    data = load(tmp_path, preprocess={"resize": 27, "crop": 20})
    assert data.input_shape == (3, 20, 20)
    made = torchvision.transforms.Compose([torchvision.transforms.Resize(27), torchvision.transforms.CenterCrop(20)])
    folder = torchvision.datasets.ImageFolder(str(tmp_path), made)
    assert folder.classes == list(data.classes)
    assert everything(data) == sorted(np.asarray(image).transpose(2, 0, 1).tobytes() for image, _ in folder)


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [("L", "png", 1), ("LA", "png", 1), ("P", "png", 3), ("P", "gif", 3), ("RGBA", "png", 3), ("CMYK", "jpg", 3), ("CMYK", "tiff", 3),
     ("RGB", "bmp", 3), ("RGBA", "webp", 3), ("L", "JPEG", 1)],
)  # fmt: skip
def test_kinds_of_pictures_become_grey_or_colour(tmp_path, mode, suffix, channels):
    files = [picture(tmp_path / f"{i}.{suffix}", mode=mode) for i in range(10)]
    data = load(tmp_path, classes=2)
    assert data.input_shape == (channels, 10, 12)
    assert everything(data) == sorted(pixels(f, "L" if channels == 1 else "RGB").tobytes() for f in files)
    assert any("see-through" in n for n in data.notes) == (mode in ("LA", "RGBA"))


def test_grey_among_colour_is_colour(tmp_path):
    files = [picture(tmp_path / f"{i}.png", mode="L" if i < 5 else "RGB") for i in range(10)]
    data = load(tmp_path, classes=2)
    assert data.input_shape == (3, 10, 12)
    assert everything(data) == sorted(pixels(f, "RGB").tobytes() for f in files)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
def test_pictures_are_turned_as_their_exif_says(tmp_path, suffix):
    for i in range(10):
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = i % 2
        options = {"exif": exif} if turned else {}
        picture(tmp_path / f"{i}.{suffix}", (12, 10) if turned else (10, 12), **options)
    data = load(tmp_path, classes=2)
    assert data.input_shape == (3, 12, 10)
    # Pillow turns a TIFF for whoever opens it.
    assert any("5 of 10 pictures are turned" in n for n in data.notes) == (suffix != "tiff")
    with Image.open(tmp_path / f"3.{suffix}") as opened:
        upright = np.asarray(opened if suffix == "tiff" else opened.transpose(Image.Transpose.ROTATE_270))
    assert upright.transpose(2, 0, 1).tobytes() in everything(data)


def test_sizes_that_differ_are_named_and_can_be_made_alike(tmp_path):
    for i in range(10):
        picture(tmp_path / f"{i}.png", (12, 10) if i else (20, 30))
    refused(
        r"pictures differ in size: \d\.png has \d+×\d+ pixels, \d\.png \d+×\d+; make them alike, .*resize: 256, crop: 224",
        tmp_path,
        classes=2,
    )
    refused("pictures differ in size", tmp_path, classes=2, preprocess={"resize": 8})
    assert load(tmp_path, classes=2, preprocess={"crop": 9}).input_shape == (3, 9, 9)
    assert load(tmp_path, classes=2, preprocess={"resize": 16, "crop": 16}).input_shape == (3, 16, 16)
    refused(
        r"\d\.png has 12×10 pixels, too few for data.preprocess.crop 11; .*resize: 11, crop: 11",
        tmp_path,
        classes=2,
        preprocess={"crop": 11},
    )


def test_damaged_pictures_are_named_with_their_count(tmp_path):
    class_folders(tmp_path, 20)
    cut = sorted(tmp_path.rglob("*.png"))[::12]
    for file in cut:
        file.write_bytes(file.read_bytes()[:200])
    refused(rf"^{len(cut)} pictures are damaged .*: \w+/\d+\.png, \w+/\d+\.png, \w+/\d+\.png, …; save again", tmp_path)
    cut[0].write_bytes(b"no picture at all")
    refused(f"^1 picture is damaged or of an unknown kind: {cut[0].relative_to(tmp_path)};", tmp_path)


def test_sixteen_bits_are_refused_by_name(tmp_path):
    for i in range(9):
        picture(tmp_path / f"{i}.png", mode="L")
    Image.fromarray(RANDOM.integers(0, 65536, (10, 12), dtype=np.uint16)).save(tmp_path / "deep.png")
    refused(r"deep.png is of Pillow's mode I;16.*; save it in 8 bits", tmp_path, classes=2)


def test_the_checksum_follows_every_picture_and_its_name(tmp_path):
    root = class_folders(tmp_path / "pets")
    (root / "notes.txt").write_text("a")
    data = Data(source=str(root))
    sums = [dataset_checksum(data)]
    assert load_dataset(data).checksum == sums[0]
    (root / "notes.txt").write_text("b")
    assert dataset_checksum(data) == sums[0]
    raw = bytearray((root / "ant" / "003.png").read_bytes())
    raw[-20] ^= 1
    before = (root / "ant" / "003.png").stat()
    (root / "ant" / "003.png").write_bytes(raw)
    os.utime(root / "ant" / "003.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    sums.append(dataset_checksum(data))
    (root / "ant" / "004.png").rename(root / "bee" / "104.png")
    sums.append(dataset_checksum(data))
    sums.append(dataset_checksum(data.model_copy(update={"classes": 3})))
    assert len(set(sums)) == 4
    root.rename(tmp_path / "moved")
    assert dataset_checksum(Data(source=str(tmp_path / "moved"))) == sums[2]


def test_an_old_file_is_read_once_for_its_checksum(tmp_path, monkeypatch):
    root = class_folders(tmp_path)
    for file in root.rglob("*.png"):
        os.utime(file, ns=(0, 0))
    reads: list[str] = []
    real = file_hash._sha256
    monkeypatch.setattr(file_hash, "_sha256", lambda path: reads.append(path) or real(path))
    monkeypatch.setattr(file_hash, "_SETTLED_NS", 0)
    first = dataset_checksum(Data(source=str(root)))
    assert len(reads) == 45
    assert dataset_checksum(Data(source=str(root))) == first
    assert len(reads) == 45


def both(root: Path) -> None:
    class_folders(root)
    picture(root / "stray.png")


def nothing(root: Path) -> None:
    (root / "ant").mkdir()
    (root / "ant" / "x.txt").write_text("text")


def empty_class(root: Path) -> None:
    class_folders(root)
    (root / "dog").mkdir()


def no_train(root: Path) -> None:
    class_folders(root / "test")
    class_folders(root / "val")


def beside(root: Path) -> None:
    class_folders(root / "train")
    class_folders(root / "test")
    (root / "annotations").mkdir()


def unknown_class(root: Path) -> None:
    class_folders(root / "train")
    class_folders(root / "test", classes=("ant", "dog"))


def half_labelled(root: Path) -> None:
    class_folders(root / "test")
    for i in range(20):
        picture(root / "train" / f"{i}.png")


def leaky(root: Path) -> None:
    class_folders(root / "train")
    class_folders(root / "test", 5)
    for file in (root / "test").rglob("*.png"):
        file.write_bytes((root / "train" / file.relative_to(root / "test")).read_bytes())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (both, "holds pictures, such as stray.png, beside class folders, such as ant"),
        (nothing, r"holds no pictures \(bmp, gif"),
        (empty_class, "the class folder 'dog' holds no pictures"),
        (no_train, r"holds test, val but no train/"),
        (beside, "holds test, train beside annotations; move what is no split elsewhere"),
        (unknown_class, "test/ has the class 'dog', which train/ does not have"),
        (half_labelled, "train/ has pictures without class folders, but others have"),
        (leaky, "15 of 15 items of test/ are also in train/"),
        (lambda root: class_folders(root, classes=("only",)), "has 1 class; at least 2"),
        (lambda root: class_folders(root, 3), "items; at least 20 are needed"),
    ],
)
def test_folders_that_cannot_be_told_apart_are_one_line(tmp_path, make, message):
    make(tmp_path)
    refused(message, tmp_path)


def test_classes_may_be_called_as_splits_are(tmp_path):
    assert load(class_folders(tmp_path, classes=("train", "bus"))).classes == ("bus", "train")


def test_what_is_left_out_is_said(tmp_path):
    class_folders(tmp_path)
    (tmp_path / "ant" / "x.HEIC").write_bytes(b"")
    assert any("1 file is of a kind that is not read" in n and "ant/x.HEIC" in n for n in load(tmp_path).notes)


def test_a_kind_or_a_column_is_not_for_pictures(tmp_path):
    class_folders(tmp_path)
    refused("data.kind is vector, but .* holds pictures", tmp_path, kind="vector")
    refused("data.target 'label' names a table's column", tmp_path, target="label")


def test_pictures_are_in_memory_once(tmp_path):
    # One file under many names: what is measured is memory, not what it holds; each split takes its part alone.
    first = picture(tmp_path / "0.png", (200, 150))
    for i in range(1, 300):
        os.link(first, tmp_path / f"{i}.png")
    whole = 300 * 3 * 200 * 150
    files = [Picture(p.name, p) for p in sorted(tmp_path.iterdir())]
    pictures, _ = look_at({"all": files}, Data(source=str(tmp_path)))
    tracemalloc.start()
    halves = [pictures["all"].read(np.arange(start, 300, 2)) for start in (0, 1)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(h.nbytes for h in halves) == whole
    assert peak < 1.25 * whole
