"""Where torch computes for the calling thread: on the CPU, or on the GPU that its worker has.

What is drawn at random is drawn on the CPU, so that a training sees the same images and starts from the same weights on either.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.graph.inputs import Inputs
from engine.models.torch_inputs import Tensors, as_tensors


class _Calling(threading.local):
    name = "cpu"


_calling = _Calling()


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Compute on a device, `cpu`, `cuda:0`, `mps`, in the calling thread for as long."""
    before, _calling.name = _calling.name, name
    if torch.device(name).type == "cuda":
        # Products in full float32 where that is asked for: rounding is simulated to the bit. Trainings are in half of that anyway.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        _calling.name = before


def device() -> torch.device:
    """The calling thread's."""
    return torch.device(_calling.name)


def from_array(array: npt.NDArray[Any]) -> Tensor:
    """A tensor on the device; on the CPU it shares the array's memory."""
    return torch.from_numpy(array).to(device())


def from_inputs(inputs: Inputs) -> Tensors:
    """As `from_array`, of one array or several by name."""
    return as_tensors(inputs, device())


def to_array(tensor: Tensor) -> npt.NDArray[Any]:
    """The inverse of `from_array`."""
    return np.asarray(tensor.detach().cpu().numpy())


def new_tensors_there() -> AbstractContextManager[object]:
    """For as long, tensors that are made without saying where are made on the device; nothing may be drawn at random."""
    return nullcontext() if _calling.name == "cpu" else device()


def half_precision() -> torch.dtype | None:
    """What a training's products are in, where the device is faster so and torch knows which of them bear it; None for float32."""
    if device().type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
