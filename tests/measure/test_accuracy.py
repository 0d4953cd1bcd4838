import itertools
import math
import pickle

import numpy as np
import pytest
from tiny_onnx import conv_net, image_net, linear_net

from engine.datasets import Preprocessing, Split
from engine.errors import SetupError, StepError
from engine.measure.accuracy import Predictions, mcnemar_midp, predict, summarise, wilson

PLAIN = Preprocessing(1 / 255, (0.5,), (0.25,))


def _images(n, side, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.integers(0, 256, (n, 1, side, side), dtype=np.uint8), rng.integers(0, 10, n))


def _predictions(classes):
    classes = np.asarray(classes, np.uint16)
    return Predictions(classes, np.full(len(classes), 0.5, np.float16))


# Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(correct, n, low, high):
    assert wilson(correct, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("correct", "n"), [(9250, 10_000), (1, 3), (500, 1000)])
def test_wilson_ends_are_where_the_score_test_turns(correct, n):
    for end in wilson(correct, n):
        assert abs(correct / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(1.959964, rel=1e-6)


def test_wilson_stays_within_zero_and_one_and_holds_the_share():
    for n in (1, 2, 7, 100):
        for correct in range(n + 1):
            low, high = wilson(correct, n)
            assert 0 <= low <= correct / n <= high <= 1
    assert wilson(0, 0) == (0, 1)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.935])
def test_wilson_covers_the_truth_in_about_95_percent(share):
    draws = np.random.default_rng(1).binomial(1000, share, 4000)
    bounds = {c: wilson(int(c), 1000) for c in set(draws.tolist())}
    covered = np.mean([bounds[c][0] <= share <= bounds[c][1] for c in draws.tolist()])
    assert 0.93 <= covered <= 0.97


def _discordant(only_a, only_b, both=3):
    a = np.array([True] * only_a + [False] * only_b + [True] * both)
    b = np.array([False] * only_a + [True] * only_b + [True] * both)
    return a, b


# Fagerland, Lydersen, Laake 2013, BMC Med Res Methodol 13:91: the airway and the consolidation example.
@pytest.mark.parametrize(("only_a", "only_b", "p"), [(1, 7, 0.039), (6, 16, 0.035)])
def test_mcnemar_gives_the_published_mid_p(only_a, only_b, p):
    assert mcnemar_midp(*_discordant(only_a, only_b)) == pytest.approx(p, abs=5e-4)


@pytest.mark.parametrize(("only_a", "only_b"), list(itertools.product(range(6), range(6))))
def test_mcnemar_agrees_with_every_way_the_disagreements_could_have_fallen(only_a, only_b):
    n = only_a + only_b
    distance = abs(only_a - only_b)
    # Of 2^n equally likely outcomes: those further from even count whole, those as far count half.
    outcomes = [abs(n - 2 * sum(bits)) for bits in itertools.product((0, 1), repeat=n)]
    brute = sum(1.0 if d > distance else 0.5 if d == distance else 0.0 for d in outcomes) / 2**n
    # At an even split the two tails are one and the same outcome, and the test says 1.
    expected = 1.0 if distance == 0 else brute
    assert mcnemar_midp(*_discordant(only_a, only_b)) == pytest.approx(expected)


def test_mcnemar_of_many_disagreements_is_near_the_normal_approximation():
    p = mcnemar_midp(*_discordant(4900, 5100))
    assert p == pytest.approx(math.erfc(200 / math.sqrt(10_000) / math.sqrt(2)), rel=0.01)


def test_predict_gives_class_and_softmax_of_the_networks_logits(tmp_path):
    matrix = np.random.default_rng(2).standard_normal((16, 10)).astype(np.float32)
    split = _images(250, 4)
    predictions = predict(linear_net(tmp_path / "m.onnx", matrix, 4), split, PLAIN)
    logits = PLAIN(split.inputs).reshape(250, 16).astype(np.float64) @ matrix
    softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert predictions.predicted.dtype == np.uint16
    np.testing.assert_array_equal(predictions.predicted, logits.argmax(1))
    np.testing.assert_allclose(predictions.confidence, softmax.max(1), atol=1e-3)


