"""A network with fewer of its own layers: blocks that follow each other and are alike, and the layers of a stacked recurrent one.

As DistilBERT begins, with layers of its teacher (Sanh et al. 2019, arXiv:1910.01108); the first and the last stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.models.zoo import scaled_blocks

_RECURRENT = (nn.LSTM, nn.GRU, nn.RNN)


def kept(layers: int, depth: float) -> list[int]:
    """Which of so many layers stay at a depth in (0, 1]: the first, the last, and as evenly as it goes between them; one at least."""
    count = scaled_blocks(layers, depth)
    return [round(i * (layers - 1) / (count - 1)) for i in range(count)] if count > 1 else [0]


def layers_to_keep(
    network: nn.Module, depth: float, run: Callable[[nn.Module], object], source: str
) -> dict[str, list[int]]:
    """Path of a container of blocks, or of a stacked recurrent layer, -> which of its children or layers stay, at a depth in (0, 1].

    `run` runs a network on a blank input, which shows that one block reads what the one before it gave. Raises ModelError where there are
    no such blocks or layers, or too few to leave one out.
    """
    if depth > 1:
        raise ModelError(
            f"depth {depth:g}: layers that are taken from a network are no more than it has; use start: fresh"
        )
    if depth == 1:
        return {}
    found: dict[str, list[int]] = {}
    most = 1  # layers in a row that are alike
    follow = _following(network, run)
    for path, layer in network.named_modules():
        inside = any(path.startswith(f"{outer}." if outer else "") for outer in found)
        if inside:
            continue
        places: list[int] = []
        if type(layer) in _RECURRENT and path:
            size = layer.num_layers
            places, most = kept(size, depth), max(most, size)
        elif isinstance(layer, nn.Sequential | nn.ModuleList):
            size, runs = len(layer), _runs_of_blocks(list(layer), follow)
            places = [start + i for start, end in runs for i in kept(end - start, depth)]
            most = max([most, *(end - start for start, end in runs)])
        if places and len(places) < size:
            found[path] = places
    if not found and most > 1:
        raise ModelError(
            f"model {source}: depth {depth:g} leaves out none of its {most} layers; give one that does ({1 - 1 / most:.2g}, say), or leave "
            "depth out"
        )
    if not found:
        raise ModelError(
            f"model {source}: at depth {depth:g} none of its layers can be left out: blocks that are alike and follow each other are "
            "looked for in nn.Sequential and nn.ModuleList, and layers in nn.LSTM, nn.GRU and nn.RNN; use start: fresh, with a "
            "builder that has a parameter depth"
        )
    return found


def keep_layers(network: nn.Module, places: Mapping[str, Sequence[int]]) -> nn.Module:
    """Leave the layers of `layers_to_keep` in a network, in place, with the weights that they have."""
    for path, own in places.items():
        layer = network.get_submodule(path)
        if isinstance(layer, nn.Sequential | nn.ModuleList):
            blocks = [list(layer._modules.items())[i] for i in own]
            numbered = all(name.isdecimal() for name in layer._modules)
            layer._modules.clear()
            layer._modules.update({str(i) if numbered else name: block for i, (name, block) in enumerate(blocks)})
        else:
            network.set_submodule(path, _shorter_recurrent(layer, own))
    return network


def _following(network: nn.Module, run: Callable[[nn.Module], object]) -> set[tuple[int, int]]:
    """Pairs of modules of which the second read what the first had just given, as it was."""
    gave: dict[int, tuple[int, object]] = {}
    pairs: set[tuple[int, int]] = set()

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        for value in [*args, *kwargs.values()]:
            if id(value) in gave and gave[id(value)][1] is value:
                pairs.add((gave[id(value)][0], id(module)))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        for value in output if isinstance(output, tuple | list) else (output,):
            if isinstance(value, Tensor):
                gave[id(value)] = id(module), value

    handles: list[Any] = []
    for module in network.modules():
        handles += [module.register_forward_pre_hook(enter, with_kwargs=True), module.register_forward_hook(leave)]
    try:
        run(network)
    finally:
        for handle in handles:
            handle.remove()
    return pairs


def _shape(block: nn.Module) -> tuple[object, ...]:
    """Blocks of the same shape can stand in for each other."""
    return type(block), *((name, tuple(p.shape)) for name, p in block.named_parameters())


def _runs_of_blocks(blocks: list[nn.Module], follow: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """A container's children in runs, as (first, last + 1): of blocks that are alike, and each read the one before."""
    runs: list[tuple[int, int]] = []
    start = 0
    while start < len(blocks):
        end = start + 1
        while (
            end < len(blocks)
            and len(_shape(blocks[end])) > 1
            and _shape(blocks[end]) == _shape(blocks[start])
            and (id(blocks[end - 1]), id(blocks[end])) in follow
        ):
            end += 1
        runs.append((start, end))
        start = end
    return runs


def _shorter_recurrent(layer: Any, places: Sequence[int]) -> nn.Module:
    """A recurrent layer of fewer layers: gates are of the same sizes from the second layer on, and the first is the first."""
    options = {"proj_size": layer.proj_size} if layer.proj_size else {}
    if isinstance(layer, nn.RNN):
        options["nonlinearity"] = layer.nonlinearity
    names = ("input_size", "hidden_size", "bias", "batch_first", "dropout", "bidirectional")
    shorter = type(layer)(num_layers=len(places), **{name: getattr(layer, name) for name in names}, **options)
    with torch.no_grad():
        for name, parameter in shorter.named_parameters():
            parameter.copy_(layer.get_parameter(_of_layer(name, places)))
            parameter.requires_grad_(layer.get_parameter(_of_layer(name, places)).requires_grad)
    found: nn.Module = shorter.train(layer.training)
    return found


def _of_layer(name: str, places: Sequence[int]) -> str:
    """`weight_ih_l1_reverse` of the shorter one, in the longer one."""
    kind, _, rest = name.rpartition("_l")
    number, reverse, _ = rest.partition("_reverse")
    return f"{kind}_l{places[int(number)]}{reverse}"
