import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import StepError
from engine.measure.accuracy import predict
from tests.helpers.tiny_onnx import conv_net, image_net, linear_net

PLAIN = Preprocessing(1 / 255, (0.5,), (0.25,))
NOTHING = Preprocessing(1.0, (0.0,), (1.0,))


def _images(n, side, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (n, 1, side, side), dtype=np.uint8), rng.integers(0, 10, n))


def test_predict_gives_class_and_softmax_of_the_networks_logits(tmp_path):
    matrix = np.random.default_rng(2).standard_normal((16, 10)).astype(np.float32)
    split = _images(250, 4)
    predictions = predict(linear_net(tmp_path / "m.onnx", matrix, 4), split, PLAIN, 10)
    logits = PLAIN(split.inputs).reshape(250, 16).astype(np.float64) @ matrix
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert predictions.predicted.dtype == np.uint16
    np.testing.assert_array_equal(predictions.predicted, logits.argmax(1))
    np.testing.assert_allclose(predictions.confidence, softmax.max(1), atol=1e-3)
    np.testing.assert_allclose(predictions.log_probability, np.log(softmax), rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(predictions.right, logits.argmax(1) == split.labels)


def test_a_file_with_a_fixed_batch_gives_the_same_predictions(tmp_path):
    split = _images(45, 8)
    free = predict(conv_net(tmp_path / "free.onnx"), split, PLAIN, 10)
    fixed = predict(conv_net(tmp_path / "fixed.onnx", batch=7), split, PLAIN, 10)
    np.testing.assert_array_equal(free.predicted, fixed.predicted)
    np.testing.assert_allclose(free.confidence, fixed.confidence, atol=1e-3)


def test_a_diverged_network_is_named_and_not_scored(tmp_path):
    matrix = np.full((16, 10), np.nan)
    with pytest.raises(StepError, match=r"diverged\.onnx gives logits that are not numbers \(NaN\), first for image 0"):
        predict(linear_net(tmp_path / "diverged.onnx", matrix, 4), _images(3, 4), PLAIN, 10)


def test_overflow_to_infinity_is_still_an_answer(tmp_path):
    matrix = np.zeros((16, 10))
    matrix[:, 3] = np.inf
    split = Split(np.full((2, 1, 4, 4), 255, np.uint8), np.zeros(2, np.int64))
    predictions = predict(linear_net(tmp_path / "m.onnx", matrix, 4), split, PLAIN, 10)
    assert predictions.predicted.tolist() == [3, 3]
    assert predictions.confidence.tolist() == [1, 1]


def test_what_onnxruntime_refuses_is_one_line(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(conv_net(tmp_path / "whole.onnx").read_bytes()[:200])
    for path, split, words in (
        (broken, _images(2, 8), "cannot load broken.onnx"),
        (tmp_path / "whole.onnx", _images(2, 9), "whole.onnx does not run on input of shape (2, 1, 9, 9)"),
        (image_net(tmp_path / "image.onnx"), _images(2, 4), "(N, classes) is needed"),
        (
            conv_net(tmp_path / "seven.onnx", classes=7),
            _images(2, 8),
            "gives 7 scores for an image, but the dataset has 10 classes",
        ),
        (tmp_path / "whole.onnx", _images(0, 8), "has no images to be measured on"),
    ):
        with pytest.raises(StepError) as caught:
            predict(path, split, PLAIN, 10)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_one_image_is_enough(tmp_path):
    split = _images(1, 8)
    predictions = predict(conv_net(tmp_path / "m.onnx"), split, PLAIN, 10)
    assert len(predictions) == 1
    assert predictions.right.tolist() == [predictions.predicted[0] == split.labels[0]]


def test_images_without_labels_are_neither_right_nor_wrong(tmp_path):
    split = Split(_images(5, 8).inputs, np.full(5, -1))
    predictions = predict(conv_net(tmp_path / "m.onnx"), split, PLAIN, 10)
    assert predictions.right is None
    assert predictions.label_probability is None
    assert predictions.log_probability.shape == (5, 10)


def with_end(path, kind):
    """`linear_net` with what people put behind the logits."""
    model = onnx.load(linear_net(path, np.random.default_rng(3).normal(size=(16, 5)), 4))
    (matmul,) = (n for n in model.graph.node if n.op_type == "MatMul")
    if kind != "logits":
        matmul.output[0] = "scores"
    axes = numpy_helper.from_array(np.array([1]), "axes")
    scale, zero = numpy_helper.from_array(np.float32(1 / 256), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    if kind == "softmax":
        model.graph.node.append(helper.make_node("Softmax", ["scores"], ["logits"], axis=1))
    elif kind == "softmax, reshaped":
        model.graph.node.extend(
            [helper.make_node("Softmax", ["scores"], ["p"]), helper.make_node("Flatten", ["p"], ["logits"])]
        )
    elif kind == "log softmax":
        model.graph.node.append(helper.make_node("LogSoftmax", ["scores"], ["logits"]))
    elif kind == "softmax, rounded":
        model.graph.initializer.extend([scale, zero])
        model.graph.node.extend(
            [
                helper.make_node("Softmax", ["scores"], ["p"]),
                helper.make_node("QuantizeLinear", ["p", "scale", "zero"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["logits"]),
            ]
        )
    elif kind == "spelled out":
        model.graph.initializer.append(axes)
        model.graph.node.extend(
            [
                helper.make_node("Exp", ["scores"], ["e"]),
                helper.make_node("ReduceSum", ["e", "axes"], ["s"], keepdims=1),
                helper.make_node("Div", ["e", "s"], ["logits"]),
            ]
        )
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", ["softmax", "softmax, reshaped", "log softmax", "spelled out", "softmax, rounded"])
def test_shares_are_taken_as_shares(tmp_path, kind):
    """The softmax of them would be a network that is hardly sure of anything."""
    split = Split(np.random.default_rng(0).normal(size=(130, 1, 4, 4)).astype(np.float32), np.arange(130) % 5)
    plain = predict(with_end(tmp_path / "a.onnx", "logits"), split, NOTHING, 5)
    found = predict(with_end(tmp_path / "b.onnx", kind), split, NOTHING, 5)
    assert np.array_equal(found.predicted, plain.predicted)
    exact = np.exp(plain.log_probability.astype(float))
    shares = np.exp(found.log_probability.astype(float))
    # Half precision keeps three digits of a logarithm; of shares in eight bits each of the five may be off by half of a 256th.
    assert np.abs(shares - exact).max() < (1e-2 if kind == "softmax, rounded" else 2e-3)
    if kind != "softmax, rounded":
        assert np.allclose(found.label_probability, plain.label_probability, rtol=2e-3, atol=2e-3)
    else:
        # What was rounded to nothing is less than the smallest share, and not impossible.
        assert found.label_probability.min() == pytest.approx(np.log(1 / 512), abs=0.05)


def test_scores_that_happen_to_be_positive_are_scores(tmp_path):
    split = Split(np.full((3, 1, 4, 4), 0.5, np.float32), np.zeros(3, np.int64))
    found = predict(
        linear_net(tmp_path / "a.onnx", np.abs(np.random.default_rng(0).normal(size=(16, 5))), 4), split, NOTHING, 5
    )
    scores = 0.5 * np.abs(np.random.default_rng(0).normal(size=(16, 5))).sum(0)
    assert np.exp(found.log_probability[0].astype(float)) == pytest.approx(
        np.exp(scores) / np.exp(scores).sum(), abs=2e-3
    )


def test_shares_are_the_same_one_by_one_in_whatever_order(tmp_path):
    """The first image is one that the network is unsure of; what others have below that is no less exact."""
    inputs = np.random.default_rng(0).normal(size=(60, 1, 4, 4)).astype(np.float32) * 3
    inputs[0] = 0
    split = Split(inputs, np.arange(60) % 5)
    files = [with_end(tmp_path / f"{batch}.onnx", "softmax") for batch in ("free", "one")]
    model = onnx.load(files[1])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, files[1])
    together, alone = (predict(file, split, NOTHING, 5) for file in files)
    assert together.label_probability.min() < -15
    assert np.allclose(together.log_probability, alone.log_probability, rtol=2e-3)
    assert np.allclose(together.label_probability, alone.label_probability, rtol=2e-3)
