import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.datasets.load import dataset_checksum, is_available, load_dataset
from engine.datasets.preprocessing import Preprocessing
from engine.errors import DatasetError, SpecError
from engine.paths import DATA
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep

RNG = np.random.default_rng(0)


def arrays(n=40, shape=(8, 8), classes=4, dtype=np.uint8):
    def images(count):
        if dtype == np.uint8:
            return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
        return RNG.normal(3, 2, (count, *shape)).astype(dtype)

    labels = np.arange(n) % classes
    return {"x_train": images(n), "y_train": labels, "x_test": images(12), "y_test": labels[:12]}


@pytest.fixture
def save(tmp_path):
    def saved(**values) -> str:
        path = tmp_path / "set.npz"
        np.savez(path, **values)
        return str(path)

    return saved


def refused(message, data):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(data)
    assert "\n" not in str(caught.value)


def test_fashion_mnist_has_disjoint_splits_of_the_published_images():
    data = load_dataset(Data())
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [
        54_000,
        1_000,
        5_000,
        10_000,
    ]
    assert data.input_shape == (1, 28, 28)
    parts = [
        hashlib.sha256(i.tobytes()).digest() for s in (data.train, data.calibration, data.validation) for i in s.inputs
    ]
    whole = gzip.decompress((DATA / "fashion_mnist" / "train-images-idx3-ubyte.gz").read_bytes())
    originals = [
        hashlib.sha256(i.tobytes()).digest() for i in np.frombuffer(whole, np.uint8, offset=16).reshape(60_000, 28, 28)
    ]
    assert sorted(parts) == sorted(originals)
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert data.preprocessing(data.train.inputs[:2000]).mean() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_fashion_mnist_is_named_with_a_remedy(tmp_path, damage):
    name = "t10k-labels-idx1-ubyte.gz"
    for file in (DATA / "fashion_mnist").iterdir():
        if not (damage == "missing" and file.name == name):
            (tmp_path / file.name).symlink_to(file)
    if damage == "changed":
        raw = bytearray((tmp_path / name).read_bytes())
        raw[100] ^= 1
        (tmp_path / name).unlink()
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(
        DatasetError, match=rf"{name} (is missing|has the wrong checksum).*; restore it from a fresh clone"
    ):
        load_fashion_mnist(tmp_path)


def test_fashion_mnist_takes_what_the_spec_states():
    stated = load_dataset(Data(mean=(0.5,), std=(0.25,), classes=tuple("abcdefghij")))
    assert stated.preprocessing == Preprocessing(1 / 255, (0.5,), (0.25,))
    assert stated.classes == tuple("abcdefghij")
    assert stated.checksum != load_dataset(Data()).checksum
    refused("data.classes has 2 names, but fashion_mnist 10 classes", Data(classes=("a", "b")))


@pytest.mark.parametrize(
    ("shape", "nchw"),
    [
        ((8, 9), (1, 8, 9)),
        ((8, 9, 3), (3, 8, 9)),
        ((3, 8, 9), (3, 8, 9)),
        ((8, 9, 1), (1, 8, 9)),
        ((1, 8, 9), (1, 8, 9)),
    ],
)
def test_layouts_become_channels_first(save, shape, nchw):
    values = arrays(shape=shape)
    data = load_dataset(Data(source=save(**values)))
    assert data.input_shape == nchw
    first = values["x_test"][0]
    expected = first.transpose(2, 0, 1) if len(shape) == 3 and shape[2] in (1, 3) else first.reshape(nchw)
    assert np.array_equal(data.test.inputs[0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.float16])
