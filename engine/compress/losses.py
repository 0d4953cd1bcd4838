"""What a training makes small: the difference from labels or targets, that from the baseline's own outputs, or a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.compress.torch_device import from_array
from engine.datasets.dataset import Dataset
from engine.datasets.splits import UNLABELLED, Split
from engine.datasets.user_function import called, load_function
from engine.errors import StepError
from engine.quality.task_scores import same_axes


@dataclass(frozen=True)
class Batch:
    """What a loss may look at beside the outputs: positions in the split (n,), whether each was mirrored (n,), labels (n,), and targets (n,
    …) where these are no classes.
    """

    index: Tensor
    mirrored: Tensor
    labels: Tensor
    targets: Tensor | None = None


def batch_of(split: Split, start: int, end: int) -> Batch:
    """The samples from `start` to `end`, none mirrored, where the calling thread computes."""
    labels = from_array(np.ascontiguousarray(split.labels[start:end]))
    index = torch.arange(start, start + len(labels), device=labels.device)
    targets = None
    if split.targets is not None and split.targets.dtype.kind != "U":
        targets = from_array(np.ascontiguousarray(split.targets[start:end]))
    return Batch(index, torch.zeros_like(index, dtype=torch.bool), labels, targets)


Loss = Callable[[Tensor, Batch], Tensor]
"""(outputs (n, classes) or (n, …), batch) -> scalar."""


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """The plain supervised loss."""
    return F.cross_entropy(logits, batch.labels)


def distillation_loss(logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float) -> Tensor:
    """`alpha T² KL(teacher/T ‖ student/T) + (1 - alpha) CE(labels)`, the mean over images of logits (n, classes).

    T² keeps the two gradients' sizes comparable. Images without labels, all -1, learn from the teacher alone. Softened logits: Hinton et
    al. 2015, arXiv:1503.02531.
    """
    target = F.log_softmax(teacher / temperature, dim=1)
    soft = F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="batchmean", log_target=True)
    if alpha == 1 or bool((labels == UNLABELLED).all()):
        return temperature**2 * soft
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(logits, labels)


def scaled_error(outputs: Tensor, wanted: Tensor, spread: float) -> Tensor:
    """Mean squared difference of (n, …) and (n, …) as a share of `spread`, what is wanted varies by: of any unit the same rates fit."""
    return (outputs.flatten(1) - wanted.flatten(1)).square().mean() / spread


def spread_of(wanted: Tensor) -> float:
    """The variance of what is wanted (n, …) over samples, the mean over numbers; 1 where nothing varies."""
    found = float(wanted.double().flatten(1).var(dim=0, correction=0).mean())
    return found if found > 0 else 1.0


def task_loss(data: Dataset, choice: Mapping[str, Any] | None) -> Loss | None:
    """What a node's `loss` makes small beside, or instead of, a teacher's outputs; None where it is these alone.

    Without a choice, labels of classes. Raises StepError where there is nothing to be right about, and for a function that cannot be
    loaded.
    """
    source = "task" if choice is None else choice["source"]
    if source == "imitation" or (choice is None and not data.train.is_labelled):
        return None
    if source == "task":
        return _by_task(data)
    function = load_function(source, "loss")

    def own(outputs: Tensor, batch: Batch) -> Tensor:
        wanted = batch.labels if batch.targets is None else batch.targets
        found = called(source, "loss", function, outputs, wanted)
        if not isinstance(found, Tensor) or found.numel() != 1 or not found.requires_grad:
            shown = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise StepError(f"loss {source} returned {shown}; return one number, a torch tensor made of the outputs")
        return found.reshape(())

    return own


def _by_task(data: Dataset) -> Loss:
    if data.has_classes:
        if not data.train.is_labelled:
            raise StepError("loss: task needs labels, but the data have none; write loss: imitation")
        return cross_entropy
    targets = data.train.targets
    if targets is None or targets.dtype.kind != "f":
        raise StepError(
            "loss: task is known of classes and of values, but these targets are neither; write loss: imitation, or "
            "path/to/file.py:function(outputs, targets)"
        )
    spread, shape = spread_of(torch.from_numpy(targets)), targets.shape

    def error(outputs: Tensor, batch: Batch) -> Tensor:
        if batch.targets is None or outputs[:1].numel() != targets[:1].size:
            raise StepError(
                f"loss: task compares outputs with targets of {targets[:1].size} numbers, but there are {outputs[:1].numel()}"
            )
        if not same_axes(tuple(outputs.shape), shape):
            raise StepError(
                f"loss: task compares outputs {tuple(outputs.shape[1:])} with targets {shape[1:]}; make them alike"
            )
        return scaled_error(outputs, batch.targets, spread)

    return error


def imitation(data: Dataset, said: Tensor) -> Loss:
    """The difference from what the baseline says of every view and sample, (views, n, …): of classes, in their probabilities."""
    spread = 1.0 if data.has_classes else spread_of(said[0])

    def error(outputs: Tensor, batch: Batch) -> Tensor:
        wanted = said[batch.mirrored.long(), batch.index].float()
        if data.has_classes:
            return F.kl_div(F.log_softmax(outputs, 1), F.log_softmax(wanted, 1), reduction="batchmean", log_target=True)
        return scaled_error(outputs, wanted, spread)

    return error
