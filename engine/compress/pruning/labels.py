"""Which rows and columns of a network's matrices belong to one attention head, or one hidden number of an MLP, seen in one forward pass.

Every output of a linear layer gets a label for each of its channels. Labels go along with whatever moves numbers (views, splits, …)
and stay through whatever computes number by number; a product of scores with values takes those of the values. So heads are found however
the code writes them: with one matrix or three, as torch's own attention, fused or written out, in a network of a file as well.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from engine.models.narrow import SIZED, SPLITS, Size, can_narrow

_NOTE = "_channel_labels"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Labels need not lie in memory as the numbers do.
_LOOSE = {Tensor.view: Tensor.reshape}
_MOVES = _words(
    "view reshape permute transpose swapaxes swapdims movedim t unbind chunk split getitem __getitem__ squeeze unsqueeze flatten unflatten "
    "expand repeat_interleave repeat clone contiguous narrow select cat concat stack to float type_as detach roll index_select expand_as "
    "view_as reshape_as tensor_split"
)
_PROPERTIES: Any = (Tensor.T, Tensor.mT, Tensor.data)
_POINTWISE = _words(
    "gelu relu relu_ silu sigmoid tanh hardswish hardsigmoid elu leaky_relu mish softplus erf dropout alpha_dropout neg abs sqrt square "
    "mul multiply div divide true_divide add sub pow clamp clip where masked_fill mul_ div_ add_ sub_ masked_fill_ nan_to_num softmax exp "
    "__add__ __radd__ __iadd__ __mul__ __rmul__ __imul__ __truediv__ __itruediv__ __sub__ __pow__ maximum minimum"
)
_TIES = _words("mul multiply __mul__ __rmul__ mul_ __imul__")
_NORMS = _words("layer_norm rms_norm normalize")
_PRODUCTS = _words("matmul __matmul__ bmm")


@dataclass(frozen=True)
class Label:
    """Numbers of channels (the tensor's shape) int64, −1 where there is none. `mixed`: each position was computed from others, too.
    `scores`: the numbers are those of heads, named after one channel of their queries.
    """

    channels: Tensor
    mixed: bool = False
    scores: bool = False


@dataclass
class Seen:
    """What one pass showed.

    `rows`: name of a matrix -> numbers of its outputs' channels; `vectors`: (name, axis, channels) of parameters that are added to
    channels, or multiply them. `readers`: (matrix, channels
    (inputs,), whether mixed). `heads`: for each product of scores and values, per head the channels of queries, keys and values. `calls`:
    (module, call, whether a split, labels of what it gives). `streams`: channels that others are added to.
    """

    rows: dict[str, range] = field(default_factory=dict)
    vectors: list[tuple[str, int, Tensor]] = field(default_factory=list)
    readers: list[tuple[str, Tensor, bool]] = field(default_factory=list)
    heads: list[list[frozenset[int]]] = field(default_factory=list)
    tied: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    streams: set[int] = field(default_factory=set)
    calls: list[tuple[str, int, bool, tuple[Label, ...]]] = field(default_factory=list)
    unfit: dict[str, str] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """How many there are."""
        return max((r.stop for r in self.rows.values()), default=0)

    def sizes(self, gone: Tensor) -> dict[str, list[Size]]:
        """What the calls' sizes become where `gone` (channels,) is True, by module; only what changes."""
        found: dict[str, list[Size]] = defaultdict(list)
        for module, call, is_split, labels in self.calls:
            for part, label in enumerate(labels):
                known = label.channels >= 0
                left = ~known | ~gone[label.channels.clamp_min(0)]
                for axis in range(left.ndim):
                    meant, now = left.shape[axis], int(left.movedim(axis, 0).flatten(1).any(1).sum())
                    if meant != now and now:
                        found[module].append((call, part if is_split else axis, meant, now))
        return found


def seen_in(network: nn.Module, run: Callable[[], object]) -> Seen:
    """What labels show while `run` runs the network; torch's own attentions must be written out (`narrow.write_out`)."""
    watch = _Watch(network)
    stack, handles = watch.stack, []
    for path, layer in network.named_modules():

        def enter(module: nn.Module, inputs: Any, path: str = path) -> None:
            watch.enter(path, module)

        def leave(module: nn.Module, inputs: Any, output: Any) -> None:
            stack.pop()

        handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave, always_call=True)]
    try:
        with torch.no_grad(), watch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a network's code does, which is told once where it runs
            run()
    finally:
        for handle in handles:
            handle.remove()
    return watch.seen


