"""What the loss does when a part of one layer goes, and how much of each layer to take for the least damage.

Li et al. 2017 (arXiv:1608.08710) measure such curves layer by layer and prune the sensitive ones less, by eye. Here the part that each
layer loses is the one that raises the loss least for what it saves, at one price for all layers: the optimum if increases added up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.compress.losses import batch_of, task_loss
from engine.compress.torch_device import device, from_inputs
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.models.torch_inputs import call

Floats = npt.NDArray[np.float64]
Loss = Callable[[nn.Module], float]

# Images to tell a sensitive layer from another: the same ones each time, so that little noise is left in a difference.
_IMAGES = 256
_BATCH = 64
# Loss per whole network, as powers of ten; no removal is worth the lowest, any the highest.
_PRICES = (-7.0, 5.0)


def validation_loss(data: Dataset | None) -> Loss:
    """The task's mean loss (of classes: cross-entropy) on the first few hundred validation images, as a function of a network in evaluation
    mode. Raises StepError without data.
    """
    if data is None:
        raise StepError("prune: allocation sensitivity measures the loss on validation images; use allocation uniform")
    split = data.validation.head(_IMAGES)
    task = task_loss(data, {"source": "task"})
    assert task is not None
    inputs, starts = data.preprocessing(split.inputs), range(0, len(split), _BATCH)
    batches = [(from_inputs(inputs[i : i + _BATCH]), batch_of(split, i, i + _BATCH)) for i in starts]

    def loss(network: nn.Module) -> float:
        there = network if device().type == "cpu" else copy.deepcopy(network).to(device())
        with torch.no_grad():
            total = sum(len(batch.labels) * float(task(call(there, x), batch)) for x, batch in batches)
        return total / len(split)

    return loss


def rising(shares: Sequence[float], increases: Sequence[float]) -> tuple[Floats, Floats]:
    """A curve from measured points: shares (k + 2,) of a layer that go, 0 to 1, and by how much the loss rises, never falling.

    Where all of a layer goes nothing is measured; twice the last increase is assumed. A loss that is no number is as bad as any.
    """
    measured = np.maximum.accumulate(np.nan_to_num([0.0, *increases], nan=1e9, posinf=1e9))
    return np.array([0.0, *shares, 1.0]), np.append(measured, 2 * measured[-1])


def least_damage(curve: tuple[Floats, Floats], options: Floats, savings: Floats, x: float) -> int:
    """Which of the rising shares `options` to take: the least loss once what each saves is paid for.

    The price rises with x in [0, 1]; for nothing, nothing is taken.
    """
    price = 10.0 ** (_PRICES[0] + x * (_PRICES[1] - _PRICES[0])) if x > 0 else 0.0
    return int(np.argmin(np.interp(options, *curve) - price * savings))
