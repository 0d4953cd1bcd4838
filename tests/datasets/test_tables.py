"""Tables: of paths, of pictures as Hugging Face keeps them, of numbers."""

from __future__ import annotations

import builtins
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import DatasetError
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep

SPLITS = ("train", "calibration", "validation", "test")
RANDOM = np.random.default_rng(0)


def noise(width: int = 7, height: int = 6) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


def numbers(n: int = 60, **columns) -> pd.DataFrame:
    values = RANDOM.normal(size=(n, 3))
    return pd.DataFrame(
        {"a": values[:, 0], "b": values[:, 1] + 5, "c": np.arange(n), "label": np.arange(n) % 3} | columns
    )


def paths(folder: Path, n: int = 60) -> pd.DataFrame:
    (folder / "files").mkdir(exist_ok=True)
    for i in range(n):
        noise().save(folder / "files" / f"{i}.png")
    return pd.DataFrame(
        {"path": [f"files/{i}.png" for i in range(n)], "label": np.array(["dog", "ant", "cat"])[np.arange(n) % 3]}
    )


@pytest.fixture
def save(tmp_path: Path):
    def saved(table: pd.DataFrame, suffix: str = "csv", **options) -> str:
        path = tmp_path / f"table.{suffix}"
        table.to_csv(path, index=options.get("index", False)) if suffix == "csv" else table.to_parquet(path)
        return str(path)

    return saved


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_numbers_are_vectors(save, suffix):
    table = numbers()
    data = load_dataset(Data(source=save(table, suffix)))
    assert data.input_shape == (3,)
    assert data.classes == ("0", "1", "2")
    assert data.train.inputs.dtype == np.float32
    assert [len(getattr(data, s)) for s in SPLITS] == [40, 4, 4, 12]
    by_row = table[["a", "b", "c"]].to_numpy(np.float32)
    for split in SPLITS:
        part = getattr(data, split)
        rows = part.inputs[:, 2].astype(int)
        assert np.array_equal(by_row[rows], part.inputs)
        assert np.array_equal(part.labels, rows % 3)
    assert any("reads 3 columns: a, b, c" in n for n in data.notes)


def test_a_column_says_the_split_and_another_is_the_target(save):
    table = numbers(
        60, species=np.array(["x", "y", "z"])[np.arange(60) % 3], Split=["train"] * 40 + ["val"] * 8 + ["test"] * 12
    )
    table = table.drop(columns="label")
    spec = {"source": save(table), "target": "species"}
    data = load_dataset(parse_sweep({"model": {"source": "resnet8"}, "data": spec}).data)
    assert data.classes == ("x", "y", "z")
    assert data.input_shape == (3,)
    assert [len(getattr(data, s)) for s in SPLITS] == [32, 4, 8, 12]
    assert sorted(data.test.inputs[:, 2]) == list(range(48, 60))
    # A sorted table's first rows are of one class; `test_samples` takes some of every.
    assert data.test.inputs[:, 2].tolist() != sorted(data.test.inputs[:, 2])


def test_an_index_that_pandas_wrote_is_no_number_to_learn_from(save):
    data = load_dataset(Data(source=save(numbers(), index=True)))
    assert data.input_shape == (3,)
    assert any("counts the rows, and was left out" in n for n in data.notes)


def test_paths_are_relative_to_the_table(save, tmp_path):
    table = paths(tmp_path)
    source = save(table)
    assert (
        parse_sweep({"model": {"source": "resnet8"}, "data": {"source": "table.csv"}}, tmp_path).data.source == source
    )
    data = load_dataset(Data(source=source))
    assert data.classes == ("ant", "cat", "dog")
    assert data.input_shape == (3, 6, 7)
    known = {
        np.asarray(Image.open(tmp_path / path)).transpose(2, 0, 1).tobytes(): data.classes.index(label)
        for path, label in zip(table["path"], table["label"], strict=True)
    }
    found = {
        i.tobytes(): n for s in SPLITS for i, n in zip(getattr(data, s).inputs, getattr(data, s).labels, strict=True)
    }
    assert found == known
    assert load_dataset(Data(source=source, preprocess={"resize": 4, "crop": 3})).input_shape == (3, 3, 3)
    before = dataset_checksum(Data(source=source))
    noise().save(tmp_path / "files" / "7.png")
    assert dataset_checksum(Data(source=source)) != before
    unlabelled = load_dataset(Data(source=save(table[["path"]]), classes=4))
    assert (unlabelled.test.labels == -1).all()
    (tmp_path / "files" / "9.png").unlink()
    with pytest.raises(DatasetError, match=r"9.png does not exist; correct the path, which is relative to the table"):
        load_dataset(Data(source=source))


def hugging_face(
    path: Path, n: int, names: tuple[str, ...] | None = ("wolf", "bear"), damaged: int | None = None
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = []
    for i in range(n):
        stream = io.BytesIO()
        noise().save(stream, "PNG")
        pictures.append({"bytes": stream.getvalue()[: 60 if i == damaged else None], "path": f"{i}.png"})
    table = pa.table({"image": pictures, "label": pa.array(np.arange(n) % 2)})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)


def test_a_folder_of_parquet_is_a_dataset_of_hugging_face(tmp_path):
    hugging_face(tmp_path / "data" / "train-00000-of-00002.parquet", 30)
    hugging_face(tmp_path / "data" / "train-00001-of-00002.parquet", 30)
    hugging_face(tmp_path / "data" / "test-00000-of-00001.parquet", 9)
    data = load_dataset(Data(source=str(tmp_path)))
    assert data.classes == ("wolf", "bear")
    assert data.input_shape == (3, 6, 7)
    assert [len(getattr(data, s)) for s in SPLITS] == [48, 6, 6, 9]
    assert np.bincount(data.test.labels).tolist() == [5, 4]
    before = dataset_checksum(Data(source=str(tmp_path)))
    hugging_face(tmp_path / "data" / "test-00000-of-00001.parquet", 9)
    assert dataset_checksum(Data(source=str(tmp_path))) != before
    hugging_face(tmp_path / "data" / "test-00000-of-00001.parquet", 9, damaged=4)
    with pytest.raises(DatasetError, match=r"1 picture is damaged .*row 4 \(4.png\)"):
        load_dataset(Data(source=str(tmp_path)))


