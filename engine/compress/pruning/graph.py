"""The channels of a network, followed by torch-pruning's dependency graph (Fang et al. 2023, arXiv:2301.12900)."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from typing import Any

import torch_pruning as tp
from torch import nn
from torch_pruning.dependency.node import Node

from engine.compress.pruning.structure import CONVS, Structure, Ties
from engine.errors import StepError
from engine.graph.inputs import Shape
from engine.models.catalog import one_line
from engine.models.torch_inputs import Tensors, blank_tensors

# Three times what vit_l_32 takes; a few seconds.
_MOST_STEPS = 10_000_000


class _Graph(tp.DependencyGraph):  # type: ignore[misc]  # the library has no types
    """torch-pruning's graph, but views that arrange channels in a grid are taken as plain ones.

    The library's guess for them divides by zero in shufflenet. The groups that then come out wrong are found by `prune_check`.
    """

    def _build_dependency(self, module2node: dict[nn.Module, Node]) -> None:
        for node in module2node.values():
            axes = len(getattr(node.grad_fn, "_saved_self_sym_sizes", ()))
            turned = any(str(n.grad_fn).lower().startswith(("<transpose", "<permute")) for n in node.outputs)
            if node.type == tp.ops.OPTYPE.RESHAPE and (axes > 4 or turned):
                node.type = tp.ops.OPTYPE.ELEMENTWISE
        super()._build_dependency(module2node)


def find_structure(network: nn.Module, input_shape: Shape) -> Structure:
    """The groups of a network that maps (n, *input_shape) to (n, classes); the network is left as it was.

    Raises StepError, naming the layer, where the library cannot follow the channels.
    """
    network = copy.deepcopy(network).requires_grad_(True).eval()  # the graph is traced through autograd
    names = {module: name for name, module in network.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own, on guesses that the check judges
        return _find_structure(network, names, blank_tensors(input_shape, 1))


def _find_structure(network: nn.Module, names: dict[nn.Module, str], image: Tensors) -> Structure:
    try:
        graph = _Graph().build_dependency(
            network, example_inputs=image if isinstance(image, dict) else (image,), verbose=False
        )
    except Exception as error:
        raise StepError(
            f"channel pruning cannot follow the channels{_after_layer(error, names)}: {type(error).__name__}: "
            f"{one_line(error)}; use magnitude pruning"
        ) from None
    ties, limit, done = Ties(network), _Limit(), defaultdict[nn.Module, set[int]](set)
    for node in graph.module2node.values():
        node.type = (
            tp.ops.OPTYPE.ELEMENTWISE
        )  # or the maps are made anew for every group, though nothing is pruned here
        for dependency in node.dependencies:
            dependency.index_mapping.append(limit)
    for layer in [m for m in graph.module2node if isinstance(m, (*CONVS, nn.Linear))]:
        if len(done[layer]) == len(layer.weight):
            continue
        root = ties.site(layer, outputs=True) or ""
        try:
            prune_outputs = graph.get_pruner_of_module(layer).prune_out_channels
            group = graph.get_pruning_group(layer, prune_outputs, list(range(len(layer.weight))))
            _tie(ties, graph, group, root)
        except OverflowError:
            raise StepError(
                f"channel pruning cannot follow the channels of layer {names[layer]!r}: they lead round in circles; use magnitude pruning"
            ) from None
        except Exception as error:
            ties.keep(root, f"what goes with it is unclear ({type(error).__name__}: {one_line(error)})")
            continue
        for item in [i for i in group if graph.is_out_channel_pruning_fn(i.dep.handler)]:
            done[item.dep.target.module] |= set(item.idxs)
    return ties.structure()


class _Limit:
    """Stands among the maps that the library applies to channel numbers as it walks a graph, and stops a walk that has no end.

    A wrong map, such as those it makes for windowed attention, sends it round and round with ever other numbers.
    """

    def __init__(self) -> None:
        self._left = _MOST_STEPS

    def __call__(self, channels: list[Any]) -> list[Any]:
        self._left -= len(channels)
        if self._left < 0:
            raise OverflowError
        return channels


def _tie(ties: Ties, graph: tp.DependencyGraph, group: tp.dependency.Group, root: str) -> None:
    """Enter one of the library's groups: layers with the positions that go when all outputs of its first layer go."""
    for item in group:
        node, is_output = item.dep.target, graph.is_out_channel_pruning_fn(item.dep.handler)
        if is_output and not node.outputs:
            ties.keep(root, "")  # nothing comes after it: the network's own outputs
        try:
            site = ties.site(node.module, is_output, node.pruning_dim)
        except TypeError as error:
            ties.keep(root, str(error))
            continue
        if site is not None:
            ties.tie(site, item.idxs, root, item.root_idxs)


def _after_layer(error: BaseException, names: dict[nn.Module, str]) -> str:
    """Where the tracing stopped: the last layer before the graph node that the failing code was at, from the traceback's frames."""
    nodes: list[Node] = []
    trace = error.__traceback__
    while trace is not None:
        nodes += [v for k, v in trace.tb_frame.f_locals.items() if isinstance(v, Node) and k != "out_node"]
        trace = trace.tb_next
    queue, seen = nodes[-1:], set(nodes[-1:])
    while queue:
        node = queue.pop(0)
        if names.get(node.module):
            return f" after layer {names[node.module]!r}"
        queue += [n for n in node.inputs if n not in seen]
        seen |= set(node.inputs)
    return ""
