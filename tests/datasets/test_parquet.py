"""Parquet files that are gone through, not held: pictures and numbers as from a folder or from memory, and in bounded memory."""

from __future__ import annotations

import errno
import io
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from engine.datasets import parquet_tables
from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import DatasetError
from engine.graph.inputs import is_on_disk
from engine.spec.sections import Data
from tests.helpers.large_data import SPLITS, peak_of, same

RNG = np.random.default_rng(0)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def written(path: Path, pictures: list[bytes], rows: int, **columns: object) -> Path:
    """As Hugging Face writes them, so many rows a group."""
    path.parent.mkdir(exist_ok=True, parents=True)
    column = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(pictures)]
    pq.write_table(pa.table({"image": column} | columns), path, row_group_size=rows)
    return path


def noise(n: int) -> list[np.ndarray]:
    return [RNG.integers(0, 256, (20 + i % 3, 14 + i % 2, 3), dtype=np.uint8) for i in range(n)]


def test_pictures_of_several_files_and_groups_are_the_same_from_disk(tmp_path: Path, on_disk) -> None:
    pixels, labels = noise(90), np.arange(90) % 3
    for i in range(2):
        some = slice(35 * i, 35 * (i + 1))
        written(
            tmp_path / "hf" / f"train-0000{i}-of-00002.parquet", [*map(encoded, pixels[some])], 16, label=labels[some]
        )
    written(tmp_path / "hf" / "test-00000-of-00001.parquet", [*map(encoded, pixels[70:])], 7, label=labels[70:])
    data = Data(source=str(tmp_path / "hf"), preprocess={"resize": 12, "crop": 10})
    found = on_disk(data)
    assert all(is_on_disk(getattr(found, split).inputs) for split in SPLITS)
    in_memory = load_dataset(data)
    same(found, in_memory)
    # What torchvision does with a folder of the same pictures: another way there.
    for i, one in enumerate(pixels):
        at = tmp_path / "folder" / ("train" if i < 70 else "test") / str(labels[i])
        at.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one).save(at / f"{i}.png")
    folder = load_dataset(data.model_copy(update={"source": str(tmp_path / "folder")}))
    for split in ("test", "train"):
        parts = ("train", "calibration", "validation") if split == "train" else ("test",)
        pairs = [
            {
                (x.tobytes(), int(y))
                for p in parts
                for x, y in zip(getattr(d, p).inputs, getattr(d, p).labels, strict=True)
            }
            for d in (found, folder)
        ]
        assert pairs[0] == pairs[1]
        assert len(pairs[0]) == (70 if split == "train" else 20)


def test_a_column_says_the_split_of_pictures_that_stay_in_one_file(tmp_path: Path, on_disk) -> None:
    pixels = noise(60)
    split = np.array(["train", "train", "test"])[np.arange(60) % 3]
    path = written(tmp_path / "a.parquet", [*map(encoded, pixels)], 11, label=np.arange(60) % 2, split=split)
    data = Data(source=str(path), preprocess={"resize": 12, "crop": 10})
    same(found := on_disk(data), load_dataset(data))
    assert len(found.test) == 20


def test_bytes_alone_are_pictures_and_names_beside_them_are_not(tmp_path: Path) -> None:
    pixels = [RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8) for _ in range(40)]
    names = [f"gone/{i}.png" for i in range(40)]
    table = pa.table({"file_name": names, "image": [encoded(p) for p in pixels], "label": np.arange(40) % 2})
    pq.write_table(table, tmp_path / "a.parquet")
    data = load_dataset(Data(source=str(tmp_path / "a.parquet")))
    known = {p.transpose(2, 0, 1).tobytes(): i % 2 for i, p in enumerate(pixels)}
    found = {
        x.tobytes(): y for s in SPLITS for x, y in zip(getattr(data, s).inputs, getattr(data, s).labels, strict=True)
    }
    assert found == known