def test_one_parquet_file_of_pictures_is_shared_out(tmp_path):
    hugging_face(tmp_path / "all.parquet", 60, None)
    data = load_dataset(Data(source=str(tmp_path / "all.parquet"), classes=("a", "b")))
    assert [len(getattr(data, s)) for s in SPLITS] == [40, 4, 4, 12]
    assert data.classes == ("a", "b")


def test_without_pyarrow_parquet_is_one_line(tmp_path, monkeypatch):
    numbers().to_parquet(tmp_path / "t.parquet")
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        DatasetError, match=r"takes pyarrow to read; install it \(pip install pyarrow\), or save a .csv"
    ):
        load_dataset(Data(source=str(tmp_path / "t.parquet")))


def with_gap(column: str) -> pd.DataFrame:
    table = numbers().astype({"c": float, "label": float})
    table.loc[3, column] = None
    return table


@pytest.mark.parametrize(
    ("table", "stated", "message"),
    [
        (with_gap("b"), {}, "column 'b' has 1 missing values; fill them, or remove the rows"),
        (with_gap("label"), {}, r"column 'label' has 1 missing values \(NA"),
        (numbers(town="x"), {}, "column 'town' holds 'x', no numbers"),
        (numbers(a=1e300), {}, "column 'a' has infinite or too large values"),
        (numbers(target=1), {}, "has the columns 'label' and 'target'; say which holds the labels: data.target: label"),
        (
            numbers().rename(columns={"label": "kind"}),
            {},
            r"has no column called label, target, class or y \(it has a, b, c, kind\)",
        ),
        (numbers(), {"target": "kind"}, "data.target 'kind' is no column of .*; it has a, b, c, label"),
        (numbers(label=np.inf), {"task": "regression"}, "column 'label' has NaN or infinite values in"),
        (numbers(label=np.arange(60) % 3 + 1), {}, "column 'label' has labels up to 3 but none is 0; .*subtract 1"),
        (numbers(split="train"), {"kind": "image"}, "data.kind is image, but .* holds rows of numbers"),
        (numbers(split="dev2"), {}, "column 'split' has 'dev2'; write train, test"),
        (numbers(split="test"), {}, "column 'split' has no train, only test"),
        (numbers(split=["val", "validation"] * 30), {}, "column 'split' calls validation by two names"),
        (numbers(), {"preprocess": {"crop": 3}}, "crop are for pictures, but .* holds numbers"),
        (numbers(0), {}, "has no rows"),
        (pd.DataFrame({"label": [0, 1] * 30}), {}, "has no column beside 'label'"),
    ],
)
def test_tables_that_leave_something_open_are_one_line(save, table, stated, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(Data(source=save(table), **stated))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("suffix", "content"), [("csv", b""), ("csv", b'a,b\n"1,2\n3'), ("csv", b"a,b\n\xff\xfe,2"), ("parquet", b"PAR1")]
)
def test_damaged_tables_are_one_line(tmp_path, suffix, content):
    (tmp_path / f"t.{suffix}").write_bytes(content)
    with pytest.raises(DatasetError, match=r"is damaged or no .* file|not UTF-8") as caught:
        load_dataset(Data(source=str(tmp_path / f"t.{suffix}")))
    assert "\n" not in str(caught.value)


def test_two_columns_of_one_name_are_refused(tmp_path):
    """pandas would call the second `a.1` and go on."""
    (tmp_path / "t.csv").write_text("a,a,label\n" + "1,2,0\n2,3,1\n" * 30)
    with pytest.raises(DatasetError, match="has two columns 'a'; give each a name of its own"):
        load_dataset(Data(source=str(tmp_path / "t.csv")))


def test_several_columns_are_the_targets_of_a_regression(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (40, 5)).astype(np.float32)
    pd.DataFrame(rows, columns=list("abcde")).to_csv(tmp_path / "t.csv", index=False)
    data = load_dataset(Data(source=str(tmp_path / "t.csv"), target=["e", "b"]))
    assert data.task == "regression"
    assert data.input_shape == (3,)
    found = {
        tuple(map(float, x)): y
        for part in (data.train, data.test)
        for x, y in zip(part.inputs, part.targets, strict=True)
    }
    for row in rows:
        if (own := tuple(map(float, row[[0, 2, 3]]))) in found:
            assert np.array_equal(found.pop(own), row[[4, 1]])
    assert not found


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (["d", "zz"], "data.target 'zz' is no column"),
        (["d", "name"], "column 'name' holds 'a', but several targets are numbers; name one column under data.target"),
        (
            ["d", "e"],
            "its rows are not one-hot (one 1, all else 0); give one integer an item, or write data.task: regression",
        ),
        (["gap", "d"], "column 'gap' has 1 missing values"),
    ],
)
def test_columns_that_are_no_targets_are_named(tmp_path: Path, target: list[str], told: str) -> None:
    table = pd.DataFrame(
        {"x": np.arange(20.0) / 7, "d": range(20), "e": range(20), "name": ["a"] * 20, "gap": [np.nan] + [0.5] * 19}
    )
    table[[name for name in table if name in ("x", *target)]].to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DatasetError) as caught:
        load_dataset(Data(source=str(tmp_path / "t.csv"), target=target))
    assert told in str(caught.value)
