import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.compress import distill
from engine.compress.distill import TeacherLogits, distillation_loss
from engine.compress.finetune import Batch
from engine.datasets import Dataset, Preprocessing, Split
from engine.errors import ModelError
from engine.models.builders import Origin
from engine.models.sources import Network, build_student
from engine.spec import Distill

torch.set_num_threads(1)


def images(n=64) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (n, 1, 12, 12), dtype=np.uint8), rng.integers(0, 3, n))
    return Dataset(
        "noise", "0" * 64, ("a", "b", "c"), Preprocessing(1 / 255, (0.5,), (0.3,)), split, split, split, split
    )


DATA = images()


class Counting(nn.Module):
    """A linear teacher that counts the images it is shown."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(144, 3)
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.linear(x.flatten(1))


def teacher() -> Network:
    return Network(Counting(), Origin("net.py:build", 3, (1, 12, 12), "random"))


def test_loss_is_hintons():
    logits, wanted = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[0.2, 3.0, -1.0]])
    batch = Batch(torch.tensor([0]), torch.tensor([False]), torch.tensor([1]))
    loss = distillation_loss(lambda index, mirrored: wanted, temperature=4.0, alpha=0.9)(logits, batch)
    p, q = F.softmax(wanted / 4, 1), F.softmax(logits / 4, 1)
    expected = 0.9 * 16 * float((p * (p / q).log()).sum()) - 0.1 * float(F.softmax(logits, 1)[0, 1].log())
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_teacher_is_asked_once_for_each_view():
    network = teacher()
    cached = TeacherLogits(network, DATA)
    index = torch.tensor([3, 5, 3, 9])
    mirrored = torch.tensor([False, True, True, False])
    first = cached(index, mirrored)
    assert network.module.seen == 4
    assert torch.equal(cached(index, mirrored), first)
    cached(torch.tensor([3, 5]), torch.tensor([True, False]))
    assert network.module.seen == 5
    pixels = torch.from_numpy(DATA.preprocessing(DATA.train.inputs))
    views = torch.stack([pixels[3], pixels[5].flip(-1), pixels[3].flip(-1), pixels[9]])
    torch.testing.assert_close(first, network.module(views).detach())


def test_many_epochs_cost_the_teacher_two_views_of_each_image_at_most():
    network = teacher()
    distill.apply(Distill(student="ds_cnn", width=0.1, epochs=6), network, DATA, 0)
    assert len(DATA.train) < network.module.seen <= 2 * len(DATA.train)


def test_alpha_zero_never_runs_the_teacher():
    network = teacher()
    distill.apply(Distill(student="ds_cnn", width=0.1, epochs=1, alpha=0), network, DATA, 0)
    assert network.module.seen == 0


def test_samples_caps_what_the_teacher_sees():
    network = teacher()
    distill.apply(Distill(student="ds_cnn", width=0.1, epochs=1, samples=16), network, DATA, 0)
    assert network.module.seen == 16


class Stripes(nn.Module):
    """Tells horizontal from vertical stripes; needs no training."""

    def forward(self, x):
        rows, columns = (x.mean(d).abs().mean((1, 2)) for d in (3, 2))
        return 5 * torch.stack([rows - columns, columns - rows], 1)


def test_student_learns_what_the_teacher_says_not_the_labels():
    """Every label is wrong; a student of alpha = 1 agrees with its teacher all the same."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256)
    inputs = rng.normal(0, 1, (256, 1, 8, 8)).astype(np.float32)
    wave = np.tile([2.0, -2.0], 4).astype(np.float32)
    inputs[labels == 0, 0] += wave[:, None]
    inputs[labels == 1, 0] += wave[None, :]
    split = Split(inputs, 1 - labels)
    data = Dataset("stripes", "0" * 64, ("h", "v"), Preprocessing(1.0, (0.0,), (1.5,)), split, split, split, split)
    network, losses = Network(Stripes(), Origin("net.py:build", 2, (1, 8, 8), "none")), []
    step = Distill(student="ds_cnn", width=0.25, epochs=8, alpha=1.0)
    student = distill.apply(step, network, data, 0, on_epoch=lambda _, loss: losses.append(loss))
    pixels = torch.from_numpy(data.preprocessing(inputs))
    with torch.no_grad():
        assert (network.module(pixels).argmax(1).numpy() == labels).mean() > 0.95
        assert (student.module(pixels).argmax(1).numpy() == labels).mean() > 0.9
    assert losses[-1] < 0.5 * losses[0]


def test_student_comes_from_the_seed_and_leaves_the_teacher_alone():
    network = teacher()
    before = copy.deepcopy(network.module.state_dict())
    step = Distill(student="ds_cnn", width=0.5, epochs=1)
    first, again, other = (distill.apply(step, network, DATA, seed) for seed in (1, 1, 2))
    assert all(torch.equal(t, before[k]) for k, t in network.module.state_dict().items())
    states = [n.module.state_dict() for n in (first, again, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["0.0.weight"], states[2]["0.0.weight"])
    assert first.origin == build_student("ds_cnn", DATA, 0.5, 1).origin
    assert not first.module.training


def test_unknown_student_is_one_line():
    with pytest.raises(ModelError, match="did you mean 'ds_cnn'"):
        distill.apply(Distill(student="ds_cnnn"), teacher(), DATA, 0)
