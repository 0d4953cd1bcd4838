"""What there is to be right about, told by the labels."""

from __future__ import annotations

import numpy as np
import pytest

from engine.datasets.load import load_dataset
from engine.errors import DatasetError
from engine.spec.sections import Data

X = np.random.default_rng(0).normal(0, 1, (60, 4)).astype(np.float32)


def load(folder, y, **stated):
    arrays = {"x": X} if y is None else {"x": X, "y": y}
    np.savez(folder / "d.npz", **arrays)
    return load_dataset(Data(source=str(folder / "d.npz"), **stated))


def test_fractions_are_values_and_follow_their_items(tmp_path):
    data = load(tmp_path, X @ np.array([1.0, 2, 3, 4]))
    assert (data.task, data.classes, data.has_classes, data.target_width) == ("regression", (), False, 1)
    for split in (data.train, data.calibration, data.validation, data.test):
        np.testing.assert_allclose(split.targets, split.inputs @ [1, 2, 3, 4], rtol=1e-5)
        assert not split.is_labelled
    assert data.train.targets.dtype == np.float32
    both = data.validation.head(2).followed_by(data.test.take(np.array([3])))
    np.testing.assert_allclose(both.targets, both.inputs @ [1, 2, 3, 4], rtol=1e-5)


def test_several_values_a_sample(tmp_path):
    assert load(tmp_path, X[:, :3]).target_width == 3


def test_whole_numbers_are_what_the_spec_says(tmp_path):
    whole = np.arange(60) % 7
    assert load(tmp_path, whole).task == "classification"
    assert load(tmp_path, whole, task="regression").train.targets.max() == 6
    assert load(tmp_path, whole, task="fidelity").train.targets is None
    maps = np.arange(240).reshape(60, 2, 2) % 3
    assert load(tmp_path, maps, task="other").test.targets.shape == (12, 2, 2)


def test_a_column_of_fractions(tmp_path):
    lines = ["a,b,target", *(f"{a},{b},{a + b}" for a, b in X[:, :2])]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    data = load_dataset(Data(source=str(tmp_path / "t.csv")))
    assert data.task == "regression"
    np.testing.assert_allclose(data.test.targets, data.test.inputs.sum(axis=1), rtol=1e-4)


def test_the_task_is_in_the_checksum(tmp_path):
    whole = np.arange(60) % 7
    assert load(tmp_path, whole).checksum != load(tmp_path, whole, task="regression").checksum


@pytest.mark.parametrize(
    ("y", "stated", "message"),
    [
        ((np.arange(60) % 7).astype(float), {}, "holds whole numbers, which may be classes or values; write data.task"),
        (np.full((60, 2), 0.5), {}, "rows that add up to 1, which may be shares of classes or values"),
        (np.where(np.arange(60) == 3, np.nan, 0.5), {}, "has NaN or infinite values in 1 of 60 items"),
        (np.full(60, 1e300), {"task": "regression"}, "has values that float32 does not hold"),
        (np.full(60, "a"), {"task": "regression"}, "task regression needs numbers"),
        (np.full(60, 0.5), {"task": "regression", "classes": 3}, "data.classes stands beside data.task: regression"),
        (None, {"task": "regression"}, "have no targets, which task regression needs"),
    ],
)
def test_what_may_be_either_is_one_line(tmp_path, y, stated, message):
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, y, **stated)


def test_whole_floats_are_classes_where_that_is_said(tmp_path):
    whole = np.arange(60) % 7
    found, same = load(tmp_path, whole.astype(np.float64), task="classification"), load(tmp_path, whole)
    np.testing.assert_array_equal(found.test.labels, same.test.labels)
    assert (found.test.labels.dtype, found.classes) == (np.int64, same.classes)
    with pytest.raises(DatasetError, match="is float64; save integers"):
        load(tmp_path, whole + 0.5, task="classification")


def test_a_column_of_whole_values_is_told_how_to_be_a_regression(tmp_path):
    lines = ["a,b,target", *(f"{a},{b},{40 + i}.0" for i, (a, b) in enumerate(X[:, :2]))]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(DatasetError, match=r"none is 0; .*; write data.task: regression where they are values$"):
        load_dataset(Data(source=str(tmp_path / "t.csv")))
    assert load_dataset(Data(source=str(tmp_path / "t.csv"), task="regression")).test.targets.min() >= 40
