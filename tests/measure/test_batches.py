"""What an image is answered must not depend on the others of its batch; where it does, the trial says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.graph.multiplying import rounds_as_it_runs
from engine.measure.batches import batch_note
from tests.helpers.tiny_onnx import conv_net, linear_net

PLAIN = Preprocessing(1 / 255, (0.0,), (1.0,))


def images(n: int, side: int) -> Split:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 1, side, side)) * rng.uniform(0.2, 1, (n, 1, 1, 1))
    return Split(pixels.astype(np.uint8), np.zeros(n, np.int64))


def over_batch(path: Path, op_type: str, batch: int | str = "N") -> Path:
    """Logits less what the whole batch has in common, or its shares of each class."""
    model = onnx.load(linear_net(path, np.random.default_rng(1).standard_normal((16, 5)), 4, batch))
    model.graph.node[-1].output[0] = "z"
    if op_type == "Softmax":
        model.graph.node.append(helper.make_node("Softmax", ["z"], ["logits"], axis=0))
    else:
        model.graph.node.append(helper.make_node("ReduceMax", ["z"], ["top"], axes=[0], keepdims=1))
        model.graph.node.append(helper.make_node("Sub", ["z", "top"], ["logits"]))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["N", 8])
@pytest.mark.parametrize("op_type", ["Softmax", "ReduceMax"])
def test_a_dependence_is_told_with_its_extent(tmp_path: Path, op_type: str, batch: int | str) -> None:
    path, split = over_batch(tmp_path / "m.onnx", op_type, batch), images(50, 4)
    matrix = np.random.default_rng(1).standard_normal((16, 5)).astype(np.float32)
    size = 50 if batch == "N" else 8
    z = PLAIN(split.inputs[:size]).reshape(size, 16) @ matrix
    together = z - z.max(0) if op_type == "ReduceMax" else np.exp(z) / np.exp(z).sum(0)
    other = int((together.argmax(1)[:32] != 0).sum())  # alone, all classes come out alike: the first is taken
    assert batch_note(path, split, PLAIN) == (
        f"its answers depend on the other images of a batch: {other} of the first {min(32, size)} test images get another class alone "
        f"than among {size}; figures are of batches of {size}"
    )


@pytest.mark.parametrize("batch", ["N", 7, 1])
def test_no_dependence_is_no_note(tmp_path: Path, batch: int | str) -> None:
    assert batch_note(conv_net(tmp_path / "m.onnx", batch=batch), images(30, 8), PLAIN) is None


def test_one_image_and_infinite_scores_say_nothing(tmp_path: Path) -> None:
    assert batch_note(over_batch(tmp_path / "m.onnx", "Softmax"), images(1, 4), PLAIN) is None
    infinite = linear_net(tmp_path / "i.onnx", np.full((16, 5), np.inf), 4)
    assert batch_note(infinite, images(9, 4), PLAIN) is None


def test_a_file_that_rounds_as_it_runs_is_known_in_its_branches_too(tmp_path: Path) -> None:
    model = onnx.load(linear_net(tmp_path / "plain.onnx", np.eye(16, 5), 4, "N"))
    assert not rounds_as_it_runs(model)
    rounding = helper.make_node("DynamicQuantizeLinear", ["pixels"], ["codes", "scale", "zero"])
    made = [helper.make_tensor_value_info("scale", onnx.TensorProto.FLOAT, [])]
    branches = {f"{word}_branch": helper.make_graph([rounding], word, [], made) for word in ("then", "else")}
    model.graph.node.append(helper.make_node("If", ["yes"], ["any"], **branches))
    assert rounds_as_it_runs(model)
