"""Distillation: a smaller network learns from the large one's outputs (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.compress.finetune import Batch, Loss, Schedule, cross_entropy, reuses_batch_norm, train
from engine.datasets import Dataset
from engine.models.sources import Network, build_student
from engine.spec import Distill


class TeacherLogits:
    """A teacher's logits on the training images, each image plain and mirrored, computed when first asked for and kept.

    Distillation uses no other augmentation, so an image has two views only and a further epoch costs the student's time alone.
    """

    def __init__(self, teacher: Network, data: Dataset) -> None:
        self._module = teacher.module.eval()
        self._data = data
        self._logits = torch.full((2, len(data.train), teacher.origin.num_classes), torch.nan)

    def __call__(self, index: Tensor, mirrored: Tensor) -> Tensor:
        """Positions (n,) and views (n,), True for mirrored -> logits (n, classes)."""
        view = mirrored.long()
        missing = self._logits[view, index, 0].isnan()
        if bool(missing.any()):
            self._compute(index[missing], view[missing])
        return self._logits[view, index]

    def _compute(self, index: Tensor, view: Tensor) -> None:
        images = torch.from_numpy(self._data.preprocessing(self._data.train.inputs[index.numpy()]))
        images = torch.where(view.bool()[:, None, None, None], images.flip(-1), images)
        with torch.no_grad():
            logits = self._module(images.contiguous(memory_format=torch.channels_last))
        self._logits[view, index] = logits


def distillation_loss(teacher: Callable[[Tensor, Tensor], Tensor], temperature: float, alpha: float) -> Loss:
    """`alpha T² KL(teacher/T ‖ student/T) + (1 - alpha) CE(labels)`; T² keeps the two gradients' sizes comparable."""

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        target = F.log_softmax(teacher(batch.index, batch.mirrored) / temperature, dim=1)
        soft = F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="batchmean", log_target=True)
        return alpha * temperature**2 * soft + (1 - alpha) * cross_entropy(logits, batch)

    return loss


def apply(
    step: Distill,
    teacher: Network,
    data: Dataset,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
) -> Network:
    """A student initialised from `seed` and trained on the teacher's outputs; with alpha = 0 the teacher is never run.

    Raises ModelError for an unknown student, StepError when training diverges.
    """
    student = build_student(step.student, data, step.width, seed)
    schedule = Schedule(
        epochs=step.epochs,
        learning_rate=step.learning_rate,
        samples=step.samples,
        batch_size=64,
        # A student that applies one batch norm several times needs its stored statistics to be what it was trained with.
        freeze_bn_epochs=step.epochs // 2 if reuses_batch_norm(student.module, data.input_shape) else 0,
        dropout=False,
    )
    loss = (
        cross_entropy
        if step.alpha == 0
        else distillation_loss(TeacherLogits(teacher, data), step.temperature, step.alpha)
    )
    train(student.module, data.train, data.preprocessing, schedule, seed, loss, on_epoch)
    return student
