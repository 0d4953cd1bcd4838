"""What a user's network answers to a few samples, however it came: an ONNX file in ONNX Runtime, anything else in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import first_line, fixed_batch, gives_shares, graph_inputs, open_session
from engine.models.catalog import source_kind
from engine.models.files import load_file, taken_by
from engine.models.fits import agrees
from engine.spec.sections import Model

if TYPE_CHECKING:
    from engine.models.sources import Network as LoadedNetwork

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
BATCH = 50

Network = Callable[[Float32], Float64]
"""Inputs (n, …) as the network reads them -> scores (n, classes), logits or the logarithms of shares; values (n, …) as they are."""


def layouts_of(model: Model, stored: tuple[int, ...]) -> tuple[str, ...]:
    """In which order of axes a network may read items that are stored as (channels, …); both where its shape leaves that open.

    A graph says what it reads. Raises ModelError for a file that cannot be read.
    """
    moved = (*stored[1:], stored[0])
    if not model.is_onnx or len(stored) < 2:
        return ("NCHW",)
    taken = taken_by(Path(model.source))
    found = tuple(name for name, shape in (("NCHW", stored), ("NHWC", moved)) if agrees(taken, shape))
    return found or ("NCHW",)


def open_answers(model: Model, data: Dataset) -> tuple[Network, bool]:
    """The network, ready to answer, and whether it starts from random numbers; raises ModelError for one that cannot be loaded."""
    if model.is_onnx:
        return _of_graph(load_file(Path(model.source), data)[0], model.source, data.has_classes), False
    import torch

    from engine.models.sources import load_network

    network = load_network(model, data)
    module = network.module

    def answer(inputs: Float32) -> Float64:
        with torch.no_grad():
            found: Float64 = module(torch.from_numpy(np.ascontiguousarray(inputs))).double().numpy()
        return found

    def together(inputs: Float32) -> Float64:
        return np.concatenate([answer(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)])

    return together, _is_untrained(model, network)


def _is_untrained(model: Model, network: LoadedNetwork) -> bool:
    """Whether it has other weights when it is built from another seed, or batch norms that have never seen a batch."""
    if model.weights is not None or source_kind(model.source) == "zoo":
        return False
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    from engine.models.builders import build_as_written

    for layer in network.module.modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and not layer.running_mean.any():
            return True
    one, other = (build_as_written(network.origin, seed).state_dict() for seed in (0, 1))
    return any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def _of_graph(model: onnx.ModelProto, source: str, classes: bool) -> Network:
    session, name, fixed = open_session(model), graph_inputs(model)[0].name, fixed_batch(model)
    shares, batch = classes and gives_shares(model), fixed or BATCH

    def answer(inputs: Float32) -> Float64:
        n = len(inputs)
        if fixed and n < fixed:
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], fixed - n, axis=0)])
        try:
            scores: Float64 = session.run(None, {name: inputs})[0][:n].astype(np.float64)
        except Exception as error:  # the runtime's own classes share no base below Exception
            raise ModelError(f"model {source} does not run on {inputs.shape} inputs: {first_line(error)}") from None
        return np.log(np.maximum(scores, 1e-12)) if shares else scores

    return lambda inputs: np.concatenate([answer(inputs[i : i + batch]) for i in range(0, len(inputs), batch)])
