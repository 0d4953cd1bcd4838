"""What trainings make small."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from engine.compress.losses import Batch, batch_of, imitation, scaled_error, spread_of, task_loss
from engine.datasets.load import load_dataset
from engine.errors import StepError
from engine.spec.sections import Data

X = np.random.default_rng(0).normal(0, 1, (60, 4)).astype(np.float32)


def data_of(folder, y):
    np.savez(folder / "d.npz", x=X, y=y)
    return load_dataset(Data(source=str(folder / "d.npz"), task="other" if y.ndim > 2 else None))


def test_errors_of_values_have_no_unit(tmp_path):
    for unit in (1.0, 1000.0):
        data = data_of(tmp_path, unit * X[:, :2])
        loss = task_loss(data, {"source": "task"})
        batch = batch_of(data.train, 0, 8)
        wanted = torch.from_numpy(data.train.targets[:8])
        assert float(loss(wanted, batch)) == 0
        off = wanted + unit * 0.5
        assert float(loss(off, batch)) == pytest.approx(0.25 / (data.train.targets / unit).var(axis=0).mean(), rel=1e-4)


def test_a_baseline_is_imitated_view_by_view(tmp_path):
    data = data_of(tmp_path, X[:, 0])
    said = torch.arange(8.0).reshape(2, 4, 1)
    batch = Batch(torch.tensor([1, 3]), torch.tensor([False, True]), torch.tensor([-1, -1]))
    loss = imitation(data, said)
    assert float(loss(torch.tensor([[1.0], [7.0]]), batch)) == 0
    assert float(loss(torch.tensor([[2.0], [7.0]]), batch)) == pytest.approx(0.5 / spread_of(said[0]))
    classes = dataclasses.replace(data, task="classification")
    logits = torch.randn(1, 4, 5)
    batch = Batch(torch.tensor([0, 2]), torch.tensor([False, False]), torch.tensor([-1, -1]))
    # Scores of classes are the same up to a constant.
    assert float(imitation(classes, logits)(logits[0, [0, 2]] + 3, batch)) == pytest.approx(0, abs=1e-6)


def test_without_a_choice_labels_of_classes_are_learnt_and_of_values_nothing(tmp_path):
    labelled = data_of(tmp_path, np.arange(60) % 3)
    assert task_loss(labelled, None) is not None
    assert task_loss(labelled, {"source": "imitation"}) is None
    assert task_loss(data_of(tmp_path, X[:, 0]), None) is None


def test_a_function_of_the_users_own(tmp_path):
    (tmp_path / "mine.py").write_text("def far(outputs, targets):\n    return (outputs[:, 0] - targets).abs().max()\n")
    data = data_of(tmp_path, X[:, 0])
    loss = task_loss(data, {"source": f"{tmp_path / 'mine.py'}:far", "code": "x"})
    batch = batch_of(data.train, 0, 5)
    outputs = (batch.targets[:, None] + 2).requires_grad_()
    assert loss(outputs, batch).item() == pytest.approx(2)
    loss(outputs, batch).backward()
    assert outputs.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return outputs", r"returned \(5, 1\); return one number, a torch tensor made of the outputs"),
        ("return outputs.detach().mean()", "return one number, a torch tensor made of the outputs"),
        ("return outputs.no_such_thing()", r"failed: AttributeError: .* \(mine.py, line 2\)"),
    ],
)
def test_what_a_function_gets_wrong_is_one_line(tmp_path, body, message):
    (tmp_path / "mine.py").write_text(f"def f(outputs, targets):\n    {body}\n")
    data = data_of(tmp_path, X[:, 0])
    loss = task_loss(data, {"source": f"{tmp_path / 'mine.py'}:f"})
    with pytest.raises(StepError, match=message):
        loss(torch.zeros(5, 1, requires_grad=True), batch_of(data.train, 0, 5))


def test_what_the_task_does_not_tell_is_one_line(tmp_path):
    with pytest.raises(StepError, match="known of classes and of values, but these targets are neither"):
        task_loss(data_of(tmp_path, np.arange(240).reshape(60, 2, 2) % 3), {"source": "task"})
    data = data_of(tmp_path, X[:, :2])
    with pytest.raises(StepError, match="compares outputs with targets of 2 numbers, but there are 3"):
        task_loss(data, {"source": "task"})(torch.zeros(4, 3), batch_of(data.train, 0, 4))


def test_as_many_numbers_in_another_order_are_refused(tmp_path):
    data = data_of(tmp_path, np.random.default_rng(0).normal(0, 1, (60, 2, 3)))
    data = dataclasses.replace(data, task="regression")
    with pytest.raises(StepError, match=r"outputs \(3, 2\) with targets \(2, 3\); make them alike"):
        task_loss(data, {"source": "task"})(torch.zeros(4, 3, 2), batch_of(data.train, 0, 4))


def test_what_never_varies_has_no_spread():
    assert spread_of(torch.ones(5, 2)) == 1.0
    assert float(scaled_error(torch.ones(5, 2), torch.zeros(5, 2), 4.0)) == 0.25
