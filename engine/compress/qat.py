"""Quantization-aware training on an ONNX graph: the rounding stays in place while weights, biases and step sizes learn.

Training starts from the post-training result, and what is trained is the file's own arithmetic, batch norms folded. (Batch norms put back
for training, with statistics that freeze half-way, were tried: no better from learned rounding, and a quarter slower.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from engine.compress.finetune import Schedule, train, zero_keeper
from engine.compress.losses import Batch, Loss, cross_entropy, distillation_loss, scaled_error, spread_of
from engine.compress.pruning.exported import Mask, pruned_in_graph
from engine.compress.pruning.weights import zeros_note
from engine.compress.quantization.rounding import learn_rounding
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import Quantized, make_scheme, prepare
from engine.compress.teacher import teacher_outputs
from engine.compress.torch_device import from_array
from engine.datasets.dataset import Dataset
from engine.datasets.splits import Split
from engine.graph.inputs import Shape
from engine.spec.steps import Quantize

BATCH = 64
"""Images per step."""
_WEIGHT_DECAY = 1e-4
# Without batch norms a single bad step may be the end of a network; typical gradients are shorter than this.
_LARGEST_GRADIENT = 1.0
# How much the float network's own outputs weigh in the loss, beside the labels; and how much they are softened.
_TEACHER_SHARE = 0.5
_TEMPERATURE = 2.0
# Learned rounding starts better the more it sees; more than this many images change little.
_ROUNDING_IMAGES = 512
# Training that did harm is told on so many images of `validation`, and only where chance hardly explains it.
_JUDGED_ON = 1000
_Z_99 = 2.576


def calibrates(step: Quantize) -> int:
    """On how many samples the rounding that training starts from is learnt."""
    return max(step.calibration_samples, _ROUNDING_IMAGES)


def start_scheme(
    step: Quantize, prepared: onnx.ModelProto, data: Dataset, bits: Mapping[str, int] | None = None
) -> Scheme:
    """Where training starts, for a graph that `prepare` made: the result of learned rounding; `bits` as for `make_scheme`."""
    images = data.preprocessing(data.calibrating(calibrates(step)).inputs)
    scheme = make_scheme(step, prepared, images[: step.calibration_samples], bits)
    Simulation(scheme)  # refuses, before anything is learned, what torch cannot train
    return learn_rounding(scheme, images)


def train_scheme(
    step: Quantize,
    scheme: Scheme,
    data: Dataset,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
    pruned: Mapping[str, Mask] | None = None,
    task: Loss | None = cross_entropy,
) -> Scheme:
    """The scheme with weights, biases and step sizes trained on `data.train`; what is True in `pruned` stays zero (`pruned_in_graph`).

    Half of the loss is what the float network says, the other half `task`; all of it for None.
    """
    assert step.epochs is not None
    assert step.learning_rate is not None
    simulation = Simulation(scheme)
    simulation.mark_pruned(pruned or {})
    images = data.train if step.samples is None else data.train.head(step.epochs * step.samples)
    values = not data.has_classes
    teacher = teacher_outputs(scheme.model, images, data.preprocessing, mirrored=False, features=False, values=values)
    logits = from_array(teacher.logits[0])
    spread = spread_of(logits) if values else 1.0
    schedule = Schedule(
        epochs=step.epochs,
        learning_rate=step.learning_rate,
        batch_size=BATCH,
        weight_decay=_WEIGHT_DECAY,
        samples=step.samples,
        # Mirroring images that have a left and a right cost a point (see engine/spec/steps.py on `augment`).
        mirror=False,
        dropout=False,
        largest_gradient=_LARGEST_GRADIENT,
    )
    keep_zeros = zero_keeper(simulation)

    def loss(found: Tensor, batch: Batch) -> Tensor:
        wanted = logits[batch.index].float()
        if not values and task is cross_entropy:
            return distillation_loss(found, wanted, batch.labels, _TEMPERATURE, _TEACHER_SHARE)
        alike = (
            scaled_error(found, wanted, spread)
            if values
            else distillation_loss(found, wanted, batch.labels, _TEMPERATURE, 1.0)
        )
        return alike if task is None else _TEACHER_SHARE * alike + (1 - _TEACHER_SHARE) * task(found, batch)

    def after_step() -> None:
        keep_zeros()
        simulation.keep_positive()

    # Scales and biases that are no longer numbers are told by the loss, at the end of the epoch.
    with np.errstate(invalid="ignore"):
        # In float32 on every device: the rounding that is trained for is the file's, to the bit.
        train(simulation, images, data.preprocessing, schedule, seed, loss, on_epoch, after_step, mixed=False)
    return simulation.result()


def note(model: onnx.ModelProto) -> str | None:
    """What a user should know of zeros in a float graph that came as a file: nobody can tell whether they were pruned."""
    prepared = prepare(model)
    stored = {t.name: t for t in prepared.graph.initializer}
    names = {layer.weight for layer in find_layers(prepared.graph.node, weight_names(prepared.graph))}
    weights = [numpy_helper.to_array(stored[name]) for name in names]
    return zeros_note(sum(int((w == 0).sum()) for w in weights), sum(w.size for w in weights))


def _said(file: onnx.ModelProto, images: Split, data: Dataset) -> npt.NDArray[np.floating[Any]]:
    values = not data.has_classes
    found: npt.NDArray[np.floating[Any]] = teacher_outputs(
        file, images, data.preprocessing, False, False, values=values
    ).logits[0]
    return found


def harm_note(exact: onnx.ModelProto, start: onnx.ModelProto, trained: onnx.ModelProto, data: Dataset) -> str | None:
    """What to tell where the trained file is worse on `data.validation` than the one that training began with; None where it is not.

    Worse: no more right of up to 1,000 images, and a larger cross-entropy, the 99 % interval of the paired difference above 0; counts of
    right alone would miss it in a small split. Where nobody told the classes, right is what the float network, `exact`, says.
    """
    images = data.validation.head(_JUDGED_ON)
    if not data.has_classes:
        return _value_harm(exact, start, trained, images, data)
    right, entropy = [], []
    labels = images.labels if images.is_labelled else _said(exact, images, data).argmax(1).astype(np.int64)
    for file in (start, trained):
        logits = _said(file, images, data)
        right.append(int((logits.argmax(1) == labels).sum()))
        wanted = torch.from_numpy(labels)
        entropy.append(F.cross_entropy(torch.from_numpy(logits).double(), wanted, reduction="none").numpy())
    difference = entropy[1] - entropy[0]
    if right[1] > right[0] or difference.mean() <= _Z_99 * difference.std() / math.sqrt(len(difference)):
        return None
    return (
        f"training made it worse on validation ({right[1]} right of {len(images)}, {right[0]} before), so it is as before training; try a "
        "lower learning_rate or more images"
    )


def _value_harm(
    exact: onnx.ModelProto, start: onnx.ModelProto, trained: onnx.ModelProto, images: Split, data: Dataset
) -> str | None:
    """As `harm_note`, of values: a larger squared error against the float network's outputs."""
    wanted = _said(exact, images, data).astype(np.float64)
    errors = [np.square(_said(file, images, data) - wanted).mean(axis=1) for file in (start, trained)]
    difference = errors[1] - errors[0]
    if difference.mean() <= _Z_99 * difference.std() / math.sqrt(len(difference)):
        return None
    return (
        f"training took it further from the float network on validation (mean squared difference {errors[1].mean():.3g}, "
        f"{errors[0].mean():.3g} before), so it is as before training; try a lower learning_rate or more samples"
    )


def train_quantized(
    step: Quantize,
    model: onnx.ModelProto,
    data: Dataset,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
    bits: Mapping[str, int] | None = None,
    network: nn.Module | None = None,
    taken: Shape | None = None,
    task: Loss | None = cross_entropy,
) -> Quantized:
    """A float graph -> the integer network trained with its rounding in place, or the untrained one where training did harm.

    `bits`: by weight initialiser of the prepared graph, where they differ from what the step says. `network`: what the graph was exported
    from, whose pruned weights stay zero; of a file nobody knows which were pruned; `taken`: what it takes, where that is less than the
    graph does. Raises StepError for graphs that cannot
    be quantized or trained, and when training diverges.
    """
    prepared = prepare(model)
    pruned = pruned_in_graph(network, taken or data.input_shape, prepared) if network is not None else {}
    scheme = start_scheme(step, prepared, data, bits)
    start, trained = write(scheme), write(train_scheme(step, scheme, data, seed, on_epoch, pruned, task))
    harm = harm_note(prepared, start, trained, data)
    return Quantized(trained if harm is None else start, note=harm)