def test_mean_and_std_default_to_those_of_the_training_images(save, dtype):
    data = load_dataset(Data(source=save(**arrays(n=200, shape=(3, 8, 8), dtype=dtype))))
    assert data.train.inputs.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    ready = data.preprocessing(data.train.inputs)
    assert ready.dtype == np.float32
    np.testing.assert_allclose(ready.mean((0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(ready.std((0, 2, 3)), 1, atol=1e-3)


def test_a_constant_channel_stays_finite(save):
    values = arrays(shape=(3, 8, 8))
    for name in ("x_train", "x_test"):
        values[name][:, 1] = 7
    data = load_dataset(Data(source=save(**values)))
    assert np.abs(data.preprocessing(data.test.inputs)[:, 1]).max() < 1e-6


def test_splits_are_disjoint_and_the_users_own_are_kept(save):
    values = arrays(n=100)
    data = load_dataset(Data(source=save(**values)))
    assert [len(s) for s in (data.train, data.calibration, data.validation)] == [80, 10, 10]
    together = np.concatenate([s.inputs[:, 0] for s in (data.train, data.calibration, data.validation)])
    assert len(np.unique(together.reshape(100, -1), axis=0)) == 100
    more = arrays(n=9)
    own = {"x_calibration": more["x_train"][:5], "y_calibration": more["y_train"][:5]}
    data = load_dataset(Data(source=save(**values, **own)))
    assert np.array_equal(data.calibration.inputs[:, 0], own["x_calibration"])
    own |= {"x_validation": more["x_train"][5:9], "y_validation": more["y_train"][5:9]}
    data = load_dataset(Data(source=save(**values, **own)))
    assert len(data.train) == 100
    assert np.array_equal(data.validation.labels, own["y_validation"])


def test_labels_and_class_names(save):
    values = arrays(classes=3)
    values["y_train"] = values["y_train"].astype(np.uint8)[:, None]
    data = load_dataset(Data(source=save(**values)))
    assert data.classes == ("0", "1", "2")
    assert data.train.labels.dtype == np.int64
    assert data.train.labels.ndim == 1
    assert load_dataset(Data(source=save(**values), classes=("a", "b", "c", "d"))).classes == ("a", "b", "c", "d")


def test_classes_of_one_name_are_refused_whoever_names_them(save):
    """Charts and tables would make one of the two."""
    names = np.array(["crane", "dog", "crane"])
    refused("classes 0 and 2 are both called 'crane'", Data(source=save(**arrays(classes=3), class_names=names)))
    for source in ("fashion_mnist", "own.npz"):
        with pytest.raises(
            SpecError, match=r"data\.classes: two classes are called 'crane'; give each a name of its own"
        ):
            parse_sweep({"model": {"source": "resnet8"}, "data": {"source": source, "classes": names.tolist()}})


def test_checksum_follows_content_and_what_the_spec_says(save):
    path = save(**arrays())
    specs = [Data(source=path), Data(source=path, mean=(0.5,), std=(0.5,)), Data(source=path, classes=tuple("abcd"))]
    sums = [dataset_checksum(s) for s in specs]
    assert sums == [load_dataset(s).checksum for s in specs]
    save(**arrays(n=44))
    sums.append(dataset_checksum(specs[0]))
    assert len(load_dataset(specs[0]).test) == 12
    assert load_dataset(specs[0]).checksum == sums[-1]
    assert len({*sums, dataset_checksum(Data())}) == 5


def put(name, value):
    return lambda values: values | {name: value}


def without(name):
    return lambda values: {k: v for k, v in values.items() if k != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("x_test"), r"has no 'x_test' \(it holds x_train, y_test, y_train\)"),
        (put("x_validation", np.zeros((4, 8, 8), np.uint8)), "has no 'y_validation'"),
        (put("x_train", np.full((40, 8, 8), 300)), "x_train is int64 from 300 to 300, which are no pixels of 0 to 255"),
        (put("x_train", np.full((40, 8, 8), -1)), "x_train is int64 from -1 to -1, which are no pixels"),
        (put("x_train", np.zeros((40, 8, 8), bool)), r"x_train is bool; save numbers as float32: x_train.astype"),
        (
            put("x_train", np.zeros((40, 8, 8), complex)),
            "x_train is complex128; save it as float32, or pixels as uint8",
        ),
        (put("x_train", np.zeros(40, np.uint8)), r"x_train has shape \(40,\); save one row an item"),
        (put("X_train", np.zeros((40, 8, 8), np.uint8)), "holds 'X_train' and 'x_train', which mean the same"),
        (put("x_train", np.zeros((40, 3, 8, 3), np.uint8)), "both the second and the last axis could be channels"),
        (put("x_train", np.zeros((40, 8, 8, 5), np.uint8)), r"x_test is \(1, 8, 8\) per item but x_train \(8, 8, 5\)"),
        (put("x_train", np.zeros((39, 8, 8), np.uint8)), "x_train has 39 items but y_train 40 labels"),
        (
            put("x_train", np.full((40, 8, 8), np.nan)),
            "x_train has NaN, infinite or too large values in 40 of 40 items",
        ),
        (put("x_train", np.full((40, 8, 8), 1e300)), "too large values in 40 of 40"),
        (put("x_train", np.zeros((40, 9, 8), np.uint8)), r"x_test is \(1, 8, 8\) per item but x_train \(1, 9, 8\)"),
        (put("x_train", np.zeros((40, 8, 8), np.float32)), "x_test is uint8 but x_train float32"),
        (put("x_test", np.zeros((0, 8, 8), np.uint8)), "x_test is empty"),
        (
            put("y_train", np.arange(40) % 4 / 1),
            "y_train is float64 but holds whole numbers, which may be classes or values; write data.task",
        ),
        (
            put("y_train", np.eye(4)[np.arange(40) % 4] * 0.8 + 0.05),
            "y_train has rows that add up to 1, which may be shares",
        ),
        (put("y_train", np.ones((40, 4))), "y_train has shape .* not one-hot"),
        (put("y_train", np.zeros((40, 2, 2), int)), r"y_train has shape \(40, 2, 2\)"),
        (put("y_train", np.arange(40) % 4 - 1), "y_train has the label -1"),
        (
            put("y_train", np.arange(40) % 4 + 1),
            "labels up to 4 but none is 0; number the classes from 0 without gaps: subtract 1",
        ),
        (
            put("y_train", np.arange(40) % 2 * 2),
            "labels up to 2 but none is 1; number the classes from 0 without gaps, or",
        ),
        (lambda v: v | {"y_train": np.zeros(40, int), "y_test": np.zeros(12, int)}, "has 1 class; at least 2"),
        (put("y_test", np.full(12, 9)), r"y_test has the label 9, but there are 4 classes \(0 to 3\)"),
        (lambda v: v | {k: v[k][:10] for k in ("x_train", "y_train")}, "x_train has 10 items; at least 20"),
        (put("y_train", np.array([None] * 40)), "holds Python objects"),
    ],
)
def test_bad_arrays_are_one_line_with_value_and_remedy(save, change, message):
    refused(message, Data(source=save(**change(arrays()))))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"mean": (0.5, 0.5), "std": (1.0, 1.0)}, "data.mean has 2 values, but .* has 1 channels"),
        ({"mean": (127.5,), "std": (127.5,)}, r"data.mean is \[127.5\].*divide it by 255"),
        ({"classes": ("a", "b")}, "y_train has the label 3, but there are 2 classes"),
    ],
)
def test_a_spec_that_contradicts_the_file_is_refused(save, stated, message):
    refused(message, Data(source=save(**arrays()), **stated))


