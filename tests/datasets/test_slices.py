"""Slices of every kind of source: they follow their items, are no input, and wrong ones are refused in a line."""

from __future__ import annotations

import numpy as np
import pytest

from engine.datasets.load import dataset_checksum, load_dataset
from engine.datasets.slices import rows_of
from engine.datasets.splits import Split
from engine.errors import DatasetError
from engine.spec.sections import Data

# What an item's site and device are can be read off its inputs.
X = np.random.default_rng(0).normal(0, 1, (60, 4)).astype(np.float32)
Y = (X.sum(axis=1) > 0).astype(np.int64)


def sites(x):
    return np.where(x[:, 0] > 0, "north", "south")


def devices(x):
    return (x[:, 1] > 0).astype(np.int16) + 9


def saved(folder, slices=("site", "device"), **arrays):
    np.savez(folder / "d.npz", **arrays)
    return Data(source=str(folder / "d.npz"), slices=slices)


def check(split: Split) -> None:
    np.testing.assert_array_equal(split.slices["site"], sites(split.inputs))
    np.testing.assert_array_equal(split.slices["device"], devices(split.inputs).astype(str))


def test_slices_follow_their_items_through_every_draw(tmp_path):
    data = load_dataset(saved(tmp_path, x=X, y=Y, site=sites(X), device=devices(X)[:, None]))
    assert len(data.train) + len(data.calibration) + len(data.validation) + len(data.test) == 60
    for split in (data.train, data.calibration, data.validation, data.test):
        check(split)
    check(data.test.reported(5, 0.4))
    check(data.test.held_back(0.4))
    check(data.validation.head(2).followed_by(data.test.take(np.array([3, 1]))))
    check(data.calibrating(20))


def test_a_split_of_its_own_needs_them_for_the_test_alone(tmp_path):
    arrays = {"x_train": X[:40], "y_train": Y[:40], "x_test": X[40:], "y_test": Y[40:], "site_test": sites(X[40:])}
    data = load_dataset(saved(tmp_path, ("site",), **arrays))
    assert not data.train.slices
    np.testing.assert_array_equal(data.test.slices["site"], sites(data.test.inputs))
    both = load_dataset(saved(tmp_path, ("site",), **arrays, **{"train/site": sites(X[:40])}))
    np.testing.assert_array_equal(both.validation.slices["site"], sites(both.validation.inputs))


def test_several_inputs_and_what_a_function_returns(tmp_path):
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    x = np.random.default_rng(0).normal(0, 1, (60, 4)).astype(np.float32)\n"
        "    return {'x': {'a': x, 'b': x[:, :2]}, 'y': np.arange(60) % 2, 'site': list(np.where(x[:, 0] > 0, 'north', 'south'))}\n"
    )
    data = load_dataset(Data(source=f"{tmp_path / 'own.py'}:load", slices="site"))
    np.testing.assert_array_equal(data.test.slices["site"], sites(data.test.inputs.arrays["a"]))


def test_a_column_of_a_table_is_a_slice_and_no_input(tmp_path):
    rows = [f"{a},{b},{c},{d},{y},{s}" for (a, b, c, d), y, s in zip(X, Y, sites(X), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c,d,label,site", *rows]))
    plain, sliced = Data(source=str(tmp_path / "t.csv")), Data(source=str(tmp_path / "t.csv"), slices=("site",))
    data = load_dataset(sliced)
    assert data.train.inputs.shape[1] == 4
    np.testing.assert_array_equal(data.test.slices["site"], sites(data.test.inputs))
    # What the network reads is another thing without it.
    assert dataset_checksum(plain) != dataset_checksum(sliced)


def test_slices_change_no_key_but_that_of_what_is_counted_by_them(tmp_path):
    sliced = saved(tmp_path, x=X, y=Y, site=sites(X), device=devices(X))
    assert dataset_checksum(sliced) == dataset_checksum(sliced.model_copy(update={"slices": ()}))
    assert "slices" not in Data().model_dump()
    assert Data(slices=[]) == Data()


def test_rows_are_in_the_order_of_numbers_or_of_text():
    found = rows_of({"device": np.array(["10", "9", "10"]), "site": np.array(["b", "a", "b"])})
    assert [(r.array, r.value, r.places.tolist()) for r in found] == [
        ("device", "9", [1]), ("device", "10", [0, 2]), ("site", "a", [1]), ("site", "b", [0, 2]),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(60), "site is float64; slices are text or whole numbers"),
        (np.arange(60) // 2 % 7 * 1.5, "site is float64"),
        (np.arange(59) % 3, "x has 60 items but site 59 values; give one value each"),
        (np.array(["a"] * 58 + ["", " "]), "site is empty text for 2 of 60 items"),
        (np.array(["a\nb"] * 60), "cannot be printed on one line"),
        (np.zeros((60, 2), np.int64), "site has shape (60, 2); a slice is one value an item"),
        (np.zeros(0, np.int64), "x has 60 items but site 0 values"),
    ],
)
def test_wrong_slices_are_refused(tmp_path, array, said):
    with pytest.raises(DatasetError) as error:
        load_dataset(saved(tmp_path, ("site",), x=X, y=Y, site=array))
    assert said in str(error.value)


def test_many_values_are_no_slices(tmp_path):
    many = {"x": np.repeat(X, 2, axis=0) + np.arange(120)[:, None], "y": np.repeat(Y, 2)}
    with pytest.raises(DatasetError, match="device has 120 different values; slices are at most 100"):
        load_dataset(saved(tmp_path, ("device",), **many, device=np.arange(120)))
    assert load_dataset(saved(tmp_path, ("device",), **many, device=np.arange(120) % 100)).test.slices


def test_missing_arrays_and_columns_are_named(tmp_path):
    with pytest.raises(
        DatasetError, match=r"has no 'site', which data.slices asks for .it holds x, y.; save it beside x"
    ):
        load_dataset(saved(tmp_path, ("site",), x=X, y=Y))
    arrays = {"x_train": X[:40], "y_train": Y[:40], "x_test": X[40:], "y_test": Y[40:], "site": sites(X)}
    with pytest.raises(DatasetError, match="has no 'site_test'"):
        load_dataset(saved(tmp_path, ("site",), **arrays))
    (tmp_path / "t.csv").write_text(
        "\n".join(["a,label,site", *(f"{a},{y},{'n' if a else ''}" for a, y in zip(X[:, 0], Y, strict=True))])
    )
    with pytest.raises(DatasetError, match=r"data.slices 'where' is no column of .* it has a, label, site"):
        load_dataset(Data(source=str(tmp_path / "t.csv"), slices=("where",)))
    (tmp_path / "u.csv").write_text(
        "\n".join(["a,label,site", *(f"{a},{y},{'n' if y else ''}" for a, y in zip(X[:, 0], Y, strict=True))])
    )
    with pytest.raises(DatasetError, match=r"column 'site' has .* missing values"):
        load_dataset(Data(source=str(tmp_path / "u.csv"), slices=("site",)))


def test_sources_without_further_arrays_say_so(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for source in ("fashion_mnist", str(tmp_path / "x.npy")):
        with pytest.raises(DatasetError, match="holds inputs and labels alone"):
            dataset_checksum(Data(source=source, slices=("site",)))


@pytest.mark.parametrize("stated", [3, [""], [1], {"site": 1}, ["site", "site"]])
def test_a_spec_names_arrays(stated):
    with pytest.raises(ValueError, match=r"names no arrays|is named twice"):
        Data(slices=stated)
