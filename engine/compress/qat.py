"""Quantization-aware training on an ONNX graph: the rounding stays in place while weights, biases and step sizes learn.

Training starts from the post-training result. Convolutions get a batch norm back (one that changes nothing at first), so that the network
trains at the rates that it was trained with; towards the end its statistics freeze, and what is trained is the file's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.compress.finetune import Batch, Loss, Schedule, train, zero_keeper
from engine.compress.quantize import make_scheme, prepare
from engine.compress.rounding import learn_rounding
from engine.compress.scheme import Scheme
from engine.compress.simulate import Simulation
from engine.compress.write import write
from engine.datasets import Dataset
from engine.onnx_graph import graph_inputs, open_session
from engine.steps import Quantize

BATCH = 64
"""Images per step."""
_WEIGHT_DECAY = 1e-4
# The share of all steps after which batch-norm statistics stay as they are.
_BATCH_STATISTICS_SHARE = 0.5
# How much the float network's own outputs weigh in the loss, beside the labels; and how much they are softened.
_TEACHER_SHARE = 0.5
_TEMPERATURE = 2.0
# Learned rounding starts better the more it sees; more than this many images change little.
_ROUNDING_IMAGES = 512


class _FloatLogits:
    """The float graph's logits on the training images, plain and mirrored, each computed when first asked for and kept."""

    def __init__(self, model: onnx.ModelProto, data: Dataset) -> None:
        self._session = open_session(model, threads=torch.get_num_threads())
        self._input = graph_inputs(model)[0].name
        self._data = data
        self._logits = torch.full((2, len(data.train), len(data.classes)), torch.nan)

    def __call__(self, batch: Batch) -> Tensor:
        """Logits (n, classes) for the images of a batch."""
        view = batch.mirrored.long()
        missing = self._logits[view, batch.index, 0].isnan()
        if bool(missing.any()):
            index, mirrored = batch.index[missing], batch.mirrored[missing].numpy()
            images = self._data.preprocessing(self._data.train.inputs[index.numpy()])
            images = np.where(mirrored[:, None, None, None], images[..., ::-1], images)
            (logits,) = self._session.run(None, {self._input: images})
            self._logits[view[missing], index] = torch.from_numpy(logits)
        return self._logits[view, batch.index]


def self_distillation(teacher: Callable[[Batch], Tensor], share: float, temperature: float) -> Loss:
    """`share T² KL(float/T ‖ rounded/T) + (1 - share) CE(labels)` (Hinton et al. 2015, arXiv:1503.02531)."""

    def loss(logits: Tensor, batch: Batch) -> Tensor:
        target = F.log_softmax(teacher(batch) / temperature, dim=1)
        soft = F.kl_div(F.log_softmax(logits / temperature, dim=1), target, reduction="batchmean", log_target=True)
        return share * temperature**2 * soft + (1 - share) * F.cross_entropy(logits, batch.labels)

    return loss


def start_scheme(
    step: Quantize, prepared: onnx.ModelProto, data: Dataset, bits: Mapping[str, int] | None = None
) -> Scheme:
    """Where training starts, for a graph that `prepare` made: the result of learned rounding; `bits` as for `make_scheme`."""
    images = data.preprocessing(data.calibration.head(max(step.calibration_samples, _ROUNDING_IMAGES)).inputs)
    return learn_rounding(make_scheme(step, prepared, images[: step.calibration_samples], bits), images)


def train_scheme(
    step: Quantize,
    scheme: Scheme,
    data: Dataset,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
) -> Scheme:
    """The scheme with weights, biases and step sizes trained on `data.train`; zeros in its weights stay zero."""
    simulation = Simulation(scheme)
    calibration = data.preprocessing(data.calibration.head(step.calibration_samples).inputs)
    simulation.insert_norms(torch.from_numpy(calibration))
    assert step.epochs is not None
    assert step.learning_rate is not None
    schedule = Schedule(
        epochs=step.epochs,
        learning_rate=step.learning_rate,
        batch_size=BATCH,
        weight_decay=_WEIGHT_DECAY,
        samples=step.samples,
        # Mirroring images that have a left and a right cost a point (see engine/steps.py on `augment`).
        mirror=False,
        dropout=False,
    )
    per_epoch = -(-min(step.samples or len(data.train), len(data.train)) // BATCH)
    left = int(step.epochs * per_epoch * _BATCH_STATISTICS_SHARE)
    keep_zeros = zero_keeper(simulation)

    def after_step() -> None:
        nonlocal left
        keep_zeros()
        simulation.keep_positive()
        left -= 1
        if left == 0:
            simulation.freeze_norms()

    if left == 0:
        simulation.freeze_norms()
    loss = self_distillation(_FloatLogits(scheme.model, data), _TEACHER_SHARE, _TEMPERATURE)
    # Scales and biases that are no longer numbers are told by the loss, at the end of the epoch.
    with np.errstate(invalid="ignore"):
        train(simulation, data.train, data.preprocessing, schedule, seed, loss, on_epoch, after_step)
    return simulation.result()


def train_quantized(
    step: Quantize,
    model: onnx.ModelProto,
    data: Dataset,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
    bits: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """A float graph -> the integer network trained with its rounding in place.

    `bits`: by weight initialiser of the prepared graph, where they differ from what the step says. Raises StepError for graphs that cannot
    be quantized or trained, and when training diverges.
    """
    scheme = start_scheme(step, prepare(model), data, bits)
    return write(train_scheme(step, scheme, data, seed, on_epoch))
