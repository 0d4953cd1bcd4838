"""One image through one file: the answer is the one that a sweep counted, and mistakes are one line."""

import numpy as np
import pytest

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.errors import StepError
from engine.explain import playground
from engine.explain.playground import answer, softmax
from engine.export.opened import HowToAsk, Opened, of_trial
from engine.export.predict_template import BundleError
from engine.measure.session import Runner
from engine.store.artifacts import Artifacts
from engine.store.store import Store


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(playground, "RUNS", 3)


def opened(number):
    """A trial of the shipped example, ready to answer, and its file."""
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    trial = store.trials(row.id)[number]
    path = Artifacts.open().local(trial.artifact)
    return Opened(path, of_trial(trial, store.spec(row.id), load_fashion_mnist())), path


class Told:
    """A network that gives what it is told."""

    names, name = ["scores"], "told.onnx"

    def __init__(self, say, labels, fixed=0):
        self.say, self.labels, self.fixed = say, labels, fixed

    def fed(self, stored):
        return stored

    def run(self, inputs):
        return [self.say(inputs[""])]


def test_the_answers_are_those_that_the_sweep_counted(home, quick):
    """On 40 test images, in the example's baseline and int8 file: as many right as in a batch through the same runtime."""
    data = load_fashion_mnist()
    for number in (0, 1):
        model, path = opened(number)
        together = Runner(path, 1)(data.preprocessing(data.test.inputs[:40])).argmax(axis=1)
        for i in range(40):
            assert answer(model, data.test.inputs[i : i + 1], False).predicted == data.classes[together[i]]


def test_shares_are_sorted_and_named(home, quick):
    found = answer(opened(0)[0], load_fashion_mnist().test.inputs[:1], False)
    shares = [share for _, share in found.top]
    assert len(found.top) == 5
    assert shares == sorted(shares, reverse=True)
    assert found.confidence == shares[0]
    assert sum(shares) <= 1 + 1e-9
    assert found.milliseconds > 0
    assert (found.runs, found.batch) == (3, 1)


def test_an_image_of_the_wrong_shape_and_too_few_classes_are_one_line(home, quick):
    model, _ = opened(0)
    with pytest.raises(BundleError, match="the model cannot run on these inputs"):
        answer(model, np.zeros((1, 1, 9, 9), np.uint8), False)
    model.labels = ("a", "b", "c")
    with pytest.raises(StepError, match="3 scores are needed"):
        answer(model, load_fashion_mnist().test.inputs[:1], False)


def test_a_file_that_is_no_model_is_one_line(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(BundleError, match="cannot be loaded"):
        Opened(path, HowToAsk({}, (), {"graph_optimisation": "all", "provider": "CPU"}))


def test_softmax_takes_certain_answers_and_refuses_what_is_no_number():
    assert softmax(np.array([np.inf, 0.0]), "m").tolist() == [1.0, 0.0]
    assert softmax(np.array([3.0, 3.0]), "m").tolist() == [0.5, 0.5]
    with pytest.raises(StepError, match="NaN"):
        softmax(np.array([np.nan, 0.0]), "m")


def test_a_file_that_insists_on_a_batch_gets_one(quick):
    def say(images):
        assert len(images) == 4
        return images.reshape(4, -1)[:, :3].astype(np.float32)

    found = answer(Told(say, ("a", "b", "c"), fixed=4), load_fashion_mnist().test.inputs[:1], False)
    assert found.batch == 4


def test_slow_networks_are_run_fewer_times(monkeypatch, quick):
    monkeypatch.setattr(playground, "LONGEST_S", 0.0)
    slow = Told(lambda _: np.zeros((1, 2), np.float32), ("a", "b"))
    assert answer(slow, load_fashion_mnist().test.inputs[:1], False).runs == 1


def test_shares_are_shown_as_the_file_gives_them(quick):
    sure = Told(lambda _: np.array([[0.9, 0.1, 0.0]], np.float32), ("a", "b", "c"))
    for known in (True, False):
        found = answer(sure, load_fashion_mnist().test.inputs[:1], known)
        assert found.confidence == pytest.approx(0.9, abs=0.05)
