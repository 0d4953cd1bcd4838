"""The one training loop: checkpoints, finetuning after pruning and distillation all run it with another loss."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from engine.compress.losses import Batch, Loss, cross_entropy
from engine.compress.torch_device import device, from_array, from_inputs, half_precision
from engine.cores import share_torch_threads
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Array, Split
from engine.errors import StepError
from engine.graph.inputs import NamedArrays, Shape, Signature, is_array, shape_of
from engine.models.pruned import pruned_masks
from engine.models.shapes import check_images
from engine.models.torch_inputs import Tensors, blank_tensors, call
from engine.spec.steps import Finetune


def _augmented(inputs: Array, mirrored: Tensor, pixels: int, generator: torch.Generator) -> Array:
    """Stored images (n, channels, height, width), mirrored where told, each moved by an offset of its own of up to `pixels`.

    Done before preprocessing, on bytes where images are stored so. What moves in repeats the edge, which fits any background.
    """
    images = np.where(mirrored.numpy().reshape(-1, *[1] * (inputs.ndim - 1)), inputs[..., ::-1], inputs)
    if pixels == 0:
        return images
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), mode="edge")
    crops = sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    dy, dx = torch.randint(2 * pixels + 1, (2, len(images)), generator=generator).numpy()
    moved: Array = crops[np.arange(len(images)), :, dy, dx]
    return moved


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train. `learning_rate` is the peak of a one-cycle schedule (Smith & Topin 2018, arXiv:1708.07120).

    `freeze_bn_epochs`: for so many last epochs the batch-norm statistics stay as they are and are used as in inference, which
    networks that apply one block several times need: training statistics differ from pass to pass, stored ones cannot.
    `dropout`: without it no random number is drawn from torch's global generator, which all threads of a process share.
    `mirror`: half of the images, drawn anew each time, are mirrored; `shift_pixels`: each is moved by up to so many pixels.
    `largest_gradient`: longer gradients are shortened to this (Pascanu et al. 2013, arXiv:1211.5063).
    """

    epochs: int
    learning_rate: float = 0.1
    batch_size: int = 256
    weight_decay: float = 5e-4
    warmup: float = 0.2
    shift_pixels: int = 0
    mirror: bool = True
    samples: int | None = None
    freeze_bn_epochs: int = 0
    dropout: bool = True
    largest_gradient: float | None = None


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def _set_mode(network: nn.Module, frozen_norms: bool, dropout: bool) -> None:
    """Training mode, but for what the schedule keeps as in inference."""
    network.train()
    for module in network.modules():
        is_random = type(module).__name__.endswith(("Dropout", "Dropout1d", "Dropout2d", "StochasticDepth"))
        if (frozen_norms and isinstance(module, _NORMS)) or (is_random and not dropout):
            module.eval()


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """The learning rate of an update (from 0) as a share of its peak: up from 1/25 by half a cosine, then down to next to nothing."""
    peak = max(1.0, warmup * steps - 1)
    if step <= peak:
        start, end, position = 1 / 25, 1.0, step / peak
    else:
        start, end, position = 1.0, 4e-6, (step - peak) / (steps - 1 - peak)
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2


SHIFT_PIXELS = 2
"""How far `augment: shift` moves an image at most."""


def augmentation(augment: str) -> dict[str, Any]:
    """A step's `augment` as fields of its schedule."""
    return {"mirror": augment != "none", "shift_pixels": SHIFT_PIXELS if augment == "shift" else 0}


_FUSED = ("cpu", "cuda", "mps")


