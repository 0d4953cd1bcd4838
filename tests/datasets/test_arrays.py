"""What arrays mean by their names, shapes and types, and how one that has no test is shared out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.items import item_hashes
from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import DatasetError, SpecError
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep

SPLITS = ("train", "calibration", "validation", "test")


def some(n: int = 100, shape: tuple[int, ...] = (6,), dtype: type = np.float32, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (
        random.integers(0, 256, (n, *shape), dtype=np.uint8) if dtype == np.uint8 else random.normal(size=(n, *shape))
    ).astype(dtype)


def labels(n: int = 100, classes: int = 4) -> np.ndarray:
    return np.arange(n) % classes


@pytest.fixture
def save(tmp_path: Path):
    def saved(**values: np.ndarray) -> str:
        np.savez(tmp_path / "set.npz", **values)
        return str(tmp_path / "set.npz")

    return saved


def parts(data) -> dict[str, int]:
    return {s: len(getattr(data, s)) for s in SPLITS}


@pytest.mark.parametrize(
    ("shape", "kind", "kept"),
    [
        ((6,), None, (6,)),
        ((5, 9), None, (1, 5, 9)),
        ((5, 9), "series", (5, 9)),
        ((5, 9), "array", (5, 9)),
        ((9, 8, 3), None, (3, 9, 8)),
        ((9, 8, 3), "array", (9, 8, 3)),
        ((3, 8, 3), "array", (3, 8, 3)),
        ((9, 8, 7), None, (9, 8, 7)),
        ((2, 3, 4, 5), None, (2, 3, 4, 5)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_shape_means_what_is_said_and_else_the_usual(save, shape, kind, kept, dtype):
    given = some(60, shape, dtype)
    data = load_dataset(Data(source=save(x=given, y=labels(60)), kind=kind))
    assert data.input_shape == kept
    assert data.train.inputs.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    # Nothing is changed beyond the order of an image's axes.
    stored = np.concatenate([getattr(data, s).inputs for s in SPLITS])
    if kept != shape and len(shape) == 3:
        given = given.transpose(0, 3, 1, 2)
    expected = np.ascontiguousarray(given.reshape(60, *kept), stored.dtype)
    assert sorted(item_hashes(stored)) == sorted(item_hashes(expected))
    assert np.isfinite(data.preprocessing(data.test.inputs)).all()


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((5, 9), "vector", r"x has shape \(60, 5, 9\), but data.kind is vector: that is \(n, numbers\)"),
        ((9,), "series", r"x has shape \(60, 9\), but data.kind is series"),
        ((9,), "image", r"x has shape \(60, 9\), but data.kind is image"),
        ((9, 8, 7), "image", "must be 1 to 4: write data.kind: array"),
        ((3, 8, 3), None, "both the second and the last axis .* write data.kind: array"),
    ],
)
def test_a_kind_that_the_shape_is_not_is_refused(save, shape, kind, message):
    with pytest.raises(DatasetError, match=message):
        load_dataset(Data(source=save(x=some(60, shape), y=labels(60)), kind=kind))


def test_whole_numbers_that_are_pixels_are_read_as_such_and_said(save):
    given = some(60, (5, 5), np.uint8).astype(np.int64)
    data = load_dataset(Data(source=save(x=given, y=labels(60))))
    assert data.train.inputs.dtype == np.uint8
    assert data.preprocessing.scale == 1 / 255
    assert any("x is int64 from" in n and "uint8 pixels" in n for n in data.notes)


@pytest.mark.parametrize(
    ("x", "y"),
    [("X", "Y"), ("images", "labels"), ("data", "target"), ("x_train", "y_train"), ("train_images", "train_labels")],
)
def test_without_a_test_one_is_drawn_by_class_and_said(save, x, y):
    given, numbers = some(100), labels(100)
    data = load_dataset(Data(source=save(**{x: given, y: numbers})))
    assert parts(data) == {"train": 64, "calibration": 8, "validation": 8, "test": 20}
    assert np.bincount(data.test.labels).tolist() == [5, 5, 5, 5]
    # Every item is in one split, with its own label.
    whole = dict(zip(item_hashes(given), numbers, strict=True))
    found = [
        (h, n)
        for s in SPLITS
        for h, n in zip(item_hashes(getattr(data, s).inputs), getattr(data, s).labels, strict=True)
    ]
    assert len(found) == 100
    assert dict(found) == whole
    assert any(f"has no test: 20 of 100 items of {x} are kept for it" in n for n in data.notes)
    # The first few, which `test_samples` takes, are not all of one class.
    assert len(np.unique(data.test.labels[:10])) > 1


def test_the_same_item_twice_is_on_one_side_of_the_draw(save):
    given = np.repeat(some(40), 5, axis=0)
    data = load_dataset(Data(source=save(x=given, y=np.repeat(labels(40), 5))))
    assert len(data.test) == 40
    others = np.concatenate([getattr(data, s).inputs for s in SPLITS[:3]])
    assert not np.isin(item_hashes(data.test.inputs), item_hashes(others)).any()


def test_given_splits_stay_where_only_the_test_is_drawn(save):
    own = some(15, seed=5)
    data = load_dataset(Data(source=save(x_train=some(100), y_train=labels(), x_val=own, y_val=labels(15))))
    assert np.array_equal(data.validation.inputs, own)
    assert len(data.test) == 20


@pytest.mark.parametrize(
    ("given", "classes", "numbers", "note"),
    [
        (np.eye(4)[labels()], ("0", "1", "2", "3"), labels(), "rows of 4 numbers"),
        (np.eye(5, dtype=bool)[labels()], ("0", "1", "2", "3", "4"), labels(), "rows of 5 numbers"),
        (
            np.array(["dog", "ant", "cat", "bee"])[labels()],
            ("ant", "bee", "cat", "dog"),
            np.array([3, 0, 2, 1])[labels()],
            None,
        ),
        (
            np.array(["2", "10", "1", "3"])[labels()],
            ("1", "10", "2", "3"),
            np.array([2, 1, 0, 3])[labels()],
            "order of text",
        ),
    ],
)
def test_labels_become_class_numbers(save, given, classes, numbers, note):
    x = some(100)
    data = load_dataset(Data(source=save(x_train=x, y_train=given, x_test=some(10, seed=1), y_test=given[:10])))
    assert data.classes == classes
    known = dict(zip(item_hashes(x), numbers, strict=True))
    assert [known[h] for h in item_hashes(data.train.inputs)] == data.train.labels.tolist()
    assert np.array_equal(data.test.labels, numbers[:10])
    assert not note or any(note in n for n in data.notes)


NAMED = np.array(["dog", "ant", "cat", "bee"])[labels()]


def test_names_of_the_file_or_the_spec_give_the_order(save):
    order = ("dog", "cat", "bee", "ant", "eel")
    known = {name: i for i, name in enumerate(order)}
    x, expected = some(100), sorted(known[n] for n in NAMED)
    for data in (
        Data(source=save(x=x, y=NAMED), classes=order),
        Data(source=save(x=x, y=NAMED, class_names=np.array(order))),
        Data(source=save(x=x, y=NAMED, class_names=np.array(order)), classes=5),
    ):
        found = load_dataset(data)
        assert found.classes == order
        assert sorted(n for s in SPLITS for n in getattr(found, s).labels) == expected
    renamed = load_dataset(Data(source=save(x=x, y=NAMED), classes=("Ameise", "Biene", "Katze", "Hund")))
    assert renamed.classes == ("Ameise", "Biene", "Katze", "Hund")
    assert any("ant is Ameise, bee is Biene" in n for n in renamed.notes)


def test_numbers_as_text_are_numbers_of_so_many_classes(save):
    x, y = some(100), np.array(["217", "3", "571", "10"])[labels()]
    data = load_dataset(Data(source=save(x=x, y=y), classes=1000))
    assert len(data.classes) == 1000
    assert np.unique(data.train.labels).tolist() == [3, 10, 217, 571]


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (NAMED, ("dog", "cat", "bee", "eel"), "has the class 'ant', which is not one of data.classes"),
        (NAMED, 5, r"data.classes is 5, but .* has 4 classes \(ant, bee, cat, dog\); name all 5"),
        (labels(), 3, r"y has the label 3, but there are 3 classes"),
        (np.eye(4)[labels()], 3, r"y has the label 3, but there are 3 classes"),
        (np.array(["a", " "])[labels(classes=2)], None, "empty text"),
        (np.full(100, "a"), None, "has 1 class; at least 2"),
    ],
)
def test_labels_that_contradict_the_classes_are_refused(save, y, classes, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(Data(source=save(x=some(100), y=y), classes=classes))
    assert "\n" not in str(caught.value)


def test_a_class_that_training_does_not_have_is_refused(save):
    y = np.array(["dog", "ant", "cat", "bee"])[labels(20)]
    y[3] = "bea"
    with pytest.raises(DatasetError, match="y_test has the class 'bea', which y_train does not have"):
        load_dataset(Data(source=save(x_train=some(100), y_train=NAMED, x_test=some(20, seed=1), y_test=y)))


@pytest.mark.parametrize(
    ("n", "counts"), [(8, (1, 4, 1, 2)), (400, (40, 200, 40, 120)), (6000, (600, 1000, 600, 3800))]
)
def test_what_has_no_labels_is_shared_out_for_calibration_above_all(save, n, counts):
    data = load_dataset(Data(source=save(x=some(n)), classes=1000))
    assert tuple(parts(data).values()) == counts
    assert len(data.classes) == 1000
    assert all((getattr(data, s).labels == -1).all() for s in SPLITS)
    together = np.concatenate([item_hashes(getattr(data, s).inputs) for s in SPLITS])
    assert len(np.unique(together)) == n
    assert len(data.calibrating(n)) == counts[0] + counts[1]
    assert any("without labels are shared out" in note for note in data.notes)


def test_without_labels_a_given_test_is_kept_and_the_rest_trains(save):
    test = some(10, seed=1)
    data = load_dataset(Data(source=save(x_train=some(40), x_test=test), classes=("a", "b")))
    assert parts(data) == {"train": 16, "calibration": 20, "validation": 4, "test": 10}
    assert np.array_equal(data.test.inputs, test)


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (
            {"x": some(40)},
            None,
            r"has no labels, so nobody knows how many classes there are; give data.classes, e.g. classes: 1000",
        ),
        ({"x": some(7)}, 10, "has 7 items without labels; at least 8 are needed"),
        ({"x": some(24), "y": labels(24)}, None, "x without the 4 items of the test"),
        ({"x": some(24), "y": np.arange(24)}, None, "has one item of each class"),
        ({"a": some(24)}, None, r"has no 'x_train' \(it holds a\); save .* or x and y alone"),
        ({"x_test": some(24)}, 4, "has no 'x_train'"),
        ({"data": some(24), "images": some(24, (4, 6))}, 4, "holds 'data' and 'images', which mean the same"),
    ],
)
def test_too_little_is_one_line(save, values, classes, message):
    if "at least 20" in message or "4 items of the test" in message:
        values = {k: v[:23] for k, v in values.items()}
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(Data(source=save(**values), classes=classes))
    assert "\n" not in str(caught.value)


def test_npy_files_are_items_and_their_labels(tmp_path):
    x, y = some(100, (7, 9), np.uint8), labels()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    spec = {"source": "x.npy", "labels": "y.npy"}
    stated = parse_sweep({"model": {"source": "resnet8"}, "data": spec}, tmp_path).data
    assert (stated.source, stated.labels) == (str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    data = load_dataset(stated)
    assert data.input_shape == (1, 7, 9)
    known = dict(zip(item_hashes(x), y, strict=True))
    assert [known[h] for h in item_hashes(data.test.inputs)] == data.test.labels.tolist()
    before = dataset_checksum(stated)
    np.save(tmp_path / "y.npy", y[::-1])
    assert dataset_checksum(stated) != before
    assert len(load_dataset(Data(source=str(tmp_path / "x.npy"), classes=4)).calibration) == 50
    np.savez(tmp_path / "both.npz", x=x)
    (tmp_path / "both.npz").rename(tmp_path / "both.npy")
    with pytest.raises(DatasetError, match=r"holds named arrays, not one; call it \.npz"):
        load_dataset(Data(source=str(tmp_path / "both.npy"), classes=4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "x.npz", "labels": "y.npy"}, "labels y.npy stands beside x.npz; it is for an .npy source alone"),
        ({"source": "x.npz", "classes": 1}, "at least 2 classes"),
        ({"source": "x.npz", "classes": "cat"}, "give the classes' names as a list of text, or how many"),
        ({"source": "x.npz", "classes": [1, 2]}, "give the classes' names as a list of text"),
        ({"source": "x.npz", "kind": "picture"}, "kind"),
        ({"source": "x.npz", "mean": [0.5]}, "std is missing; give both mean and std"),
    ],
)
def test_a_wrong_section_is_refused_before_anything_is_read(data, message):
    with pytest.raises(SpecError, match=message):
        parse_sweep({"model": {"source": "resnet8"}, "data": data})


def test_sizes_are_not_for_arrays_and_columns_not_for_files_without(save):
    source = save(x=some(60), y=labels(60))
    with pytest.raises(DatasetError, match=r"data.preprocess.crop is for pictures .* holds arrays; leave it out"):
        load_dataset(Data(source=source, preprocess={"crop": 4}))
    with pytest.raises(DatasetError, match=r"data\.target 'label' names a table's column"):
        load_dataset(Data(source=source, target="label"))
