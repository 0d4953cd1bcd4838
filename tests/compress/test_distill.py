import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine.compress import distill
from engine.compress.distill import classifier_of, feature_loss
from engine.compress.losses import distillation_loss
from engine.compress.pruning.weights import prune_magnitude
from engine.compress.teacher import TeacherOutputs
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError, StepError
from engine.models.builders import Origin
from engine.models.sources import build_student, open_network, save_network
from engine.spec.steps import Distill, Prune

torch.set_num_threads(1)


def dataset(inputs, labels, classes=("a", "b", "c"), preprocessing=None) -> Dataset:
    split = Split(inputs, labels)
    return Dataset(
        "toy", "0" * 64, classes, preprocessing or Preprocessing(1.0, (0.0,), (1.0,)), split, split, split, split
    )


def noise(n=64, size=12) -> Dataset:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    return dataset(inputs, rng.integers(0, 3, n), preprocessing=Preprocessing(1 / 255, (0.5,), (0.3,)))


def outputs_for(data: Dataset, views=2, width: int | None = 5, n: int | None = None) -> TeacherOutputs:
    rng = np.random.default_rng(1)
    shape = views, len(data.train) if n is None else n
    features = None if width is None else rng.normal(2, 1, (*shape, width)).astype(np.float16)
    return TeacherOutputs(rng.normal(0, 2, (*shape, len(data.classes))).astype(np.float16), features)


DATA = noise()
TAUGHT = outputs_for(DATA)


def step(**knobs) -> Distill:
    return Distill(**{"student": "ds_cnn", "width": 0.1, "epochs": 1, **knobs})


def softmax(x):
    return np.exp(x) / np.exp(x).sum(1, keepdims=True)


@pytest.mark.parametrize(("temperature", "alpha"), [(4.0, 0.9), (1.0, 1.0), (2.5, 0.0)])
def test_loss_is_hintons_in_double_precision(temperature, alpha):
    rng = np.random.default_rng(0)
    student, teacher, labels = rng.normal(0, 3, (7, 5)), rng.normal(0, 3, (7, 5)), rng.integers(0, 5, 7)
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    divergence = (p * np.log(p / q)).sum(1).mean()
    entropy = -np.log(softmax(student)[np.arange(7), labels]).mean()
    expected = alpha * temperature**2 * divergence + (1 - alpha) * entropy
    tensors = torch.tensor(student), torch.tensor(teacher), torch.tensor(labels)
    assert float(distillation_loss(*tensors, temperature, alpha)) == pytest.approx(expected, rel=1e-12)