@pytest.mark.parametrize("folder", [False, True])
def test_pictures_that_a_parquet_names_are_part_of_the_checksum(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "p").mkdir()
    column = []
    for i, pixels in enumerate(RNG.integers(0, 256, (40, 6, 7, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / "p" / f"{i}.png")
        column.append({"bytes": encoded(pixels) if i % 2 else None, "path": f"{i}.png"})
    pq.write_table(pa.table({"image": column, "label": np.arange(40) % 2}), tmp_path / "p" / "train.parquet")
    data = Data(source=str(tmp_path / "p" / ("" if folder else "train.parquet")))
    assert sum(len(getattr(load_dataset(data), split)) for split in SPLITS) == 40
    before = dataset_checksum(data)
    (tmp_path / "p" / "6.png").write_bytes((tmp_path / "p" / "8.png").read_bytes())
    assert dataset_checksum(data) != before
    (tmp_path / "p" / "6.png").unlink()
    with pytest.raises(DatasetError, match=r"picture .*6\.png does not exist"):
        dataset_checksum(data)


def test_a_picture_that_is_missing_or_damaged_is_told_by_its_row(tmp_path: Path, on_disk) -> None:
    pictures: list = [*map(encoded, noise(40))]
    path = written(tmp_path / "a.parquet", pictures, 9, label=np.arange(40) % 2)
    whole = path.read_bytes()
    pictures[23] = pictures[23][:70]
    data = Data(source=str(written(path, pictures, 9, label=np.arange(40) % 2)), preprocess={"resize": 9, "crop": 8})
    with pytest.raises(DatasetError, match=r"^1 picture is damaged .*: a\.parquet: row 23 \(23\.png\); save again"):
        on_disk(data)
    assert not list((tmp_path / "home" / "cache").glob("*.npy"))
    pq.write_table(pa.table({"image": [None, *pictures[1:]], "label": np.arange(40) % 2}), path)
    with pytest.raises(DatasetError, match="column 'image' has 1 missing values; fill or remove them"):
        load_dataset(data)
    cut = bytearray(whole)
    cut[200:4000] = bytes(3800)
    path.write_bytes(cut)
    with pytest.raises(DatasetError, match=r"damaged") as caught:
        load_dataset(data)
    assert "\n" not in str(caught.value)


def rows(n: int = 400) -> pd.DataFrame:
    table = {f"c{i}": RNG.standard_normal(n) for i in range(6)}
    table |= {"whole": RNG.integers(-(2**60), 2**60, n), "flag": RNG.random(n) < 0.5, "small": RNG.integers(0, 9, n)}
    return pd.DataFrame(table | {"label": np.arange(n) % 3, "site": np.where(np.arange(n) % 4, "north", "south")})


@pytest.mark.parametrize("kind", ["a file", "a folder", "a file with a column for the split"])
def test_numbers_are_the_same_from_disk(tmp_path: Path, on_disk, kind: str) -> None:
    table = rows()
    source = tmp_path / "t.parquet"
    if kind == "a folder":
        source = tmp_path / "hf"
        source.mkdir()
        table[:170].to_parquet(source / "train-0.parquet", row_group_size=33)
        table[170:300].to_parquet(source / "train-1.parquet")
        table[300:].to_parquet(source / "test-0.parquet")
    else:
        if kind != "a file":
            table["split"] = np.where(np.arange(400) % 5, "train", "test")
        # An index that pandas writes is no column.
        table.set_index(np.arange(400) * 7).to_parquet(source, row_group_size=90)
    data = Data(source=str(source), slices=["site"])
    found = on_disk(data)
    assert all(is_on_disk(getattr(found, split).inputs) for split in SPLITS)
    assert found.input_shape == (9,)
    same(found, load_dataset(data))
    np.testing.assert_array_equal(found.test.slices["site"], load_dataset(data).test.slices["site"])
    assert len(found.test) == {"a file": 81, "a folder": 100}.get(kind, 80)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("c2", [None] * 3 + [0.5] * 397, "column 'c2' has 3 missing values; fill them, or remove the rows"),
        ("c2", [0.5] * 397 + [1e300] * 3, "column 'c2' has infinite or too large values; repair or remove them"),
        ("c2", ["x"] * 400, "column 'c2' holds 'x', no numbers; make numbers of it, or remove it"),
        ("label", [None] + [1.0] * 399, "column 'label' has 1 missing values"),
    ],
)
def test_what_is_no_number_is_told_as_from_memory(
    tmp_path: Path, on_disk, column: str, values: list, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_tables, "_BATCH_BYTES", 1000)
    rows().assign(**{column: values}).to_parquet(tmp_path / "t.parquet", row_group_size=150)
    data = Data(source=str(tmp_path / "t.parquet"), slices=["site"])
    said = []
    for load in (on_disk, load_dataset):
        with pytest.raises(DatasetError) as caught:
            load(data)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert told in said[0]
    assert not list((tmp_path / "home" / "cache").glob("*.npy"))


def test_a_full_disk_is_not_told_as_a_damaged_file(tmp_path: Path, on_disk, monkeypatch: pytest.MonkeyPatch) -> None:
    rows().to_parquet(tmp_path / "t.parquet")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parquet_tables._Numbers, "of", full)
    with pytest.raises(
        DatasetError, match=r"cannot be written to .* \(No space left on device\); free some of its disk"
    ):
        on_disk(Data(source=str(tmp_path / "t.parquet"), slices=["site"]))


def test_names_of_classes_that_hugging_face_wrote_hold_from_disk(tmp_path: Path, on_disk) -> None:
    features = {"label": {"names": ["wolf", "bear"], "_type": "ClassLabel"}}
    table = pa.table(
        {"image": [encoded(p) for p in RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)], "label": [0, 1] * 20}
    )
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    found = on_disk(Data(source=str(tmp_path / "a.parquet")))
    assert (found.classes, found.input_shape) == (("wolf", "bear"), (1, 8, 8))


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_the_peak_does_not_grow_with_the_pictures(tmp_path: Path) -> None:
    """150 MB more of pictures take less than 75 MB more, although each file is one row group, as pandas writes it."""
    peaks = []
    for n in (1800, 7200):
        folder = tmp_path / str(n)
        pictures = (
            encoded(p, "BMP") for p in np.frombuffer(RNG.bytes(n * 96 * 96 * 3), np.uint8).reshape(n, 96, 96, 3)
        )
        written(folder / "train.parquet", [*pictures], n, label=np.arange(n) % 4)
        samples, peak = peak_of(folder, tmp_path)
        assert samples == n / 5
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 75, peaks