def test_a_file_with_a_fixed_batch_gives_the_same_predictions(tmp_path):
    split = _images(45, 8)
    free = predict(conv_net(tmp_path / "free.onnx"), split, PLAIN)
    fixed = predict(conv_net(tmp_path / "fixed.onnx", batch=7), split, PLAIN)
    np.testing.assert_array_equal(free.predicted, fixed.predicted)
    np.testing.assert_allclose(free.confidence, fixed.confidence, atol=1e-3)


def test_a_diverged_network_is_named_and_not_scored(tmp_path):
    matrix = np.full((16, 10), np.nan)
    with pytest.raises(StepError, match=r"diverged\.onnx gives logits that are not numbers \(NaN\), first for image 0"):
        predict(linear_net(tmp_path / "diverged.onnx", matrix, 4), _images(3, 4), PLAIN)


def test_overflow_to_infinity_is_still_an_answer(tmp_path):
    matrix = np.zeros((16, 10))
    matrix[:, 3] = np.inf
    split = Split(np.full((2, 1, 4, 4), 255, np.uint8), np.zeros(2, np.int64))
    predictions = predict(linear_net(tmp_path / "m.onnx", matrix, 4), split, PLAIN)
    assert predictions.predicted.tolist() == [3, 3]
    assert predictions.confidence.tolist() == [1, 1]


def test_what_onnxruntime_refuses_is_one_line(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(conv_net(tmp_path / "whole.onnx").read_bytes()[:200])
    for path, split, words in (
        (broken, _images(2, 8), "cannot load broken.onnx"),
        (tmp_path / "whole.onnx", _images(2, 9), "whole.onnx does not run on input of shape (2, 1, 9, 9)"),
        (image_net(tmp_path / "image.onnx"), _images(2, 4), "(N, classes) is needed"),
    ):
        with pytest.raises(StepError) as caught:
            predict(path, split, PLAIN)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_predictions_come_back_from_a_file_as_they_were(tmp_path):
    predictions = Predictions(np.arange(300, dtype=np.uint16), np.linspace(0, 1, 300).astype(np.float16))
    predictions.save(tmp_path / "a.part")
    predictions.save(tmp_path / "b")
    loaded = Predictions.load(tmp_path / "a.part")
    np.testing.assert_array_equal(loaded.predicted, predictions.predicted)
    np.testing.assert_array_equal(loaded.confidence, predictions.confidence)
    assert (tmp_path / "a.part").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_damaged_or_foreign_predictions_file_is_refused(tmp_path):
    whole, path = tmp_path / "whole.npz", tmp_path / "p.npz"
    _predictions(np.random.default_rng(0).integers(0, 10, 500)).save(whole)
    objects = tmp_path / "objects.npz"
    np.savez(objects, predicted=np.array([{}], object), confidence=np.zeros(1))
    floats = tmp_path / "floats.npz"
    np.savez(floats, predicted=np.zeros(3), confidence=np.zeros(3))
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    altered = bytearray(whole.read_bytes())
    altered[len(altered) // 4] ^= 0xFF
    contents = [b"", whole.read_bytes()[:-30], bytes(altered), pickle.dumps([1])]
    contents += [other.read_bytes() for other in (objects, floats, array)]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(SetupError, match="holds no predictions"):
            Predictions.load(path)
    with pytest.raises(SetupError, match="holds no predictions"):
        Predictions.load(tmp_path / "missing.npz")


def test_summary_pairs_the_trial_with_the_baseline_image_by_image():
    labels = np.zeros(100, np.int64)
    baseline = _predictions([1] * 8 + [0] * 92)
    trial = _predictions([0] * 7 + [1] + [0] * 91 + [1])
    accuracy = summarise(trial, labels, baseline)
    assert (accuracy.value, accuracy.n) == (0.98, 100)
    assert (accuracy.low, accuracy.high) == wilson(98, 100)
    # 7 images only the trial has right, 1 only the baseline.
    assert accuracy.p_vs_baseline == pytest.approx(0.0390625)
    assert summarise(baseline, labels, None).p_vs_baseline is None
    assert summarise(baseline, labels, baseline).p_vs_baseline == 1


def test_predictions_of_other_images_are_refused():
    with pytest.raises(StepError, match=r"cover \[3, 4\] images"):
        summarise(_predictions([0] * 3), np.zeros(4, np.int64), None)
    with pytest.raises(StepError, match=r"cover \[2, 3\] images"):
        summarise(_predictions([0] * 3), np.zeros(3, np.int64), _predictions([0] * 2))
