"""Distillation: a student learns from what a teacher says of the same images, beside the labels or instead of them.

Softened logits: Hinton et al. 2015, arXiv:1503.02531. Features: Chen et al. 2022, "Improved feature distillation via projector
ensemble" (NeurIPS, arXiv:2210.15274), with one projector: a learned adapter takes the student's features into the teacher's space,
where their directions are compared; it is dropped afterwards.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.compress.finetune import (
    Schedule,
    augmentation,
    blank,
    largest_gradient,
    reuses_batch_norm,
    train,
    zero_keeper,
)
from engine.compress.losses import Batch, Loss, cross_entropy, distillation_loss, scaled_error, spread_of
from engine.compress.pruning.channels import narrowed
from engine.compress.teacher import TeacherOutputs
from engine.compress.torch_device import device, from_array
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.graph.inputs import Shape, is_array
from engine.models.sources import Network, build_student, taken_student
from engine.models.torch_inputs import as_tensors, call
from engine.spec.steps import Distill


def feature_loss(features: Tensor, teacher: Tensor, adapter: Tensor) -> Tensor:
    """`1 - cos(adapter · student, teacher)`, the mean over images; (n, s), (n, t) and (t, s).

    Half the squared distance of the two unit vectors, the direction alignment of arXiv:2210.15274.
    """
    return (1 - F.cosine_similarity(F.linear(features, adapter), teacher, dim=1)).mean()


def classifier_of(network: nn.Module, input_shape: Shape, num_classes: int) -> nn.Module:
    """The last linear layer or convolution that runs; raises StepError where that does not give the classes."""
    ran: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: ran.append(module))
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    with torch.inference_mode():
        call(network.eval(), blank(network, input_shape))
    for hook in hooks:
        hook.remove()
    if not ran or len(ran[-1].weight) != num_classes:  # type: ignore[arg-type]
        raise StepError(
            f"feature_weight: this student's classifier, a linear layer or convolution with {num_classes} outputs that runs last, "
            "was not found; use feature_weight 0"
        )
    return ran[-1]


class _Taught:
    """The loss of one training: labels or targets, the teacher's outputs and its features, each by its weight.

    `task`: the loss beside the teacher's outputs where that is not the cross-entropy of labels; `classes`: whether outputs are scores.
    """

    def __init__(
        self, step: Distill, student: Network, outputs: TeacherOutputs, seed: int, task: Loss | None, classes: bool
    ) -> None:
        self._step, self._task, self._classes = step, task, classes
        self._logits = from_array(outputs.logits)
        self._spread = 1.0 if classes else spread_of(self._logits[0])
        self._adapter: nn.Parameter | None = None
        if step.feature_weight and outputs.features is not None:
            self._attach(student, from_array(outputs.features), seed)

    def _attach(self, student: Network, targets: Tensor, seed: int) -> None:
        """Watch what the student's classifier reads, and make the adapter that takes it to the teacher's features."""
        self._targets = targets
        # Features behind a ReLU all point much the same way; what tells images apart is the difference from the mean.
        self._mean = targets[0].mean(0, dtype=torch.float32)
        origin = student.origin
        classifier = classifier_of(student.module, origin.input_shape, origin.num_classes)
        width = int(classifier.weight.shape[1])  # type: ignore[index]
        start = torch.randn(targets.shape[2], width, generator=torch.Generator().manual_seed(seed))
        self._adapter = nn.Parameter((start / math.sqrt(width)).to(device()))
        self._hook = classifier.register_forward_pre_hook(self._watch)

    def _watch(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0].float()
        self._seen = features.mean((2, 3)) if features.ndim == 4 else features

    def __call__(self, logits: Tensor, batch: Batch) -> Tensor:
        view = batch.mirrored.long()
        step = self._step
        teacher = self._logits[view, batch.index].float()
        if self._classes and self._task is cross_entropy:
            loss = distillation_loss(logits, teacher, batch.labels, step.temperature, step.alpha)
        else:
            loss = self._of_teacher(logits, teacher, batch.labels)
            if self._task is not None and step.alpha < 1:
                loss = step.alpha * loss + (1 - step.alpha) * self._task(logits, batch)
        if self._adapter is not None:
            target = self._targets[view, batch.index].float() - self._mean
            loss = loss + step.feature_weight * feature_loss(self._seen, target, self._adapter)
        return loss

    def _of_teacher(self, outputs: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        if self._classes:
            return distillation_loss(outputs, teacher, labels, self._step.temperature, 1.0)
        return scaled_error(outputs, teacher, self._spread)

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """What is learned beside the student."""
        return () if self._adapter is None else (self._adapter,)

    def close(self) -> None:
        """Leave the student as it was but for its weights."""
        if self._adapter is not None:
            self._hook.remove()


def apply(
    step: Distill,
    data: Dataset,
    seed: int,
    outputs: TeacherOutputs | None = None,
    network: Network | None = None,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
    loss: Loss | None = cross_entropy,
) -> Network:
    """A student trained on a teacher's outputs.

    `loss` is what is learnt beside the teacher's outputs, or alone; None for these alone. `outputs` are those on the first images of
    `data.train`, as many as `step.images_needed` or more, with the mirror view unless `step.augment` is none, and with features where the
    step weighs them; None for a step without a teacher. `network` is what student `current` goes on from, or for student `self` the sweep's
    own, of which nothing but how it was built is used, unless its layers are taken (`step.start`).

    A fresh student's initialisation, the order of its images and their augmentation depend on `seed` alone, so the same step with
    alpha = 0 and feature_weight = 0 shows what the teacher is worth. A shifted image gets what the teacher said of the unshifted
    one. Of student `current` what was pruned stays zero. Raises ModelError for a student that cannot be built, StepError for outputs
    that do not fit and when training diverges.
    """
    student = _student(step, data, seed, network)
    student.module.to(device())
    images = data.train.head(step.images_needed)
    taught = None
    if step.has_teacher:
        checked = _checked(step, outputs, len(images), data)
        taught = _Taught(step, student, checked, seed, loss, data.has_classes)
    # A network that applies one batch norm several times needs its stored statistics to be what it was trained with.
    frozen = step.epochs // 2 if step.is_fresh else step.epochs
    schedule = Schedule(
        epochs=step.epochs,
        learning_rate=step.learning_rate,
        samples=step.samples,
        batch_size=64,
        freeze_bn_epochs=frozen if reuses_batch_norm(student.module, data.input_shape) else 0,
        dropout=False,
        largest_gradient=largest_gradient(step.learning_rate, student.module),
        **augmentation(step.augment),
    )
    try:
        train(
            student.module,
            images,
            data.preprocessing,
            schedule,
            seed,
            taught or _alone(step, loss),
            on_epoch,
            zero_keeper(student.module),
            taught.parameters if taught else (),
        )
    finally:
        if taught:
            taught.close()
    student.module.cpu()
    return student


# Training samples on which a trained student is held against its teacher.
_HELD = 512
_FAR = 0.5


def far_off(step: Distill, student: Network, data: Dataset, outputs: TeacherOutputs | None) -> str | None:
    """What to say of a student whose training led nowhere near where it could; None where it led somewhere.

    Nowhere near: of classes, it agrees with its teacher, or with labels where it has none, on half of the training samples at most, or no
    more often than who always says the commonest; of values, half of what the teacher's vary by is left.
    """
    few = data.train.head(step.images_needed).head(_HELD)
    inputs, network = data.preprocessing(few.inputs), student.module.eval()
    with torch.no_grad():
        parts = [call(network, as_tensors(inputs[i : i + 64])).float() for i in range(0, len(few), 64)]
    found = torch.cat(parts)
    remedy = f"; use a learning_rate below {step.learning_rate:g}, or more epochs"
    if outputs is not None and not data.has_classes:
        said = torch.from_numpy(outputs.logits[0][: len(few)]).float()
        error = float(scaled_error(found, said, spread_of(said)))
        told = f"training ended far from its teacher: {error:.0%} of what its answers vary by is left, on training samples{remedy}"
        return told if not error < _FAR else None
    if not data.has_classes:
        return None
    wanted = few.labels if outputs is None else outputs.logits[0][: len(few)].argmax(1)
    if outputs is None and not few.is_labelled:
        return None
    right = float((found.argmax(1).numpy() == wanted).mean())
    common = float(np.bincount(wanted).max() / len(wanted))
    if right > max(_FAR, common):
        return None
    whom = "the teacher" if outputs is not None else "the labels"
    return (
        f"training ended far from where it could: the student agrees with {whom} on {right:.1%} of the training samples; always saying the "
        f"commonest class would on {common:.1%}{remedy}"
    )


def _student(step: Distill, data: Dataset, seed: int, network: Network | None) -> Network:
    """The network before training; a copy where it was given."""
    if step.is_taken:
        if network is None:
            raise StepError(
                "student 'self' with start: taken needs the network's own layers, and an ONNX file has none; use start: fresh"
            )
        return _taken(step, network)
    if step.is_fresh:
        own = None if network is None else network.origin
        return build_student(step.student, data, step.width, seed, step.depth, step.repeats, own)
    if network is None:
        raise StepError("student 'current' needs a torch network, and an ONNX file is none; use another student")
    return Network(copy.deepcopy(network.module), network.origin)


def _taken(step: Distill, network: Network) -> Network:
    """The network's own layers, and of each the channels that matter most."""
    shorter = taken_student(network, step.depth)
    if step.width == 1:
        return shorter
    return replace(shorter, module=narrowed(shorter.module, step.width, network.origin.input_shape).eval())


def _alone(step: Distill, loss: Loss | None) -> Loss:
    if loss is None:
        raise StepError("distill: without a teacher there must be labels or targets to learn from; give alpha above 0")
    return loss


def _checked(step: Distill, outputs: TeacherOutputs | None, images: int, data: Dataset) -> TeacherOutputs:
    """The outputs, once they are known to cover what the step reads of them; several inputs have no mirror view."""
    if outputs is None:
        raise StepError(f"distilling from {step.teacher} needs its outputs; compute them with teacher_outputs")
    views, covered, found = outputs.logits.shape
    if data.has_classes and found != len(data.classes):
        raise StepError(
            f"teacher {step.teacher} tells {found} classes apart, but the dataset has {len(data.classes)}; choose a teacher of its classes"
        )
    if (
        covered < images
        or views < 1 + (step.augment != "none" and is_array(data.train.inputs))
        or (step.feature_weight and outputs.features is None)
    ):
        raise StepError(
            f"teacher {step.teacher}: its outputs are of {covered} images in {views} views"
            f"{'' if outputs.features is not None else ', without features'}, not of the {images} that this step draws from; "
            "compute them again"
        )
    return outputs