def _optimizer(parameters: Sequence[nn.Parameter], schedule: Schedule) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; biases and batch norms do not decay."""
    return torch.optim.SGD(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        momentum=0.9,
        nesterov=True,
        # One call for all tensors takes a quarter of the time that a loop over them does.
        fused=device().type in _FUSED,
    )


def train(
    network: nn.Module,
    split: Split,
    preprocessing: Preprocessing,
    schedule: Schedule,
    seed: int,
    loss: Loss = cross_entropy,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
    after_step: Callable[[], None] = lambda: None,
    loss_parameters: Sequence[nn.Parameter] = (),
    mixed: bool = True,
) -> nn.Module:
    """Train `network` in place on `split` with SGD, on the calling thread's device, and return it there, in evaluation mode.

    `mixed`: where the device is faster so, its products are in half precision; weights, loss and their updates stay float32.

    With `schedule.samples` each epoch draws that many images anew. `after_step` is called after every update of the weights.
    `loss_parameters` are what the loss itself learns, by the same schedule. The result depends on `seed` and, in its last digits, on the
    cores that each step was computed on (floating-point sums are not associative), nothing else, unless the network itself draws random
    numbers. Raises StepError when the loss is no longer a number, and for a network whose parameters are all frozen.
    """
    if schedule.dropout:
        torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    # Several inputs have no mirror image: they are trained on as they are.
    mirrors = (schedule.mirror or schedule.shift_pixels > 0) and is_array(split.inputs)
    if mirrors and is_array(split.inputs):
        check_images(split.inputs.shape[1:])
    layout = memory_format(network, shape_of(preprocessing(split.inputs[:1])))
    network = network.to(device()).to(memory_format=layout)
    labels = from_array(np.ascontiguousarray(split.labels))
    # Text, which a loss on tensors cannot read, stays with the metric.
    readable = split.targets is not None and split.targets.dtype.kind != "U"
    targets = from_array(np.ascontiguousarray(split.targets)) if readable else None
    half = half_precision() if mixed else None
    # Small gradients would vanish in float16.
    scaler = torch.amp.GradScaler(device().type, enabled=half == torch.float16)
    per_epoch = min(schedule.samples or len(split), len(split))
    batches = -(-per_epoch // schedule.batch_size)
    learned = [p for p in network.parameters() if p.requires_grad]
    if not learned:
        raise StepError("there is nothing to train: every parameter of the network is frozen (requires_grad is False)")
    optimizer = _optimizer([*learned, *loss_parameters], schedule)
    for epoch in range(schedule.epochs):
        _set_mode(network, schedule.epochs - epoch <= schedule.freeze_bn_epochs, schedule.dropout)
        order = torch.randperm(len(split), generator=generator)[:per_epoch]
        losses: list[tuple[Tensor, int]] = []
        for done, index in enumerate(torch.split(order, schedule.batch_size), epoch * batches):
            share_torch_threads()
            if len(index) == 1 < per_epoch:
                continue  # Batch norm cannot take the statistics of a single value.
            mirrored = torch.rand(len(index), generator=generator) < (0.5 if schedule.mirror and mirrors else 0.0)
            stored = split.inputs[index.numpy()]
            if not isinstance(stored, NamedArrays) and mirrors:
                stored = _augmented(stored, mirrored, schedule.shift_pixels, generator)
            images = from_inputs(preprocessing(stored))
            images = images if isinstance(images, dict) else images.contiguous(memory_format=layout)
            with torch.autocast(device().type, half) if half else nullcontext():
                logits = call(network, images)
            place = index.to(device())
            value = loss(
                logits.float(),
                Batch(place, mirrored.to(device()), labels[place], None if targets is None else targets[place]),
            )
            optimizer.zero_grad()
            torch.autograd.backward(scaler.scale(value))
            if schedule.largest_gradient is not None:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(learned, schedule.largest_gradient)
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * one_cycle(done, schedule.epochs * batches, schedule.warmup)
            scaler.step(optimizer)
            scaler.update()
            after_step()
            # Read at the end of the epoch: a GPU would be waited for at every step.
            losses.append((value.detach(), len(index)))
        total, seen = sum(value.item() * n for value, n in losses), sum(n for _, n in losses)
        if not math.isfinite(total):
            raise _Diverged(
                f"training diverged in epoch {epoch + 1}; use a learning_rate below {schedule.learning_rate:g}"
            )
        on_epoch(epoch + 1, total / seen)
    return network.eval()


class _Diverged(StepError):
    """The loss is no number any more."""


# Up to this rate gradients are taken as they come, whatever the network.
_SAFE_RATE = 0.02
_SHORTENED = 1.0


def has_batch_norm(network: nn.Module) -> bool:
    """Whether something keeps signals in size while weights move."""
    return any(isinstance(layer, (*_NORMS, nn.BatchNorm3d)) for layer in network.modules())


def largest_gradient(rate: float, network: nn.Module) -> float | None:
    """To what a student's gradients are shortened at a learning rate: to length 1 in networks without batch norms.

    series_transformer at half its depth, fresh, 20 epochs: at 0.1, the usual rate, 71.5 % of test series right as they come and 97.8 %
    shortened; at 0.02 97.8 % as they come.
    """
    return None if has_batch_norm(network) or rate <= _SAFE_RATE else _SHORTENED


class _Convolutions(TorchFunctionMode):
    """Notes the filters, strides and groups of every 2-D convolution that is called while it is on, by a module or by a function."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.conv2d, F.conv2d):
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            stride = args[3] if len(args) > 3 else kwargs.get("stride", 1)
            self.seen.append((tuple(weight.shape), (stride,) if isinstance(stride, int) else tuple(stride)))
        return func(*args, **kwargs)


