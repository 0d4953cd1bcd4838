"""What channel pruning has to know of a network: which positions of which tensors can only go together.

A unit is the smallest thing that can be removed: one channel of a layer with all that residual sums, concatenations, depthwise
convolutions and normalisations tie to it, or one whole part of a grouped convolution. Units of one kind form a group, whose units can
stand in for each other; a group loses units, and so its layers lose channels.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from engine.models.narrow import Size, sizes_of

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor of the state dict; `unit` (size,) int64 is the unit that each position belongs to, -1 where it stays."""

    tensor: str
    dim: int
    unit: Tensor


@dataclass(frozen=True)
class Group:
    """Units that can stand in for each other, named for the first layer whose outputs they are.

    `units` (n,) are their numbers, `channels` is how many outputs of that layer one has. The units that stay are a multiple of
    `multiple`, the same number in each of `parts` equal runs. The heads of self-attention are such parts: their inner width follows
    that of the group named by `follows`, since torch wants the two equal.
    """

    name: str
    units: Tensor
    channels: int
    parts: int = 1
    multiple: int = 1
    follows: str | None = None

    def __len__(self) -> int:
        return len(self.units)

    @property
    def layer(self) -> str:
        """Path of the layer that the group is named for."""
        return self.name.partition(" #")[0]

    def least(self, scores: Tensor, kept: int) -> Tensor:
        """The units to remove so that `kept` stay: those of the lowest `scores` (n,), equally many of each part; ties by position."""
        parts = scores.view(self.parts, -1)
        order = parts.argsort(dim=1, stable=True)[:, : parts.shape[1] - kept // self.parts]
        return self.units.view(self.parts, -1).gather(1, order).flatten()


@dataclass(frozen=True)
class Structure:
    """All groups of a network, in its own order. `fixed`: layers that stay whole, and why. `attention`: names of such layers.

    `resized`: what sizes in the code's calls become when units (units,) are removed, by module (`models/narrow.py`).
    """

    axes: tuple[Axis, ...]
    groups: tuple[Group, ...]
    units: int
    fixed: dict[str, str]
    attention: tuple[str, ...]
    resized: Callable[[Tensor], dict[str, list[Size]]] = lambda removed: {}

    def keeping(self, reasons: dict[str, str]) -> Structure:
        """The same with the groups named in `reasons` kept whole."""
        free = tuple(g for g in self.groups if not {g.name, g.follows} & reasons.keys())
        return replace(self, groups=free, fixed={**self.fixed, **reasons})


class Forest:
    """Union-find over the channels of named sites (Tarjan 1975); a root is the lowest of its tree."""

    def __init__(self) -> None:
        self.sites: dict[str, range] = {}
        self._parents: list[int] = []

    def add(self, site: str, size: int) -> None:
        """Number the channels of a site, once."""
        if site not in self.sites:
            self.sites[site] = range(len(self._parents), len(self._parents) + size)
            self._parents.extend(self.sites[site])

    def find(self, node: int) -> int:
        """The root of a channel."""
        while self._parents[node] != node:
            self._parents[node] = self._parents[self._parents[node]]
            node = self._parents[node]
        return node

    def tie(self, a: int, b: int) -> None:
        """Two channels go together."""
        a, b = self.find(a), self.find(b)
        self._parents[max(a, b)] = min(a, b)


class Ties:
    """Collects what goes together, channel by channel, then sorts it into groups.

    A site is a place where channels are numbered, such as the outputs of a convolution. Axes of tensors have one position per channel
    of their site, or several equal runs of them.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._tensors = {id(t): name for name, t in [*network.named_parameters(), *network.named_buffers()]}
        self._paths = {module: path for path, module in network.named_modules()}
        self._order = {path: i for i, path in enumerate(self._paths.values())}
        self._forest = Forest()
        self._axes: dict[tuple[str, int], tuple[str, int]] = {}
        self._outputs: dict[str, str] = {}
        self._reached: set[int] = set()
        self._kept: dict[int, str] = {}

    def _add(self, site: str, size: int, *axes: tuple[Tensor | None, int], runs: int = 1) -> str:
        self._forest.add(site, size)
        for tensor, dim in axes:
            if tensor is not None:
                self._axes[self._tensors[id(tensor)], dim] = (site, runs)
        return site

    def site(self, target: nn.Module | nn.Parameter, outputs: bool, dim: int = -1) -> str | None:
        """The site of a layer's outputs or inputs, or of axis `dim` of a free parameter; None where no tensor has a position each.

        Raises TypeError for a layer whose tensors cannot be made smaller.
        """
        if isinstance(target, nn.Parameter):
            return self._add(f"{self._tensors[id(target)]} {dim}", target.shape[dim], (target, dim % target.ndim))
        own = list(target.parameters(recurse=False)) + [b for b in target.buffers(recurse=False) if b.ndim]
        if not own:
            return None
        name = self._tensors[id(own[0])]
        if isinstance(target, (*CONVS, nn.Linear)):
            parts = getattr(target, "groups", 1)
            if outputs or parts == len(target.weight) > 1:  # depthwise: inputs are outputs
                self._outputs.setdefault(f"{name} out", self._paths[target])
                return self._add(f"{name} out", len(target.weight), (target.weight, 0), (target.bias, 0))
            return self._add(
                f"{name} in", target.weight.shape[1] * parts, *([(target.weight, 1)] if parts == 1 else [])
            )
        if isinstance(target, nn.MultiheadAttention) and target.in_proj_weight is not None and target.bias_k is None:
            projection = (target.out_proj.weight, 0), (target.out_proj.bias, 0)
            return self._add(f"{name} in", target.embed_dim, (target.in_proj_weight, 1), *projection)
        if isinstance(target, (*_NORMS, nn.PReLU)) or (isinstance(target, nn.LayerNorm) and target.weight.ndim == 1):
            return self._add(name, len(own[0]), *((t, 0) for t in own)) if len(own[0]) > 1 else None
        raise TypeError(f"its channels reach {self._paths[target]!r}, a {type(target).__name__}")

    def tie(self, site: str, channels: Iterable[int], root: str, root_channels: Iterable[int]) -> None:
        """Channel by channel, what is removed from `root` must be removed from `site`."""
        nodes, roots = self._forest.sites[site], self._forest.sites[root]
        for a, b in [(nodes[i], roots[j]) for i, j in zip(channels, root_channels, strict=True)]:
            self._forest.tie(a, b)
            self._reached |= {a, b}

    def keep(self, site: str, reason: str) -> None:
        """All channels of a site stay, for a reason; none is given where it goes without saying, as for the network's outputs."""
        for node in self._forest.sites[site]:
            self._kept.setdefault(node, reason)

    def structure(self) -> Structure:
        """All that was tied, sorted: channels that touch the same sites equally often form a group."""
        self._tie_parts()
        heads = self._add_heads()
        ties: dict[int, Counter[str]] = defaultdict(Counter)
        for site, nodes in self._forest.sites.items():
            for node in nodes:
                ties[self._forest.find(node)][site] += 1
        kept = {self._forest.find(node): reason for node, reason in self._kept.items()}
        alive = {self._forest.find(node) for node in self._reached}
        families: dict[tuple[tuple[str, int], ...], list[int]] = defaultdict(list)
        fixed: dict[str, str] = {}
        for root, sites in sorted(ties.items()):
            if root in kept:
                if kept[root]:
                    fixed[self._name(sites)] = kept[root]
            elif root in alive:
                families[tuple(sorted(sites.items()))].append(root)
        return self._numbered(families, fixed, heads)

    def _tie_parts(self) -> None:
        """A part of a grouped convolution goes as a whole, inputs and outputs; depthwise ones are the smallest case."""
        for layer in [m for m in self._network.modules() if isinstance(m, CONVS) and m.groups > 1]:
            name = self._tensors[id(layer.weight)]
            if not {f"{name} in", f"{name} out"} & self._forest.sites.keys():
                continue
            sites = [self.site(layer, outputs) or "" for outputs in (True, False)]
            if not all(self._reached.issuperset(self._forest.sites[site]) for site in sites):
                for site in sites:
                    self.keep(site, f"the parts of {self._paths[layer]!r} read what cannot be removed")
            for nodes in (self._forest.sites[site] for site in sites):
                size, other = len(nodes) // layer.groups, self._forest.sites[sites[0]]
                for i, node in enumerate(nodes):
                    self._forest.tie(node, other[i // size * (len(other) // layer.groups)])

    def _add_heads(self) -> dict[str, tuple[str, str, int]]:
        """The inner channels of self-attention: site -> (path of the layer, site of its inputs, number of heads)."""
        heads = {}
        for layer in [m for m in self._network.modules() if isinstance(m, nn.MultiheadAttention)]:
            stream = f"{self._tensors[id(layer.in_proj_weight)]} in" if layer.in_proj_weight is not None else ""
            # One that lost heads is no narrower within when there are fewer channels outside.
            if stream in self._forest.sites and not sizes_of(layer):
                inner = (layer.in_proj_weight, 0), (layer.in_proj_bias, 0)
                site = self._add(f"{stream} heads", layer.embed_dim, *inner, runs=3)
                self._add(site, layer.embed_dim, (layer.out_proj.weight, 1))
                self._reached |= set(self._forest.sites[site])
                heads[site] = (self._paths[layer], stream, layer.num_heads)
        return heads

    def _name(self, sites: Iterable[str]) -> str:
        """The first layer, in the network's order, whose outputs these are."""
        return min((self._outputs[site] for site in sites if site in self._outputs), key=self._order.__getitem__)

    def _numbered(
        self,
        families: dict[tuple[tuple[str, int], ...], list[int]],
        fixed: dict[str, str],
        heads: dict[str, tuple[str, str, int]],
    ) -> Structure:
        """Groups from families of channels with the sites that each touches; a family of one has none to spare."""
        numbers: dict[int, int] = {}
        groups: list[Group] = []
        holders: dict[str, Group] = {}
        for ties, roots in families.items():
            sites = dict(ties)
            if len(roots) < 2 or heads.keys() & sites.keys():
                continue
            units = range(len(numbers), len(numbers) + len(roots))
            numbers.update(zip(roots, units, strict=True))
            name, multiple = self._name(sites), 1
            channels = max(n for site, n in ties if self._outputs.get(site) == name)
            for _, stream, count in heads.values():
                if stream in sites:
                    multiple = math.lcm(multiple, count // math.gcd(count, sites[stream]))
            taken = sum(g.layer == name for g in groups)
            group = Group(f"{name} #{taken + 1}" if taken else name, torch.tensor(units), channels, multiple=multiple)
            groups.append(group)
            holders.update((site, group) for site, n in ties if n * len(roots) == len(self._forest.sites[site]))
        for site, (path, stream, count) in heads.items():
            nodes = self._forest.sites[site]
            if stream not in holders:
                fixed[path] = "it reads channels of several kinds"
                continue
            units = range(len(numbers), len(numbers) + len(nodes))
            numbers.update(zip(nodes, units, strict=True))
            groups.append(Group(path, torch.tensor(units), 1, parts=count, follows=holders[stream].name))
        return self._sorted(groups, numbers, fixed, tuple(path for path, _, _ in heads.values()))

    def _sorted(
        self, groups: list[Group], numbers: dict[int, int], fixed: dict[str, str], attention: tuple[str, ...]
    ) -> Structure:
        axes = []
        for (tensor, dim), (site, runs) in self._axes.items():
            unit = [numbers.get(self._forest.find(node), -1) for node in self._forest.sites[site]]
            if max(unit) >= 0:
                axes.append(Axis(tensor, dim, torch.tensor(unit * runs)))
        groups.sort(key=lambda g: self._order[g.layer])
        return Structure(tuple(axes), tuple(groups), len(numbers), fixed, attention)