def test_feature_loss_and_its_gradients_are_those_of_the_cosine():
    rng = np.random.default_rng(0)
    arrays = rng.normal(0, 1, (6, 4)), rng.normal(0, 1, (6, 3)), rng.normal(0, 1, (3, 4))

    def reference(student, teacher, adapter):
        ours = student @ adapter.T
        return 1 - ((ours * teacher).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(teacher, axis=1)).mean()

    tensors = [torch.tensor(a, requires_grad=i != 1) for i, a in enumerate(arrays)]
    loss = feature_loss(*tensors)
    assert loss.item() == pytest.approx(reference(*arrays), rel=1e-12)
    loss.backward()
    for which in (0, 2):
        for at in np.ndindex(arrays[which].shape):
            ends = []
            for delta in (1e-6, -1e-6):
                moved = [a.copy() for a in arrays]
                moved[which][at] += delta
                ends.append(reference(*moved))
            assert float(tensors[which].grad[at]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_mirrored_images_are_taught_by_the_mirrored_view():
    """Mirroring changes the right answer here: a student that mixed the views up would be told contradictions."""
    rng = np.random.default_rng(0)
    sides = rng.integers(0, 2, 256)
    inputs = rng.normal(0, 0.5, (256, 1, 8, 8)).astype(np.float32)
    inputs[sides == 0, :, :, :3] += 2
    inputs[sides == 1, :, :, 5:] += 2
    answers = np.stack([sides, 1 - sides])
    data = dataset(inputs, 1 - sides, ("left", "right"))
    logits = np.where(answers[:, :, None] == np.arange(2), 4, -4).astype(np.float16)
    losses = []
    knobs = step(student="resnet8", width=0.25, epochs=6, alpha=1.0, temperature=1.0)
    student = distill.apply(knobs, data, 0, TeacherOutputs(logits, None), on_epoch=lambda _, x: losses.append(x))
    with torch.no_grad():
        found = student.module(torch.from_numpy(inputs)).argmax(1).numpy()
        mirrored = student.module(torch.from_numpy(inputs[..., ::-1].copy())).argmax(1).numpy()
    # The labels say the opposite of the teacher, and have no weight.
    assert (found == sides).mean() > 0.9
    assert (mirrored == 1 - sides).mean() > 0.9
    assert losses[-1] < 0.5 * losses[0]


class Watched(Preprocessing):
    """Remembers every batch that it was given."""

    def __call__(self, inputs):
        object.__setattr__(self, "seen", [*getattr(self, "seen", []), inputs.copy()])
        return super().__call__(inputs)


@pytest.mark.parametrize("augment", ["none", "mirror", "shift"])
def test_without_a_teacher_the_same_student_sees_the_same_images(augment):
    seen, starts = [], []
    for knobs in ({}, {"feature_weight": 1.0}, {"alpha": 0.0}):
        watched = Watched(**vars(DATA.preprocessing))
        # So slow that the weights that come out are those that went in.
        knobs = {"epochs": 2, "samples": 40, "augment": augment, "learning_rate": 1e-12, **knobs}
        student = distill.apply(step(**knobs), replace(DATA, preprocessing=watched), 3, TAUGHT)
        # One image at a time tells what a network reads.
        seen.append(np.concatenate([images for images in watched.seen if len(images) > 1]))
        starts.append(torch.cat([p.flatten() for p in student.module.parameters()]))
    assert len(seen[0]) == 80
    for other, start in zip(seen[1:], starts[1:], strict=True):
        assert np.array_equal(other, seen[0])
        torch.testing.assert_close(start, starts[0], rtol=0, atol=1e-7)
    built = build_student("ds_cnn", DATA, 0.1, 3).module.parameters()
    torch.testing.assert_close(starts[0], torch.cat([p.flatten() for p in built]), rtol=0, atol=1e-7)


def test_alpha_zero_needs_no_teacher_and_features_alone_do():
    alone = distill.apply(step(alpha=0.0), DATA, 0)
    taught = distill.apply(step(alpha=0.0, feature_weight=1.0), DATA, 0, TAUGHT)
    weights = [n.module.state_dict()["0.0.weight"] for n in (alone, taught)]
    assert not torch.equal(*weights)


def test_features_are_learned_through_an_adapter_that_is_dropped(tmp_path):
    """Two features per image that the labels know nothing of: the student's own come to tell them."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(0, 0.3, (256, 1, 8, 8)).astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi, 256)
    inputs[:, 0, :, :4] += np.cos(angle)[:, None, None]
    inputs[:, 0, :, 4:] += np.sin(angle)[:, None, None]
    data = dataset(inputs, rng.integers(0, 3, 256))
    directions = 7 + np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float16)[None]
    outputs = TeacherOutputs(np.zeros((1, 256, 3), np.float16), directions)
    losses = []
    knobs = step(student="resnet8", width=0.25, alpha=0.0, feature_weight=10.0, epochs=6, augment="none")
    student = distill.apply(knobs, data, 0, outputs, on_epoch=lambda _, x: losses.append(x))
    # Cross-entropy of labels at random stays at ln 3; the rest is ten times the distance of the directions, about 10 at first.
    assert losses[-1] < np.log(3) + 1.5 < losses[0]
    fresh = build_student("resnet8", data, 0.25, 0)
    assert list(student.module.state_dict()) == list(fresh.module.state_dict())
    assert not any(module._forward_pre_hooks for module in student.module.modules())
    save_network(student, tmp_path / "s.safetensors")
    images = torch.from_numpy(inputs[:4])
    torch.testing.assert_close(open_network(tmp_path / "s.safetensors").module(images), student.module(images))


def test_the_seed_decides_the_student():
    first, again, other = (distill.apply(step(feature_weight=1.0), DATA, seed, TAUGHT) for seed in (1, 1, 2))
    states = [n.module.state_dict() for n in (first, again, other)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["0.0.weight"], states[2]["0.0.weight"])
    assert first.origin == build_student("ds_cnn", DATA, 0.1, 1).origin
    assert not first.module.training


def matrices(network):
    return [p.detach() for p in network.parameters() if p.ndim > 1]


def test_distilling_into_a_pruned_network_keeps_its_zeros_and_its_weights():
    current = build_student("ds_cnn", DATA, 0.5, 0)
    module = current.module
    prune_magnitude(Prune(method="magnitude", ratio=0.5, allocation="uniform"), module, None)
    before = copy.deepcopy(module.state_dict())
    knobs = {"student": "current", "width": 1.0, "epochs": 2}
    still = distill.apply(step(**knobs, learning_rate=1e-12), DATA, 0, TAUGHT, current)
    trained = distill.apply(step(**knobs, feature_weight=0.5), DATA, 0, TAUGHT, current)
    for old, same, new in zip(*(matrices(m) for m in (module, still.module, trained.module)), strict=True):
        torch.testing.assert_close(same, old, rtol=0, atol=1e-7)
        assert torch.equal(new == 0, old == 0)
        assert not torch.equal(new, old)
    assert all(torch.equal(t, before[k]) for k, t in module.state_dict().items())
    assert trained.origin == current.origin


def test_a_recursive_student_ends_with_the_statistics_it_was_trained_with():
    """What training saw in its last epoch is what inference sees: the stored batch-norm statistics."""
    seen, knobs = [], step(student="recursive_resnet", width=0.25, repeats=2, epochs=2, augment="none", alpha=1.0)
    student = distill.apply(knobs, DATA, 0, TAUGHT, on_epoch=lambda _, x: seen.append(x))
    assert student.origin.options == {"width": 0.25, "repeats": 2}
    with torch.no_grad():
        logits = student.module(torch.from_numpy(DATA.preprocessing(DATA.train.inputs)))
    labels, teacher = torch.from_numpy(DATA.train.labels), torch.from_numpy(TAUGHT.logits[0]).float()
    after = float(distillation_loss(logits, teacher, labels, 4.0, 1.0))
    assert after < 1.5 * seen[-1] + 0.5


def test_self_is_the_sweeps_own_network_scaled():
    own = build_student("resnet20", DATA, 1.0, 5)
    student = distill.apply(step(student="self", width=0.25, depth=1 / 3), DATA, 0, TAUGHT, own)
    assert student.origin == Origin(
        "resnet20", 3, DATA.input_shape, "random, seed 0", {"width": 0.25, "depth": pytest.approx(1 / 3)}
    )
    assert len(student.module) == 1 + 3 + 1


def test_the_images_that_are_drawn_from_are_known_beforehand():
    assert step(epochs=3).images_needed is None
    assert step(epochs=3, samples=10).images_needed == 30
    few = outputs_for(DATA, n=30)
    distill.apply(step(epochs=3, samples=10), DATA, 0, few)
    with pytest.raises(StepError, match="its outputs are of 30 images in 2 views, not of the 40 that"):
        distill.apply(step(epochs=4, samples=10), DATA, 0, few)


@pytest.mark.parametrize(
    ("knobs", "outputs", "message"),
    [
        ({}, None, "distilling from baseline needs its outputs"),
        ({}, outputs_for(replace(DATA, classes=tuple("abcd"))), "tells 4 classes apart, but the dataset has 3"),
        ({"augment": "mirror"}, outputs_for(DATA, views=1), "in 1 views, not of the 64"),
        ({"feature_weight": 1.0}, outputs_for(DATA, width=None), "in 2 views, without features"),
        ({"student": "current", "width": 1.0}, TAUGHT, "'current' needs a torch network"),
    ],
)
def test_what_does_not_fit_is_one_line(knobs, outputs, message):
    with pytest.raises(StepError, match=message) as caught:
        distill.apply(step(**knobs), DATA, 0, outputs)
    assert "\n" not in str(caught.value)


def test_unknown_students_are_one_line():
    with pytest.raises(ModelError, match="did you mean 'ds_cnn'"):
        distill.apply(Distill(student="ds_cnnn"), DATA, 0, TAUGHT)
    with pytest.raises(ModelError, match="'self': the sweep's network is an ONNX file"):
        distill.apply(Distill(student="self"), DATA, 0, TAUGHT)


class Branching(nn.Module):
    """Whose last layer to run gives no classes."""

    def __init__(self):
        super().__init__()
        self.classifier, self.gate = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, x):
        x = x.flatten(1)
        return self.classifier(x) * self.gate(x)


def test_the_classifier_is_the_last_layer_that_runs():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    assert classifier_of(network, (1, 2, 2), 3) is network[2]
    pooled = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert classifier_of(pooled, (1, 2, 2), 3) is pooled[1]
    for strange in (Branching(), nn.Flatten()):
        with pytest.raises(StepError, match=r"3 outputs that runs last, was not found; use feature_weight 0"):
            classifier_of(strange, (1, 2, 2), 3)
