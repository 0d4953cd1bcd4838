"""Several arrays for each sample: read as they are, split together, refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import DatasetError, SpecError
from engine.graph.inputs import NamedArrays
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep
from tests.helpers.several_inputs import token_data, tokens_and_masks


def test_arrays_keep_their_type_and_stay_together(tmp_path: Path) -> None:
    path = token_data(tmp_path / "data.npz")
    data = load_dataset(Data(source=str(path), inputs={"ids": "tokens", "mask": "mask"}))
    tokens, mask, _ = tokens_and_masks(120, 120)
    assert isinstance(data.test.inputs, NamedArrays)
    np.testing.assert_array_equal(data.test.inputs.arrays["ids"], tokens)
    np.testing.assert_array_equal(data.test.inputs.arrays["mask"], mask)
    assert data.test.inputs.arrays["ids"].dtype == np.int64
    # A network is fed what is stored.
    assert data.preprocessing(data.test.inputs) is data.test.inputs
    # Carved out of the training samples, each with its own mask and label.
    seen = {t.tobytes(): (m.tobytes(), y) for t, m, y in zip(*tokens_and_masks(200, 200), strict=True)}
    for split in (data.train, data.calibration, data.validation):
        rows = split.inputs.arrays
        assert all(
            seen[t.tobytes()] == (m.tobytes(), y)
            for t, m, y in zip(rows["ids"], rows["mask"], split.labels, strict=True)
        )
    assert len(data.train) + len(data.calibration) + len(data.validation) == 200


def test_the_checksum_follows_what_is_said_of_inputs(tmp_path: Path) -> None:
    path = str(token_data(tmp_path / "data.npz"))
    both, other = ({"tokens": "tokens", "mask": "mask"}, {"tokens": "tokens", "mask": "mask", "sr": 8000})
    sums = {dataset_checksum(Data(source=path, inputs=inputs)) for inputs in (None, both, other)}
    assert len(sums) == 3


def test_one_array_of_integers_is_no_numbers_to_be_scaled(tmp_path: Path) -> None:
    tokens, _, labels = tokens_and_masks(80, 0)
    np.savez(tmp_path / "data.npz", x=tokens, y=labels)
    data = load_dataset(Data(source=str(tmp_path / "data.npz")))
    assert data.preprocessing(data.train.inputs).dtype == np.int64
    asked = load_dataset(Data(source=str(tmp_path / "data.npz"), preprocess={"scale": 0.5}))
    np.testing.assert_array_equal(asked.preprocessing(asked.train.inputs), asked.train.inputs * np.float32(0.5))


def test_a_function_gives_several_in_the_place_of_one(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text(
        "import numpy as np\n"
        "def arrays():\n"
        "    x = {'image': np.zeros((40, 1, 4, 4), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None, None],\n"
        "         'age': np.arange(40.0)}\n"
        "    return {'x': x, 'y': np.arange(40) % 2}\n"
        "def items():\n"
        "    part = [({'image': np.full((1, 4, 4), i, np.float32), 'age': float(i)}, i % 2) for i in range(60)]\n"
        "    return part[:40], part[40:]\n"
    )
    for function, kind in (("arrays", np.uint8), ("items", np.float32)):
        data = load_dataset(Data(source=f"{tmp_path / 'data.py'}:{function}"))
        image, age = data.train.inputs.arrays["image"], data.train.inputs.arrays["age"]
        assert (image.dtype, age.dtype) == (kind, np.float32)
        np.testing.assert_array_equal(image[:, 0, 0, 0], age)


@pytest.mark.parametrize(
    ("change", "inputs", "message"),
    [
        ({"mask_test": None}, ["tokens", "mask"], "has no 'mask_test' .* correct data.inputs"),
        ({"mask_train": np.ones((7, 16))}, ["tokens", "mask"], "tokens_train has 200 samples but mask_train 7"),
        ({"mask_test": np.ones((120, 9), np.int64)}, ["tokens", "mask"], r"mask of test is int64 \(9,\) per sample"),
        ({"y_test": np.zeros(3, np.int64)}, ["tokens", "mask"], "tokens_test has 120 items but y_test 3 labels"),
        ({"mask_test": np.full((120, 16), np.nan)}, ["tokens", "mask"], "mask_test has NaN"),
        ({}, {"tokens": "words", "mask": "mask"}, "has no 'words_train'"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    change: dict[str, np.ndarray | None], inputs: object, message: str, tmp_path: Path
) -> None:
    with np.load(token_data(tmp_path / "data.npz")) as file:
        arrays = {name: file[name] for name in file.files} | change
    np.savez(tmp_path / "other.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(Data(source=str(tmp_path / "other.npz"), inputs=inputs))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"inputs": {"sr": 16000}}, "no input has an array"),
        ({"inputs": {"audio": "x", "sr": {"a": 1}}}, "give the name of an array, a number"),
        ({"inputs": {"a": "x", "b": "x"}}, "stands for two inputs"),
        ({"inputs": ["a", "b"], "preprocess": "standardize"}, "preprocess is for one array"),
        ({"inputs": ["a", "b"], "kind": "image"}, "kind image stands beside several inputs"),
    ],
)
def test_a_spec_that_contradicts_itself_is_one_line(said: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_sweep({"model": {"source": "net.onnx"}, "data": {"source": "data.npz", **said}})


def test_what_holds_one_array_cannot_have_two(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds one array, which is called x; save several in an \.npz"):
        dataset_checksum(Data(source="fashion_mnist", inputs=["image", "age"]))


def test_data_and_models_without_it_are_the_same_as_ever() -> None:
    sweep = parse_sweep({"name": "same", "model": {"source": "resnet8"}})
    assert sweep.model.model_dump() == {"source": "resnet8", "weights": None}
    assert "inputs" not in sweep.data.model_dump()
    assert sweep.id == "same-b6dad6"
