"""Data that are larger than memory should be: the same splits and numbers as in memory, none of them there whole."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.datasets import cache
from engine.datasets.load import load_dataset
from engine.errors import DatasetError, SetupError
from engine.graph.inputs import is_array, is_on_disk
from engine.spec.sections import Data
from tests.helpers.large_data import SPLITS, peak_of, same

RNG = np.random.default_rng(0)
LABELS = np.arange(120) % 4


def cached_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "home" / "cache").glob("*.npy"))


def pictures(root: Path, n: int = 60) -> Path:
    for i in range(n):
        at = root / f"class{i % 3}"
        at.mkdir(parents=True, exist_ok=True)
        size = (20 + i % 3, 14 + i % 2, 3)
        Image.fromarray(RNG.integers(0, 256, size, dtype=np.uint8)).save(at / f"{i}.png")
    return root


PIXELS = RNG.integers(0, 256, (120, 9, 8, 3), dtype=np.uint8)
CASES = {
    "bytes, channels last": {"x": PIXELS, "y": LABELS},
    "pixels as int64": {"x": PIXELS[..., 0].astype(np.int64), "y": LABELS},
    "float64 with a test": {
        "x_train": RNG.standard_normal((90, 3, 6, 6)),
        "y_train": LABELS[:90],
        "x_test": RNG.standard_normal((30, 3, 6, 6)),
        "y_test": LABELS[:30],
    },
    "big-endian vectors": {"x": RNG.standard_normal((120, 7)).astype(">f4"), "y": LABELS},
    "tokens": {"x": RNG.integers(0, 999, (120, 5)), "y": LABELS},
    "without labels": {"x": PIXELS.transpose(0, 3, 1, 2).astype(np.float32)},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_arrays_are_the_same_from_disk(tmp_path: Path, on_disk, case: str, packed: bool) -> None:
    path = tmp_path / "d.npz"
    (np.savez_compressed if packed else np.savez)(path, **CASES[case])
    data = Data(source=str(path), classes=4)
    found = on_disk(data)
    assert all(is_on_disk(getattr(found, name).inputs) for name in SPLITS)
    same(found, load_dataset(data))
    # What is not compressed is read where it lies.
    assert len(cached_files(tmp_path)) == packed * sum(name.startswith("x") for name in CASES[case])


def test_a_pair_of_npy_is_read_where_it_lies(tmp_path: Path, on_disk) -> None:
    np.save(tmp_path / "x.npy", PIXELS)
    np.save(tmp_path / "y.npy", LABELS)
    data = Data(source=str(tmp_path / "x.npy"), labels=str(tmp_path / "y.npy"), preprocess={"channels": "BGR"})
    found = on_disk(data)
    assert is_on_disk(found.train.inputs)
    same(found, load_dataset(data))
    assert not cached_files(tmp_path)


def test_what_a_function_maps_stays_in_its_file(tmp_path: Path, on_disk, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", PIXELS)
    (tmp_path / "own.py").write_text(
        "import numpy as np\nfrom pathlib import Path\nDATA_FILES = ['x.npy']\n"
        "def build():\n"
        "    x = np.load(Path(__file__).parent / 'x.npy', mmap_mode='r')\n"
        "    y = np.arange(120) % 4\n"
        "    return {'x_train': x[:90], 'y_train': y[:90], 'x_test': x[90:], 'y_test': y[90:]}\n"
    )
    data = Data(source=f"{tmp_path / 'own.py'}:build")
    found = on_disk(data)
    assert is_on_disk(found.train.inputs)
    same(found, load_dataset(data))
    np.testing.assert_array_equal(found.test.inputs[:], PIXELS[90:].transpose(0, 3, 1, 2))


def test_several_inputs_are_the_same_from_disk(tmp_path: Path, on_disk) -> None:
    np.savez(tmp_path / "d.npz", ids=RNG.integers(0, 50, (120, 6)), age=RNG.random((120, 1)), y=LABELS)
    data = Data(source=str(tmp_path / "d.npz"), inputs=["ids", "age"])
    found = on_disk(data)
    assert is_on_disk(found.test.inputs)
    same(found, load_dataset(data))
    assert not is_on_disk(found.test.inputs[:4])
    # A network is fed arrays.
    assert isinstance(found.preprocessing(found.test.head(3).inputs).arrays["ids"], np.ndarray)


def test_pictures_are_decoded_once_and_are_the_same(tmp_path: Path, on_disk, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data(source=str(pictures(tmp_path / "p")), preprocess={"resize": 12, "crop": 10})
    found = on_disk(data)
    assert is_on_disk(found.train.inputs)
    same(found, load_dataset(data))
    (file,) = cached_files(tmp_path)
    assert np.load(file).shape == (60, 3, 10, 10)
    # Other numbers, other classes' names: the same pixels. Nothing is decoded again, and no file left over.
    monkeypatch.setattr("engine.datasets.picture_files.Pictures.read", lambda *_: pytest.fail("decoded again"))
    other = on_disk(data.model_copy(update={"classes": ("x", "y", "z")}))
    assert other.classes == ("x", "y", "z")
    assert cached_files(tmp_path) == [file]
    assert not list(file.parent.glob("*.partial"))


def test_choosing_samples_reads_none(tmp_path: Path, on_disk) -> None:
    np.savez(tmp_path / "d.npz", x=PIXELS, y=LABELS)
    test = on_disk(Data(source=str(tmp_path / "d.npz"))).test
    assert is_array(test.inputs)
    chosen = [test.head(5), test.reported(None, 0.5), test.take(np.array([3, 1])), test.held_back(0.5)]
    assert all(is_on_disk(split.inputs) for split in chosen)
    np.testing.assert_array_equal(test.take(np.array([3, 1])).inputs[:], test.inputs[[3, 1]])
    assert not is_on_disk(test.head(5).loaded().inputs)


def test_a_damaged_picture_is_told_and_nothing_is_kept(tmp_path: Path, on_disk) -> None:
    bad = next(pictures(tmp_path / "p").rglob("7.png"))
    bad.write_bytes(bad.read_bytes()[:90])
    with pytest.raises(DatasetError, match=r"^1 picture is damaged or of an unknown kind: class1/7\.png;"):
        on_disk(Data(source=str(tmp_path / "p"), preprocess={"resize": 12, "crop": 10}))
    assert not list((tmp_path / "home" / "cache").glob("*.[np]*"))


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_npz_is_told(tmp_path: Path, on_disk, packed: bool) -> None:
    path = tmp_path / "d.npz"
    (np.savez_compressed if packed else np.savez)(path, x=PIXELS, y=LABELS)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"d\.npz is damaged or not an \.npz file"):
        on_disk(Data(source=str(path)))


def test_no_number_is_lost_on_the_way_to_a_finding(tmp_path: Path, on_disk) -> None:
    x = RNG.standard_normal((120, 3, 6, 6))
    x[77, 1, 2, 3] = np.nan
    np.savez(tmp_path / "d.npz", x=x, y=LABELS)
    with pytest.raises(DatasetError, match="has NaN, infinite or too large values in 1 of 120 items"):
        on_disk(Data(source=str(tmp_path / "d.npz")))
    np.savez(tmp_path / "d.npz", x=np.asfortranarray(x), y=LABELS)
    with pytest.raises(DatasetError, match=r"d\.npz: x is in Fortran order"):
        on_disk(Data(source=str(tmp_path / "d.npz")))
    np.savez(tmp_path / "d.npz", x=np.zeros((120, 9, 9, 9)), y=LABELS)
    with pytest.raises(DatasetError, match=r"shape \(120, 9, 9, 9\); an image's channels"):
        on_disk(Data(source=str(tmp_path / "d.npz"), kind="image"))


def test_what_was_longest_unused_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PARETOSCOPE_CACHE_GB", "0.00001")

    def made(key: str, n: int = 4000):
        return cache.cached(key, n, f"what {key} holds", lambda file: file.write(bytes(n)), ((n,), np.dtype(np.uint8)))

    one, _ = made("one"), made("two")
    now = time.time_ns()
    for path, age in (("one", 1000), ("two", 2000)):
        at = tmp_path / "home" / "cache" / f"{path}.npy"
        os.utime(at, ns=(now - age * 10**9, at.stat().st_mtime_ns))
    made("three")
    assert [p.stem for p in cached_files(tmp_path)] == ["one", "three"]
    assert cache.taken() == sum(p.stat().st_size for p in cached_files(tmp_path))
    with pytest.raises(
        DatasetError, match=r"^what four holds takes 1e-05 GB under .*; allow more with PARETOSCOPE_CACHE_GB"
    ):
        made("four", 10_001)
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("U", (), {"free": 5000}))
    with pytest.raises(DatasetError, match=r"whose disk has 0\.0 free; free some, or set PARETOSCOPE_HOME"):
        made("five")
    # All was removed to make room, and who reads one still does.
    assert one[:3].tolist() == [0, 0, 0]
    assert cache.freed() == 0


def test_a_bound_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOSCOPE_IN_MEMORY_MB", "lots")
    with pytest.raises(SetupError, match="PARETOSCOPE_IN_MEMORY_MB is 'lots'; give megabytes, a number"):
        cache.is_large(1)


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
@pytest.mark.parametrize("kind", ["npz", "pictures"])
def test_the_peak_does_not_grow_with_the_data(tmp_path: Path, kind: str) -> None:
    """Loaded, checked, trained on and measured, in a process of its own: 60 MB and 250 MB take the same memory, within 40 MB."""
    peaks = []
    for n in (2170, 9042):
        source = tmp_path / f"{kind}{n}.npz"
        pixels = np.frombuffer(RNG.bytes(n * 96 * 96 * 3), np.uint8).reshape(n, 96, 96, 3)
        if kind == "pictures":
            source = tmp_path / f"{n}"
            for i, one in enumerate(pixels):
                (source / f"c{i % 4}").mkdir(parents=True, exist_ok=True)
                Image.fromarray(one).save(source / f"c{i % 4}" / f"{i}.bmp")
        else:
            np.savez(source, x=pixels, y=np.arange(n) % 4)
        del pixels
        samples, peak = peak_of(source, tmp_path)
        assert samples == pytest.approx(n / 5, abs=8)
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 40, peaks
