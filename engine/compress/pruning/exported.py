"""Where a network's pruned weights are in the graph that it was exported to: batch norms folded, matrices turned, tensors renamed."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from engine.compress.quantize import prepare
from engine.graph.inputs import Shape
from engine.models.export import export_onnx
from engine.models.pruned import pruned_masks

Mask = npt.NDArray[np.bool_]


def pruned_in_graph(network: nn.Module, input_shape: Shape, prepared: onnx.ModelProto) -> dict[str, Mask]:
    """By initialiser of `prepared`, the graph that `prepare` made of the network's export: True where a prune step left a zero.

    The same network with ones for what was pruned is exported in the same way: what differs, and is zero, was pruned. (Values tell nothing:
    a weight may be zero because it was never trained.) Initialisers that lost nothing are left out.
    """
    masks = pruned_masks(network)
    if not masks:
        return {}
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter, mask in pruned_masks(twin).values():
            parameter.masked_fill_(mask, 1.0)
    filled = dict(_weights(prepare(export_onnx(twin, input_shape))))
    found: dict[str, Mask] = {}
    for place, (name, weight) in _weights(prepared):
        # Only a graph whose shape follows from its weights' values differs here; all its zeros are then kept, lest pruned ones come back.
        other = filled.get(place, (name, np.ones_like(weight)))[1]
        gone = (weight == 0) & ((other != 0) if other.shape == weight.shape else True)
        if gone.any():
            found[name] = gone
    return found


def _weights(model: onnx.ModelProto) -> Iterator[tuple[tuple[int, str, int], tuple[str, npt.NDArray[np.float32]]]]:
    """Every use of a float matrix or filter bank: (node, its kind, input) -> (initialiser, value). Tied ones are named alike or not."""
    stored = {t.name: t for t in model.graph.initializer}
    for i, node in enumerate(model.graph.node):
        for slot, name in enumerate(node.input):
            if name in stored and len(stored[name].dims) > 1 and stored[name].data_type == onnx.TensorProto.FLOAT:
                yield (i, node.op_type, slot), (name, numpy_helper.to_array(stored[name]))