def memory_format(network: nn.Module, input_shape: Shape) -> torch.memory_format:
    """`channels_last`, in which CPUs train fastest, or `contiguous_format` for a network with a layer that torch gets wrong otherwise.

    On CPUs with AVX2 and without AVX-512, the gradient of the weights of a 1×1 convolution with stride 2 and 2 to 7 input channels is
    written past its buffer in `channels_last` (torch 2.14.1, oneDNN 3.12): the process dies of a corrupted heap some steps later. Not seen
    with 1, 8, 9, 12 and 15 channels, with stride 1 or 3, with larger kernels, or in the contiguous layout. The network decides, not the
    CPU: the same network is trained in the same way everywhere. `ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2` shows it on any x86.
    """
    if isinstance(input_shape, Signature) or len(input_shape) != 3:
        return torch.contiguous_format  # the other is of images alone
    # A copy looks at the blank image: a network may remember what it sees.
    with torch.inference_mode(), _Convolutions() as called:
        call(copy.deepcopy(network).eval(), blank(network, input_shape))
    narrow = any(shape[1] < 8 and shape[2:] == (1, 1) and max(stride) > 1 for shape, stride in called.seen)
    return torch.contiguous_format if narrow else torch.channels_last


def reuses_batch_norm(network: nn.Module, input_shape: Shape) -> bool:
    """Whether some batch norm is applied more than once per image, so that its training statistics differ from pass to pass."""
    calls: Counter[int] = Counter()

    def count(module: nn.Module, inputs: object, output: object) -> None:
        calls[id(module)] += 1

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, _NORMS)]
    with torch.inference_mode():
        call(network.eval(), blank(network, input_shape))
    for hook in hooks:
        hook.remove()
    return max(calls.values(), default=0) > 1


def blank(network: nn.Module, input_shape: Shape) -> Tensors:
    """An input of zeros, (1, *input_shape), where the network is."""
    return blank_tensors(input_shape, 1, next(network.parameters(), torch.zeros(0)).device)


def zero_keeper(network: nn.Module) -> Callable[[], None]:
    """A function that sets weights that a prune step took out back to zero; other weights that are zero now are free to learn."""
    masks = list(pruned_masks(network).values())

    def keep() -> None:
        with torch.no_grad():
            for parameter, mask in masks:
                parameter.masked_fill_(mask, 0.0)

    return keep


def apply(
    step: Finetune,
    network: nn.Module,
    data: Dataset,
    seed: int,
    on_epoch: Callable[[int, float], None] = lambda epoch, mean_loss: None,
    loss: Loss = cross_entropy,
    on_note: Callable[[str], None] = lambda note: None,
) -> nn.Module:
    """A copy of `network` trained on; what a prune step set to zero stays zero.

    Where a network without batch norms diverges at a small rate it is trained again from the start with gradients of length 1 at most, and
    `on_note` is told. Raises StepError when training diverges all the same.
    """
    whole, network = network, copy.deepcopy(network).to(device())
    schedule = Schedule(
        epochs=step.epochs,
        learning_rate=step.learning_rate,
        samples=step.samples,
        batch_size=64,
        freeze_bn_epochs=step.epochs if reuses_batch_norm(network, data.input_shape) else 0,
        dropout=False,
        **augmentation(step.augment),
    )
    keep_zeros = zero_keeper(network)
    try:
        train(network, data.train, data.preprocessing, schedule, seed, loss, on_epoch, keep_zeros)
    except _Diverged:
        if has_batch_norm(network) or step.learning_rate > _SAFE_RATE:
            raise
        network = copy.deepcopy(whole).to(device())
        schedule = replace(schedule, largest_gradient=_SHORTENED)
        train(network, data.train, data.preprocessing, schedule, seed, loss, on_epoch, zero_keeper(network))
        on_note("training diverged with gradients as they come; they were shortened to length 1")
    return network.cpu()
