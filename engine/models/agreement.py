"""Whether an exported graph answers as the network does that it was traced from, on real images.

A trace keeps the operations that one blank image went through. What Python decides by values of tensors (an `if`, the length of a loop, a
number taken out of a tensor) is fixed in it as it was for that image; what it decides by shapes alone is the same for every image.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.errors import ModelError
from engine.graph.graph import fixed_batch, open_session
from engine.graph.inputs import Feeds, Inputs, resized, shape_of
from engine.graph.states import counted, states_of
from engine.models import narrow
from engine.models.remembering import opened, remembering
from engine.models.shapes import noun
from engine.models.torch_inputs import as_tensors, call

AGREES = 0.01
"""Logits agree within this share of the largest; rounding makes a hundredth of it, another branch many times as much."""
# Images in one batch, and alone; more where values decide what is computed.
_FEW, _MANY = (16, 4), (100, 32)
_STEPS = 3
_READS = {
    getattr(Tensor, name)
    for name in ("__bool__", "__int__", "__float__", "__index__", "__array__", "item", "tolist", "numpy")
}
_TORCH = str(Path(torch.__file__).parent)
# Between whoever reads a value and the note of it.
_BETWEEN = {__file__, narrow.__file__, torch.overrides.__file__, torch._tensor.__file__}


class _ValuesRead(TorchFunctionMode):
    """Notes where, while it is on, Python takes values out of tensors: `net.py, line 14`.

    Shapes are numbers already, and not seen. What torch's own modules look at (whether a mask is causal, say) is torch's business.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in _READS:
            frame: Any = sys._getframe()
            while frame.f_code.co_filename in _BETWEEN:
                frame = frame.f_back
            place = f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
            file = frame.f_code.co_filename
            # What becomes of a graph reads shapes, and constants.
            if not file.startswith(_TORCH) and f"{os.sep}onnx2torch{os.sep}" not in file and place not in self.places:
                self.places.append(place)
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Compared:
    """`differ` of `tried` samples got other answers, by `worst` of their largest number at most; `places` are where Python read values."""

    worst: float
    differ: int
    tried: int
    places: tuple[str, ...]


def compared(model: onnx.ModelProto, network: nn.Module, images: Inputs, within: float = AGREES) -> Compared:
    """Holds a graph against a network, in evaluation mode, on images (n, …): answers differ by more than `within` of the largest.

    They are tried in one batch, and some of them alone; in batches of what the graph fixes, where it does. A network that draws random
    numbers when it answers, of which the exporter makes one that does not, is not compared.
    """
    session, feeds, fixed = open_session(model), Feeds.of_graph(model), fixed_batch(model)
    names, hooks = counted(model), remembering(network)
    with torch.no_grad(), _ValuesRead() as read:
        for few in (images[:2], images[:1]) if not fixed else (resized(images, fixed),):
            call(network, as_tensors(few))
    worst, differ, tried = 0.0, 0, 0
    together, alone = _MANY if read.places else _FEW
    for batch in _batches(images, together, alone) if not fixed else _of(images[:together], fixed):
        with torch.no_grad():
            expected, again = (_rows(call(network, as_tensors(batch)).float().numpy()) for _ in range(2))
        size = np.abs(expected).max(1)
        if not np.isfinite(expected).all() or (np.abs(expected - again).max(1) > within * size).any():
            continue  # not trained to numbers, which measuring it tells; or random
        # Of the image's own largest logit, unless that is next to nothing beside those of others.
        size = np.maximum(size, max(1e-3 * float(size.max()), 1e-6))
        given = session.run(names, feeds(batch))
        found = given[0] if hooks is None or len(given) == 1 else hooks.together(list(map(torch.from_numpy, given)))
        off = np.abs(_rows(np.asarray(found)) - expected).max(1) / size
        worst, differ, tried = max(worst, float(off.max())), differ + int((off > within).sum()), tried + len(off)
    return Compared(worst, differ, tried, tuple(read.places))


def check_agreement(model: onnx.ModelProto, network: nn.Module, images: Inputs) -> str | None:
    """What to know of an exported graph beside that it answers as its network does on images (n, …), compared as by `compared`.

    Raises ModelError, with the place of the branch where there is one, where the two disagree.
    """
    found = compared(model, network, images)
    where, word = " and ".join(found.places[:3]), noun(shape_of(images))
    if found.differ:
        why = (
            f"a branch, loop or number made of values, at {where}, is fixed in the export as it is for a blank input; write it with "
            "torch.where, or take it out of forward"
            if where
            else "something that it does to the values has no equal in ONNX; write forward with other tensor operations"
        )
        raise ModelError(
            f"the exported graph does not answer as the network does, for {found.differ} of {found.tried} {word} by more than {AGREES:.0%} "
            f"of the largest logit (at worst {100 * found.worst:.3g} %): {why}"
        )
    if not where:
        return None
    return (
        f"the network takes values out of tensors at {where}: the export fixes what follows from them as it is for a blank input, which "
        f"was right for the {found.tried} {word} tried"
    )


def check_stream(model: onnx.ModelProto, network: nn.Module, images: Inputs) -> None:
    """A graph with states against its network in a stream, each fed what it gave before: outputs and states, on three samples of two.

    Raises ModelError where they differ.
    """
    hooks, states = remembering(network), states_of(model)
    if hooks is None or not states:
        return
    session, feeds = open_session(model), Feeds.of_graph(model)
    names = [*counted(model), *(state.output for state in states)]
    held: dict[str, Tensor] = {}
    fed: dict[str, npt.NDArray[Any]] = {}
    for step in range(_STEPS):
        batch = resized(images, 2 * _STEPS)[2 * step : 2 * step + 2]
        tensors = as_tensors(batch)
        with torch.no_grad(), opened(network):
            given = network(**tensors, **held) if isinstance(tensors, dict) else network(tensors, **held)
        found = session.run(names, feeds(batch) | fed)
        for name, one, other in zip(names, given, found, strict=True):
            expected = one.numpy()
            size = max(float(np.abs(expected).max(initial=0)), 1e-6)
            if expected.shape != other.shape or not (np.abs(expected - other) <= AGREES * size).all():
                raise ModelError(
                    f"the exported graph does not answer as the network does in a stream: {name!r} differs at step {step + 1}; make its "
                    "states of tensor operations alone"
                )
        back = dict(zip(names, zip(given, found, strict=True), strict=True))
        held = {state.input: back[state.output][0] for state in states}
        fed = {state.input: back[state.output][1] for state in states}


def _rows(outputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return outputs.reshape(len(outputs), -1)


def _of(images: Inputs, fixed: int) -> Iterator[Inputs]:
    """Batches of one size, the last of which begins again with the first images."""
    whole = resized(images, -(-len(images) // fixed) * fixed)
    return (whole[i : i + fixed] for i in range(0, len(whole), fixed))


def _batches(images: Inputs, together: int, alone: int) -> Iterator[Inputs]:
    yield images[:together]
    for i in range(min(alone, len(images))):
        yield images[i : i + 1]
