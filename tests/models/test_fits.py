"""An ONNX file that does not fit the images is told of by name, before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.models.files import check_fits
from tests.helpers.tiny_onnx import conv_net


def data(shape: tuple[int, int, int] = (1, 8, 8), classes: int = 10) -> Dataset:
    split = Split(np.zeros((20, *shape), np.uint8), np.arange(20) % classes)
    names = tuple(map(str, range(classes)))
    return Dataset("toy", "0" * 64, names, Preprocessing(1 / 255, (0.5,), (0.5,)), split, split, split, split)


def turned(path: Path) -> Path:
    """Takes (N, H, W, C)."""
    model = onnx.load(conv_net(path))
    model.graph.node.insert(0, helper.make_node("Transpose", ["picture"], ["input"], perm=[0, 3, 1, 2]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", 8, 8, 1]))
    onnx.save(model, path)
    return path


def squeezed(path: Path) -> Path:
    """Flattens by taking all axes of length one away."""
    model = onnx.load(conv_net(path))
    model.graph.node[3].CopyFrom(helper.make_node("Squeeze", ["g"], ["f"]))
    onnx.save(model, path)
    return path


def test_what_fits_is_let_pass(tmp_path: Path) -> None:
    for batch in ("N", 1, 4):
        check_fits(str(conv_net(tmp_path / "m.onnx", batch=batch)), data())


def test_channels_last_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"takes images as \(N, 8, 8, 1\), channels last \(NHWC\), but .* as \(N, 1, 8, 8\), channels first, here; "
        r"write `preprocess: {layout: NHWC}` under data",
    ):
        check_fits(str(turned(tmp_path / "m.onnx")), data())


@pytest.mark.parametrize(
    ("make", "dataset", "message"),
    [
        (conv_net, data((1, 9, 9)), "takes images of 1×8×8, but those of toy are 1×9×9"),
        (conv_net, data((3, 8, 8)), "takes images of 1×8×8, but those of toy are 3×8×8"),
        (conv_net, data(classes=7), "gives 10 scores for an image, but the dataset has 7 classes"),
        (
            squeezed,
            data(),
            r"gives \(10,\) for one image, not \(1, 10\); .* a Squeeze of all axes, drops its batch: flatten instead",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(make, dataset: Dataset, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_fits(str(make(tmp_path / "m.onnx")), dataset)
    assert "\n" not in str(caught.value)


def test_a_batch_that_is_baked_in_behind_a_free_axis_is_told_of(tmp_path: Path) -> None:
    model = onnx.load(conv_net(tmp_path / "m.onnx"))
    model.graph.node[3].CopyFrom(helper.make_node("Reshape", ["g", "shape"], ["f"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([4, 8]), "shape"))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"does not run on 3 images: .*; export it with a free batch"):
        check_fits(str(tmp_path / "m.onnx"), data())
