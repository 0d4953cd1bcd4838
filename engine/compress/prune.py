"""Pruning: single weights set to zero (`magnitude`), or whole channels removed (`channel`).

Both return a new network and leave the given one as it was. A method is a function in `METHODS`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch_pruning.dependency.node import Node

from engine.errors import StepError
from engine.models.catalog import one_line
from engine.models.state import RESIZABLE
from engine.spec import Prune

Shape = tuple[int, int, int]


def apply(step: Prune, network: nn.Module, input_shape: Shape) -> nn.Module:
    """A pruned copy, in evaluation mode; `input_shape` is (channels, height, width). Raises StepError naming the layer and why."""
    pruned = copy.deepcopy(network).eval()
    METHODS[step.method](step, pruned, input_shape)
    return pruned


def prunable_weights(network: nn.Module) -> list[Tensor]:
    """The weight tensors of convolutions and linear layers, each once however many layers share it."""
    weights = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return list({id(w): w for w in weights}.values())


def _magnitude(step: Prune, network: nn.Module, input_shape: Shape) -> None:
    """Zero the `ratio` smallest weights of all layers together (Han et al. 2015, arXiv:1506.02626), exactly so many.

    One threshold for the whole network; among equal magnitudes the first are zeroed. Biases and batch norms stay.
    """
    weights = prunable_weights(network)
    if not weights:
        raise StepError("magnitude pruning found no convolution or linear layer in this network; leave the step out")
    magnitudes = torch.cat([w.detach().abs().flatten() for w in weights])
    count = round(step.ratio * len(magnitudes))
    if count == 0:
        return
    threshold = magnitudes.kthvalue(count).values
    zero = magnitudes < threshold
    equal = torch.nonzero(magnitudes == threshold).flatten()
    zero[equal[: count - int(zero.sum())]] = True
    with torch.no_grad():
        for weight, mask in zip(weights, torch.split(zero, [w.numel() for w in weights]), strict=True):
            weight.masked_fill_(mask.view_as(weight), 0.0)


def channels_kept(channels: int, ratio: float, multiple: int) -> int:
    """How many of a layer's channels stay: the nearest multiple of `multiple`, at least one of it, never more than there are."""
    if channels <= multiple:
        return channels
    # Half a multiple rounds down: what was asked for is removal.
    kept = math.ceil(channels * (1 - ratio) / multiple - 0.5) * multiple
    return min(channels, max(multiple, kept))


def _channel(step: Prune, network: nn.Module, input_shape: Shape) -> None:
    """Remove `ratio` of the channels of every layer, the ones whose weights have the smallest norm.

    Layers that an addition, a concatenation or a depthwise convolution ties together lose the same channels; a channel's importance
    is the mean square norm over all that belongs to it (Fang et al. 2023, arXiv:2301.12900). The classifier's outputs stay.
    """
    _check_layers(network)
    names = {module: name for name, module in network.named_modules()}
    trained = {name: p.requires_grad for name, p in network.named_parameters()}
    network.requires_grad_(True)  # The graph is traced through autograd.
    example = torch.zeros(2, *input_shape)
    before = tuple(network(example).shape)
    graph = _graph(network, example)
    groups = _groups(graph, names)
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    scored = [(g[0].dep.target.module, g[0].dep.handler, importance(g), _channel_groups(graph, g)) for g in groups]
    removed = 0
    for layer, handler, scores, parts in scored:
        try:
            indices = _least(scores, parts, step)
            group = graph.get_pruning_group(layer, handler, indices)
            if indices and graph.check_pruning_group(group):
                group.prune()
                removed += len(indices)
        except Exception as error:
            raise StepError(
                f"channel pruning cannot shrink layer {names[layer]!r}: {one_line(error)}; use magnitude pruning"
            ) from None
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(trained[name])
    _check_result(step, network, example, before, removed)