def _label(value: Any) -> Label | None:
    found = getattr(value, _NOTE, None) if isinstance(value, Tensor) else None
    return found if isinstance(found, Label) and found.channels.shape == value.shape else None


def _put(value: Any, label: Label | None) -> None:
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        if label is not None and label.channels.shape == value.shape:
            setattr(value, _NOTE, label)
        elif hasattr(value, _NOTE):
            delattr(value, _NOTE)


class _Watch(TorchFunctionMode):
    """Hands labels on from call to call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.seen = Seen()
        self.stack: list[list[Any]] = []
        self._names = {id(p): name for name, p in network.named_parameters()}
        self._heads: dict[int, tuple[frozenset[int], frozenset[int]]] = {}

    def enter(self, path: str, module: nn.Module) -> None:
        """A module's forward begins: its calls are numbered from 0."""
        self.stack.append([path, 0, can_narrow(module)])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        try:
            self._follow(func, args, kwargs, found)
        except Exception:  # a call in a form that is not known leaves no label
            for value in found if isinstance(found, list | tuple) else (found,):
                _put(value, None)
        if func in SIZED and self.stack:
            self._number(func, found)
        return found

    def _number(self, func: Any, found: Any) -> None:
        """A call that states sizes counts for every module whose forward it is in; its sizes are the innermost one's."""
        for place in self.stack:
            place[1] += 1
        path, calls, fit = self.stack[-1]
        labels = tuple(filter(None, map(_label, found if func in SPLITS else (found,))))
        if labels and (func not in SPLITS or len(labels) == len(found)):
            self.seen.calls.append((path, calls - 1, func in SPLITS, labels))
            if not fit:
                self.seen.unfit[path] = "its code cannot be given other sizes"

    def _follow(self, func: Any, args: Any, kwargs: Any, found: Any) -> None:
        name = getattr(func, "__name__", "")
        if name == "linear":
            _put(found, self._linear(found, *args, **kwargs))
        elif name in _PRODUCTS:
            _put(found, self._product(_label(args[0]), _label(args[1]), found))
        elif name == "scaled_dot_product_attention":
            _put(found, self._attention(args, kwargs, found))
        elif name == "einsum":
            _put(found, self._einsum(args, found))
        elif name in _MOVES or (name == "__get__" and func in [p.__get__ for p in _PROPERTIES]):
            self._move(func, args, kwargs, found)
        elif name in _POINTWISE or name in _NORMS:
            _put(found, self._pointwise(name, [*args, *kwargs.values()], found))
        elif isinstance(found, Tensor):
            _put(found, None)

    def _linear(self, found: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Label | None:
        name = self._names.get(id(weight))
        if name is None:
            return None
        read = _label(x)
        if read is not None and not read.scores:
            lines = read.channels.reshape(-1, x.shape[-1])
            self.seen.readers.append((name, lines[0], read.mixed or bool((lines != lines[0]).any())))
        if name not in self.seen.rows:
            first = self.seen.channels
            self.seen.rows[name] = range(first, first + len(weight))
        rows = self.seen.rows[name]
        channels = torch.arange(rows.start, rows.stop)
        if bias is not None and id(bias) in self._names:
            self.seen.vectors.append((self._names[id(bias)], 0, channels))
        return Label(channels.expand(found.shape))

    def _move(self, func: Any, args: Any, kwargs: Any, found: Any) -> None:
        labels: list[Label] = []

        def channels(x: Tensor) -> Tensor:
            own = _label(x)
            if own is not None:
                labels.append(own)
                return own.channels
            return torch.full(x.shape, -1) if x.is_floating_point() else x

        moved = tree_map_only(Tensor, channels, (list(args), dict(kwargs)))
        if not labels:
            for value in found if isinstance(found, list | tuple) else (found,):
                _put(value, None)
            return
        # Its number type is not for labels to follow.
        changed = (
            labels[0].channels
            if func in (Tensor.to, Tensor.float, Tensor.type_as)
            else _LOOSE.get(func, func)(*moved[0], **moved[1])
        )
        mixed, scores = any(x.mixed for x in labels), labels[0].scores
        pairs = zip(found, changed, strict=True) if isinstance(found, list | tuple) else [(found, changed)]
        for value, new in pairs:
            _put(value, Label(new, mixed, scores))

    def _pointwise(self, name: str, values: list[Any], found: Tensor) -> Label | None:
        known = [x for x in map(_label, values) if x is not None]
        if not known or not isinstance(found, Tensor):
            return None
        first, *others = known
        if name not in _NORMS and not first.scores:
            self._vectors(values, first.channels)
        mixed = any(x.mixed for x in known) or name in _NORMS
        channels = first.channels.expand(found.shape)
        for other in others:
            pair = channels, other.channels.expand(found.shape)
            if name in _TIES and not (first.scores or other.scores):
                self.seen.tied.append(
                    (pair[0].reshape(-1, found.shape[-1])[0], pair[1].reshape(-1, found.shape[-1])[0])
                )
            elif not first.scores:
                mixed = True
                self.seen.streams |= {int(c) for x in pair for c in set(x.flatten().tolist())}
        return Label(channels, mixed, first.scores)

    def _vectors(self, values: list[Any], channels: Tensor) -> None:
        """Parameters with a number for each channel, which is in the last axis of both."""
        for value in values:
            name = self._names.get(id(value)) if isinstance(value, Tensor) else None
            if name is not None and value.shape[-1:].numel() == value.numel() == channels.shape[-1] > 1:
                lines = channels.reshape(-1, channels.shape[-1])
                if bool((lines == lines[0]).all()):
                    self.seen.vectors.append((name, value.ndim - 1, lines[0]))

    def _product(self, a: Label | None, b: Label | None, found: Tensor) -> Label | None:
        """Queries by keys (…, n, d) (…, d, m), or scores by values (…, n, m) (…, m, d)."""
        if a is None or b is None or b.scores:
            return None
        leading, (n, m) = found.shape[:-2], found.shape[-2:]
        left, right = (
            x.channels.expand(*leading, *x.channels.shape[-2:]).flatten(0, -3) if leading else x.channels[None]
            for x in (a, b)
        )
        if a.scores:
            return Label(self._valued(left, right, n).reshape(found.shape))
        heads = torch.tensor([self._head(q, k) for q, k in zip(left, right, strict=True)])
        return Label(heads.view(-1, 1, 1).expand(-1, n, m).reshape(found.shape), scores=True)

    def _head(self, queries: Tensor, keys: Tensor) -> int:
        q, k = (frozenset(x.flatten().tolist()) - {-1} for x in (queries, keys))
        name: int = min(q)
        self._heads[name] = q, k | self._heads.get(name, (q, frozenset()))[1]
        return name

    def _valued(self, heads: Tensor, values: Tensor, n: int) -> Tensor:
        """(leading, n, d) channels of the values, each head's noted."""
        members: dict[int, frozenset[int]] = defaultdict(frozenset)
        for head, value in zip(heads[:, 0, 0].tolist(), values, strict=True):
            members[head] |= frozenset(value.flatten().tolist()) - {-1}
        self.seen.heads.append([frozenset().union(*self._heads[head], own) for head, own in members.items()])
        return values[:, :1].expand(-1, n, -1)

    def _attention(self, args: Any, kwargs: Any, found: Tensor) -> Label | None:
        q, k, v = (_label(x) for x in [*args, *(kwargs.get(n) for n in ("query", "key", "value")[len(args) :])][:3])
        if q is None or k is None or v is None:
            return None
        if kwargs.get("enable_gqa"):
            times = q.channels.shape[-3] // k.channels.shape[-3]
            k, v = (Label(x.channels.repeat_interleave(times, -3)) for x in (k, v))
        shape = torch.empty(*found.shape[:-1], k.channels.shape[-2])
        return self._product(self._product(q, Label(k.channels.mT), shape), v, found)

    def _einsum(self, args: Any, found: Tensor) -> Label | None:
        equation, *operands = args
        operands = operands[0] if len(operands) == 1 else operands
        inputs, _, out = equation.replace(" ", "").partition("->")
        first, second = inputs.split(",")
        batch = [c for c in out if c in first and c in second]
        (summed,) = (c for c in first if c in second and c not in out)
        (row,), (column,) = ([c for c in x if c not in batch and c != summed] for x in (first, second))
        a, b = map(_label, operands)
        if a is None or b is None:
            return None
        turned = [
            Label(x.channels.permute([letters.index(c) for c in order]), x.mixed, x.scores)
            for x, letters, order in ((a, first, [*batch, row, summed]), (b, second, [*batch, summed, column]))
        ]
        order = [*batch, row, column]
        label = self._product(turned[0], turned[1], found.permute([out.index(c) for c in order]))
        return label and Label(label.channels.permute([order.index(c) for c in out]), label.mixed, label.scores)


def names_of(channels: Iterable[int], seen: Seen) -> list[str]:
    """The matrices whose outputs these are, in the order in which they ran."""
    members = set(channels)
    return [name for name, rows in seen.rows.items() if not members.isdisjoint(rows)]
