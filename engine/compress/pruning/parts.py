"""Whole attention heads and hidden numbers of MLPs as units of pruning; what runs through all layers stays as wide as it is.

A head goes with its rows of queries, keys and values and its columns of the matrix behind it (Michel et al. 2019, arXiv:1905.10650;
Voita et al. 2019, arXiv:1905.09418); heads that share keys and values go together. A hidden number of an MLP goes with its row before and
its column after; of a gated one with both rows.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from engine.compress.pruning.labels import Seen, names_of, seen_in
from engine.compress.pruning.structure import Axis, Forest, Group, Structure
from engine.errors import StepError
from engine.graph.inputs import Shape
from engine.models.catalog import one_line
from engine.models.narrow import Size, write_out
from engine.models.torch_inputs import blank_tensors, call

HEADS, MLP = "heads", "mlp"
_SHARED = "all of its heads share keys and values"
_UNREAD = "no single linear layer reads its heads"
_ONE = "it has one head"


def find_parts(network: nn.Module, input_shape: Shape, part: str) -> Structure:
    """The heads, or the hidden numbers of MLPs, of a network that maps (n, *input_shape) to (n, …); the network is left as it was.

    Groups are attentions, or MLPs; what has nothing to spare is `fixed`. Raises StepError for a network that does not run.
    """
    seen_network = write_out(copy.deepcopy(network).eval())
    blank = blank_tensors(input_shape, 1)
    try:
        seen = seen_in(seen_network, lambda: call(seen_network, blank))
    except Exception as error:  # whatever its forward raises
        raise StepError(f"{part} cannot be followed through the network: {one_line(error)}") from None
    return _Sorted(network, seen, part).structure()


def _common_start(texts: Sequence[str]) -> str:
    same = [letters[0] for letters in itertools.takewhile(lambda x: len(set(x)) == 1, zip(*texts, strict=False))]
    return "".join(same)


class _Sorted:
    """Channels that go together, and the groups that these units form."""

    def __init__(self, network: nn.Module, seen: Seen, part: str) -> None:
        self._seen, self._part = seen, part
        self._parameters = dict(network.named_parameters())
        self._forest = Forest()
        self._forest.add("channels", seen.channels)
        for a, b in [pair for pair in seen.tied if pair[0].shape == pair[1].shape]:
            for x, y in zip(a.tolist(), b.tolist(), strict=True):
                if min(x, y) >= 0:
                    self._forest.tie(x, y)
        for head in [head for heads in seen.heads for head in heads if head]:
            first = min(head)
            for channel in head:
                self._forest.tie(first, channel)
        self._fixed: dict[str, str] = {}

    def structure(self) -> Structure:
        """The units that can go, and why others cannot."""
        members: dict[int, list[int]] = defaultdict(list)
        for channel in range(self._seen.channels):
            members[self._forest.find(channel)].append(channel)
        columns, mixed = self._columns()
        heads = self._heads()
        families: dict[tuple[object, ...], list[int]] = defaultdict(list)
        for root, channels in members.items():
            if (root in heads) != (self._part == HEADS):
                continue
            rows = Counter(
                name for name in names_of(channels, self._seen) for c in channels if c in self._seen.rows[name]
            )
            if self._why_not(root, rows, columns.get(root), root in mixed) is None:
                families[(heads.get(root), *sorted(rows.items()), *sorted(columns[root].items()))].append(root)
        groups, numbers = list[Group](), dict[int, int]()
        for roots in families.values():
            name = self._name([c for root in roots for c in members[root]])
            if len(roots) < 2:
                if self._part == HEADS:
                    self._fixed[name] = _SHARED if self._count(roots[0]) > 1 else _ONE
                continue
            units = range(len(numbers), len(numbers) + len(roots))
            numbers.update(zip(roots, units, strict=True))
            # As many channels as the first of its matrices has of each.
            first = self._seen.rows[names_of(members[roots[0]], self._seen)[0]]
            own = sum(c in first for c in members[roots[0]])
            groups.append(Group(self._unlike(name, groups), torch.tensor(units), own))
        return Structure(self._axes(numbers), tuple(groups), len(numbers), self._fixed, (), self._resized(numbers))

    def _columns(self) -> tuple[dict[int, Counter[str]], set[int]]:
        """By unit the columns of each matrix that reads it, and the units that somebody reads mixed with others."""
        lines: dict[str, Tensor] = {}
        mixed: set[int] = set()
        for name, channels, is_mixed in self._seen.readers:
            if is_mixed or not torch.equal(lines.setdefault(name, channels), channels):
                mixed |= {self._forest.find(c) for c in channels.tolist() if c >= 0}
        mixed |= {self._forest.find(c) for c in self._seen.streams if c >= 0 and self._part == MLP}
        found: dict[int, Counter[str]] = defaultdict(Counter)
        for name, channels in lines.items():
            for c in channels.tolist():
                if c >= 0:
                    found[self._forest.find(c)][name] += 1
        self._lines = lines
        return found, mixed

    def _heads(self) -> dict[int, int]:
        """Units that are heads, with the number of the attention that they belong to."""
        return {self._forest.find(min(head)): i for i, heads in enumerate(self._seen.heads) for head in heads if head}

    def _count(self, root: int) -> int:
        """How many heads are one unit."""
        return max(sum(self._forest.find(min(h)) == root for h in heads if h) for heads in self._seen.heads)

    def _why_not(self, root: int, rows: Counter[str], columns: Counter[str] | None, mixed: bool) -> str | None:
        """Why a unit cannot go. Of heads it is noted; what else is no unit of an MLP needs no word."""
        if columns and not mixed:
            return None
        if self._part == HEADS:
            path = self._path(rows)
            self._fixed.setdefault(path, _UNREAD)
        return _UNREAD

    def _path(self, names: Iterable[str]) -> str:
        """The module that matrices have in common; the layer itself of a single one."""
        paths = [name.split(".")[:-1] for name in names]
        common = [parts[0] for parts in zip(*paths, strict=False) if len(set(parts)) == 1]
        # A network of a file has no modules in modules, but names like them.
        named = ".".join(common) or _common_start([".".join(path) for path in paths]).rstrip("._")
        return named or ".".join(paths[0])

    def _name(self, channels: Sequence[int]) -> str:
        names = names_of(channels, self._seen)
        return self._path(names if self._part == HEADS else names[:1])

    def _unlike(self, name: str, groups: Sequence[Group]) -> str:
        taken = sum(g.layer == name for g in groups)
        return f"{name} #{taken + 1}" if taken else name

    def _axes(self, numbers: dict[int, int]) -> tuple[Axis, ...]:
        def units(channels: Iterable[int]) -> Tensor:
            return torch.tensor([numbers.get(self._forest.find(c), -1) if c >= 0 else -1 for c in channels])

        places: dict[tuple[str, int], Iterable[int]] = {(name, 0): rows for name, rows in self._seen.rows.items()}
        places |= {(name, dim): channels.tolist() for name, dim, channels in self._seen.vectors}
        places |= {(name, 1): channels.tolist() for name, channels in self._lines.items()}
        found = [Axis(name, dim, units(channels)) for (name, dim), channels in places.items()]
        return tuple(axis for axis in found if len(axis.unit) and int(axis.unit.max()) >= 0)

    def _resized(self, numbers: dict[int, int]) -> _Resized:
        unit = torch.tensor([numbers.get(self._forest.find(c), -1) for c in range(self._seen.channels)])
        return _Resized(self._seen, unit)


class _Resized:
    """What the sizes in a network's code become when units go."""

    def __init__(self, seen: Seen, unit: Tensor) -> None:
        self._seen, self._unit = seen, unit

    def __call__(self, removed: Tensor) -> dict[str, list[Size]]:
        gone = (self._unit >= 0) & removed[self._unit.clamp_min(0)]
        sizes = self._seen.sizes(gone)
        unfit = next((path for path in sizes if path in self._seen.unfit), None)
        if unfit is not None:
            raise StepError(f"module {unfit!r}: {self._seen.unfit[unfit]}")
        return sizes