def _graph(network: nn.Module, example: Tensor) -> tp.DependencyGraph:
    try:
        return tp.DependencyGraph().build_dependency(network, example_inputs=example, verbose=False)
    except Exception as error:
        names = {module: name for name, module in network.named_modules()}
        raise StepError(
            f"channel pruning cannot follow the channels{_after_layer(error, names)}: {type(error).__name__}: "
            f"{one_line(error)}; use magnitude pruning"
        ) from None


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


def _groups(graph: tp.DependencyGraph, names: dict[nn.Module, str]) -> list[tp.dependency.Group]:
    """The sets of layers whose output channels go together, but for those that hold outputs of the network."""
    groups: list[tp.dependency.Group] = []
    seen: set[nn.Module] = set()
    for layer in [m for m in graph.module2node if isinstance(m, nn.Conv2d | nn.Linear)]:
        if layer in seen:
            continue
        try:
            prune_outputs = graph.get_pruner_of_module(layer).prune_out_channels
            group = graph.get_pruning_group(layer, prune_outputs, list(range(graph.get_out_channels(layer))))
        except Exception as error:
            raise StepError(
                f"channel pruning cannot follow what goes with layer {names[layer]!r}: {type(error).__name__}: "
                f"{one_line(error)}; use magnitude pruning"
            ) from None
        seen |= {dep.target.module for dep, _ in group if graph.is_out_channel_pruning_fn(dep.handler)}
        if not _is_output(graph, group):
            groups.append(group)
    return groups


def _check_layers(network: nn.Module) -> None:
    for name, layer in network.named_modules():
        own = [n for n, _ in layer.named_parameters(recurse=False)]
        if own and not isinstance(layer, RESIZABLE):
            raise StepError(
                f"channel pruning cannot shrink layer {name or own[0]!r}: {type(layer).__name__} with its own {own[0]!r} is "
                f"not among {', '.join(t.__name__ for t in RESIZABLE)}; use magnitude pruning"
            )


def _is_output(graph: tp.DependencyGraph, group: tp.dependency.Group) -> bool:
    """Whether removing channels of the group would remove outputs of the network: something in it has nothing after it."""
    return any(not dep.target.outputs and (graph.is_out_channel_pruning_fn(dep.handler)) for dep, _ in group)


def _channel_groups(graph: tp.DependencyGraph, group: tp.dependency.Group) -> int:
    """The most parts of a grouped convolution among these layers, depthwise ones aside; all parts lose the same channels."""
    convs = [dep.target.module for dep, _ in group if isinstance(dep.target.module, nn.Conv2d)]
    return max((c.groups for c in convs if c.groups != c.out_channels), default=1)


def _least(scores: Tensor, parts: int, step: Prune) -> list[int]:
    """Indices of the channels to remove: the least important, the same in each of the `parts` of a grouped convolution."""
    kept = channels_kept(len(scores), step.ratio, math.lcm(step.round_to, parts))
    size = len(scores) // parts
    order = scores.view(parts, size).mean(0).argsort(stable=True)
    least = order[: size - kept // parts]
    return sorted(int(i) + part * size for part in range(parts) for i in least)


def _check_result(step: Prune, network: nn.Module, example: Tensor, before: tuple[int, ...], removed: int) -> None:
    if not removed:
        raise StepError(
            f"channel pruning at ratio {step.ratio:g} removes nothing: no layer of this network can lose channels in "
            f"multiples of {step.round_to}; use a larger ratio or a smaller round_to"
        )
    try:
        after = tuple(network(example).shape)
    except Exception as error:
        raise StepError(f"channel pruning broke this network: {one_line(error)}; use magnitude pruning") from None
    if after != before:
        raise StepError(
            f"channel pruning changed this network's outputs from {before} to {after}; use magnitude pruning"
        )


METHODS: dict[str, Callable[[Prune, nn.Module, Shape], None]] = {"magnitude": _magnitude, "channel": _channel}
"""Each prunes the network in place."""
