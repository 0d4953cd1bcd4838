"""What a user's network answers to a few samples, however it came: an ONNX file in ONNX Runtime, anything else in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import first_line, gives_shares, open_session
from engine.graph.inputs import Feeds, Held, Inputs, Signature, is_array, padded, resized, shape_of
from engine.graph.outputs import Layout, side_by_side
from engine.graph.states import counted
from engine.models.catalog import source_kind
from engine.models.files import load_file, taken_by
from engine.models.fits import agrees
from engine.models.shapes import batch_text
from engine.spec.sections import Data, Model

if TYPE_CHECKING:
    from engine.models.sources import Network as LoadedNetwork

Float64 = npt.NDArray[np.float64]
BATCH = 50

Network = Callable[[Inputs], Float64]
"""Inputs (n, …) as the network reads them -> scores (n, classes), logits or the logarithms of shares; values (n, …) as they are."""


def layouts_of(model: Model, inputs: Held, data: Data | None = None) -> tuple[str, ...]:
    """In which order of axes a network may read inputs (n, …) whose items are stored as (channels, …); both where its shape leaves that
    open.

    A graph says what it reads. Raises ModelError for a file that cannot be read.
    """
    if not model.is_onnx or not is_array(inputs) or inputs.ndim < 3:
        return ("NCHW",)
    stored = inputs.shape[1:]
    moved, taken = (*stored[1:], stored[0]), taken_by(model, data)
    if isinstance(taken, Signature):
        only = [axes for _, axes, _ in taken.tensors if len(axes) == len(stored)]
        taken = only[0] if only else ()
    found = tuple(name for name, shape in (("NCHW", stored), ("NHWC", moved)) if agrees(taken, shape))
    return found or ("NCHW",)


def output_layout(model: Model, data: Dataset) -> Layout | None:
    """How several outputs that count lie side by side in what the network answers; None where one counts. Raises ModelError."""
    if not model.outputs:
        return None
    graph = load_file(model, data)[0]
    feeds, names = Feeds.of_graph(graph), counted(graph)
    inputs = resized(data.preprocessing(data.train.inputs[:1]), feeds.batch or 1)
    return Layout.of(names, open_session(graph).run(names, feeds(inputs)))


def open_answers(model: Model, data: Dataset) -> tuple[Network, bool, str | None]:
    """The network, ready to answer, whether it starts from random numbers, and what to know of how it was loaded; raises ModelError for
    one that cannot be loaded.
    """
    if model.is_onnx:
        graph, note = load_file(model, data)
        return _of_graph(graph, model.source, data.has_classes), False, note
    import torch

    from engine.models.sources import load_network
    from engine.models.torch_inputs import as_tensors, call

    network = load_network(model, data)
    module = network.module

    def answer(inputs: Inputs) -> Float64:
        whole = np.ascontiguousarray(inputs) if is_array(inputs) else inputs
        with torch.no_grad():
            found: Float64 = call(module, as_tensors(whole)).double().numpy()
        return found

    def together(inputs: Inputs) -> Float64:
        return np.concatenate([answer(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)])

    return together, _is_untrained(model, network), network.note


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
    session, feeds = open_session(model), Feeds.of_graph(model)
    fixed, names = feeds.batch, counted(model)
    shares, batch = classes and gives_shares(model), fixed or BATCH

    def answer(inputs: Inputs) -> Float64:
        n = len(inputs)
        inputs = padded(inputs, fixed or n)
        try:
            given = session.run(names, feeds(inputs))
            found = given[0] if len(given) == 1 else side_by_side(given, names)
            scores: Float64 = found[:n].astype(np.float64)
        except ModelError as error:
            raise ModelError(f"model {source}: {error}") from None
        except Exception as error:  # the runtime's own classes share no base below Exception
            shape = inputs.shape if is_array(inputs) else f"{len(inputs)} {batch_text(shape_of(inputs))}"
            raise ModelError(f"model {source} does not run on {shape} inputs: {first_line(error)}") from None
        return np.log(np.maximum(scores, 1e-12)) if shares else scores

    return lambda inputs: np.concatenate([answer(inputs[i : i + batch]) for i in range(0, len(inputs), batch)])