def test_float_images_may_state_any_mean(save):
    data = load_dataset(Data(source=save(**arrays(dtype=np.float32)), mean=(127.5,), std=(50.0,)))
    assert data.preprocessing == Preprocessing(1.0, (127.5,), (50.0,))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"",
        lambda raw: b"not a zip file",
        lambda raw: raw[:400] + bytes(200) + raw[600:],
    ],
)
def test_damaged_files_are_one_line(save, damage, tmp_path):
    path = tmp_path / "set.npz"
    raw = Path(save(**arrays())).read_bytes()
    path.write_bytes(damage(raw))
    refused(
        "set.npz (is damaged|holds Python objects, or is not an .npz file).*; save|np.savez", Data(source=str(path))
    )


def test_a_single_array_is_not_a_dataset(tmp_path):
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    refused("holds one array", Data(source=str(tmp_path / "one.npz")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fashion-mnist", r"'fashion-mnist' is not known; did you mean 'fashion_mnist'\?"),
        ("imagenet", "'imagenet' is not known; give fashion_mnist, pen_digits, the path of an .npz"),
        ("torchvision:CIFAR10", "is not prepared on this machine; `paretoscope datasets --prepare torchvision:CIFAR10"),
        ("medmnist:../../etc", "is not a name; write torchvision:CIFAR10 or medmnist:pathmnist"),
        ("no_such_folder/", "no_such_folder/ does not exist; give the path of a folder"),
        ("nowhere.npy", "nowhere.npy does not exist; give the path of an .npy"),
        ("nowhere.csv", "nowhere.csv does not exist; give the path of a .csv"),
        ("nowhere.py:build", "nowhere.py does not exist; give the path of a Python file"),
        ("nowhere.py:1+1", "'1\\+1' is not a function's name"),
        ("nowhere.npz", "nowhere.npz does not exist; give the path"),
    ],
)
def test_unknown_sources_are_one_line(home, source, message):
    refused(message, Data(source=source))
    with pytest.raises(DatasetError, match=message):
        dataset_checksum(Data(source=source))


def test_what_can_be_loaded_is_known_without_loading_it(tmp_path: Path):
    assert is_available("fashion_mnist")
    assert not is_available("medmnist:no_such_set")
    assert not is_available(str(tmp_path / "none.npz"))
    (tmp_path / "some.npz").write_bytes(b"bytes")
    assert is_available(str(tmp_path / "some.npz"))


def test_where_few_images_are_for_calibration_training_images_calibrate_too(save):
    data = load_dataset(Data(source=save(**arrays(400))))
    assert len(data.calibration) == 40
    found = data.calibrating(256)
    assert len(found) == 256
    np.testing.assert_array_equal(found.inputs[:40], data.calibration.inputs)
    np.testing.assert_array_equal(found.inputs[40:], data.train.inputs[:216])
    assert len(data.calibrating(30)) == 30
    # All that there is, and never what choices or reports are made on.
    assert len(data.calibrating(1000)) == 400 - len(data.validation)
