"""One image through one file: the answer is the one that a sweep counted, and mistakes are one line."""

import numpy as np
import pytest

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.errors import StepError
from engine.explain import playground
from engine.explain.playground import answer, open_model, softmax
from engine.store.artifacts import Artifacts
from engine.store.store import Store


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(playground, "RUNS", 3)


def test_the_answers_are_those_that_the_sweep_counted(home, quick):
    """On 40 test images, in the example's baseline and int8 file: as many right as in a batch through the same runtime."""
    store, artifacts, data = Store.open(), Artifacts.open(), load_fashion_mnist()
    example = next(r for r in store.sweeps() if r.example)
    for trial in store.trials(example.id)[:2]:
        model = open_model(artifacts.local(trial.artifact))
        together = model.runner(data.preprocessing(data.test.inputs[:40])).argmax(axis=1)
        for i in range(40):
            found = answer(model, data.test.inputs[i : i + 1], data.preprocessing, data.classes)
            assert found.predicted == data.classes[together[i]]


def test_shares_are_sorted_and_named(home, quick):
    store, artifacts, data = Store.open(), Artifacts.open(), load_fashion_mnist()
    example = next(r for r in store.sweeps() if r.example)
    model = open_model(artifacts.local(store.trials(example.id)[0].artifact))
    found = answer(model, data.test.inputs[:1], data.preprocessing, data.classes)
    shares = [share for _, share in found.top]
    assert len(found.top) == 5
    assert shares == sorted(shares, reverse=True)
    assert found.confidence == shares[0]
    assert sum(shares) <= 1 + 1e-9
    assert found.milliseconds > 0
    assert (found.runs, found.batch) == (3, 1)


def test_an_image_of_the_wrong_shape_and_too_few_classes_are_one_line(home, quick):
    store, artifacts, data = Store.open(), Artifacts.open(), load_fashion_mnist()
    example = next(r for r in store.sweeps() if r.example)
    model = open_model(artifacts.local(store.trials(example.id)[0].artifact))
    with pytest.raises(StepError, match="does not run"):
        answer(model, np.zeros((1, 1, 9, 9), np.uint8), data.preprocessing, data.classes)
    with pytest.raises(StepError, match="3 scores are needed"):
        answer(model, data.test.inputs[:1], data.preprocessing, ("a", "b", "c"))


def test_a_file_that_is_no_model_is_one_line(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(StepError, match="cannot load"):
        open_model(path)


def test_softmax_takes_certain_answers_and_refuses_what_is_no_number():
    assert softmax(np.array([np.inf, 0.0]), "m").tolist() == [1.0, 0.0]
    assert softmax(np.array([3.0, 3.0]), "m").tolist() == [0.5, 0.5]
    with pytest.raises(StepError, match="NaN"):
        softmax(np.array([np.nan, 0.0]), "m")


def test_a_file_that_insists_on_a_batch_gets_one(quick):
    class Fixed:
        fixed_batch, name = 4, "fixed.onnx"

        def __call__(self, images):
            assert len(images) == 4
            return images.reshape(4, -1)[:, :3]

    data = load_fashion_mnist()
    found = answer(playground.Model(Fixed(), False), data.test.inputs[:1], data.preprocessing, ("a", "b", "c"))
    assert found.batch == 4


def test_slow_networks_are_run_fewer_times(monkeypatch, quick):
    monkeypatch.setattr(playground, "LONGEST_S", 0.0)
    data = load_fashion_mnist()

    class Slow:
        fixed_batch, name = None, "slow.onnx"

        def __call__(self, images):
            return np.zeros((1, 2), np.float32)

    assert answer(playground.Model(Slow(), False), data.test.inputs[:1], data.preprocessing, ("a", "b")).runs == 1


def test_shares_are_shown_as_the_file_gives_them(quick):
    class Sure:
        fixed_batch, name = None, "sure.onnx"

        def __call__(self, images):
            return np.array([[0.9, 0.1, 0.0]], np.float32)

    data = load_fashion_mnist()
    for known in (True, False):
        found = answer(playground.Model(Sure(), known), data.test.inputs[:1], data.preprocessing, ("a", "b", "c"))
        assert found.confidence == pytest.approx(0.9, abs=0.05)
