"""Attention with fewer heads than a network's code says: what the code states as sizes of views is corrected while it runs.

A module that lost heads keeps its code, which may have the number of heads in attributes, in constants, or in what it divides by what.
The calls that its forward makes to view, reshape, expand, unflatten and split are numbered; some of their sizes are scaled. The numbers
stay with the module as an attribute, and with an artifact as a tensor beside the weights; the classes that apply them are made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from engine.errors import ModelError

Size = tuple[int, int, int, int]
"""(call, place among its sizes, what the code means, what it is now); multiples of the former become as many of the latter."""
_FOLDER = "sizes/"
"""What names of sizes begin with in an artifact; no tensor's own name has a slash."""
_ATTRIBUTE = "narrowed_sizes"

VIEWS = frozenset({Tensor.view, Tensor.reshape, torch.reshape, Tensor.expand})
UNFLATTENS = frozenset({Tensor.unflatten, torch.unflatten})
SPLITS = frozenset({Tensor.split, torch.split})
SIZED = VIEWS | UNFLATTENS | SPLITS
"""Calls whose sizes are numbers of the code. Their places: axes of the result, or, of a split, its parts."""


def sizes_of(layer: nn.Module) -> tuple[Size, ...]:
    """What is corrected in a layer's own calls."""
    found: tuple[Size, ...] = getattr(layer, _ATTRIBUTE, ())
    return found


def can_narrow(layer: nn.Module) -> bool:
    """Whether the sizes of a layer's calls can be corrected: its class has the forward that runs."""
    return "forward" not in vars(layer) and not isinstance(layer, fx.GraphModule | torch.jit.ScriptModule)


def narrow(network: nn.Module, sizes: Mapping[str, Iterable[Size]]) -> nn.Module:
    """Correct sizes in the calls of the layers named, in place; what was corrected before in the same place is replaced.

    Every attention of torch's own is then computed by operations that show, as its fused forms take no other inner width than the outer.
    """
    for path, new in sizes.items():
        layer = network.get_submodule(path)
        merged = {(call, place): (meant, now) for call, place, meant, now in sizes_of(layer)}
        for call, place, meant, now in new:
            first, last = merged.get((call, place), (meant, meant))
            merged[call, place] = (first if last == meant else meant, now)
        vars(layer)[_ATTRIBUTE] = tuple((*key, *value) for key, value in sorted(merged.items()))
    return write_out(network)


def write_out(network: nn.Module) -> nn.Module:
    """`network`, in place, with torch's own attentions computed by operations that show, and the sizes that it has noted corrected."""
    for layer in network.modules():
        if type(layer).forward is nn.MultiheadAttention.forward and _is_usual(layer):
            layer.__class__ = _WrittenOut
            # Encoder layers ask this of an attention before they take a fused way around it.
            vars(layer)["_qkv_same_embed_dim"] = False
        if sizes_of(layer) and not isinstance(layer, _Narrowed):
            layer.__class__ = _narrowed(type(layer))  # type: ignore[arg-type]  # classes can be hashed
        if isinstance(layer, nn.TransformerEncoder):
            layer.enable_nested_tensor = layer.use_nested_tensor = False
    return network


def packed_sizes(network: nn.Module) -> dict[str, Tensor]:
    """The corrected sizes as tensors for an artifact."""
    named = {path: sizes_of(layer) for path, layer in network.named_modules()}
    return {_FOLDER + path: torch.tensor(sizes) for path, sizes in named.items() if sizes}


def unpack_sizes(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Correct the sizes in `network` that an artifact's tensors hold, and return the other tensors. Raises ModelError."""
    found = {name.removeprefix(_FOLDER): value for name, value in state.items() if name.startswith(_FOLDER)}
    try:
        if found:
            narrow(network, {path: [(*map(int, row),) for row in value] for path, value in found.items()})  # type: ignore[misc]
    except (AttributeError, ValueError) as error:
        raise ModelError(
            f"the artifact's note of removed heads does not fit its network ({error}); run again"
        ) from None
    return {name: value for name, value in state.items() if not name.startswith(_FOLDER)}


class _Corrected(TorchFunctionMode):
    """Counts the calls that state sizes, and scales those that are to be."""

    def __init__(self, sizes: Iterable[Size]) -> None:
        super().__init__()
        self._calls = 0
        self._sizes: dict[int, dict[int, tuple[int, int]]] = {}
        for call, place, meant, now in sizes:
            self._sizes.setdefault(call, {})[place] = (meant, now)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in SIZED:
            if self._calls in self._sizes:
                args = _with_sizes(func, args, kwargs, self._sizes[self._calls])
            self._calls += 1
        return func(*args, **kwargs)


def _with_sizes(func: Any, args: Any, kwargs: dict[str, Any], new: Mapping[int, tuple[int, int]]) -> Any:
    """The arguments of a sized call with some of its sizes scaled; keyword arguments become positional ones, in place."""

    def scaled(place: int, size: Any) -> Any:
        meant, now = new.get(place, (1, 1))
        # While a network is traced sizes are tensors, whose value decides here and nowhere else.
        fits = meant != now and int(size) > 0 and int(size) % meant == 0
        return size // meant * now if fits else size

    x = args[0] if args else kwargs.pop("input")
    rest = [*args[1:]]
    if func in VIEWS:
        rest += [kwargs.pop(name) for name in ("size", "shape") if name in kwargs]
        stated = rest[0] if len(rest) == 1 and isinstance(rest[0], list | tuple) else rest
        return (x, *((tuple(scaled(i, s) for i, s in enumerate(stated)),)))
    names = ("dim", "sizes") if func in UNFLATTENS else ("split_size", "split_size_or_sections")
    rest += [kwargs.pop(name) for name in names if name in kwargs]
    if func in UNFLATTENS:
        first = rest[0] % x.ndim
        return (x, rest[0], tuple(scaled(first + i, s) for i, s in enumerate(rest[1])))
    parts = rest[0]
    return (
        x,
        [scaled(i, s) for i, s in enumerate(parts)] if isinstance(parts, list | tuple) else scaled(0, parts),
        *rest[1:],
    )


class _Narrowed:
    """What a layer whose sizes are corrected has before its own class."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _Corrected(vars(self)[_ATTRIBUTE]):
            return super().forward(*args, **kwargs)  # type: ignore[misc]  # that of the layer's class


@cache
def _narrowed(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (_Narrowed, kind), {})


def _is_usual(layer: Any) -> bool:
    """One matrix for queries, keys and values, and nothing added to them."""
    return layer.in_proj_weight is not None and layer.bias_k is None and not layer.add_zero_attn


class _WrittenOut(nn.MultiheadAttention):
    """torch's attention by operations that show (Vaswani et al. 2017, arXiv:1706.03762, section 3.2), of whatever inner width."""

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As torch's own; masks are True, or −inf, where nothing is to be seen."""
        same, single = query is key is value, query.ndim == 2
        if single:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        q, k, v = self._projected(query, key, value, same)
        scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
        if attn_mask is not None:
            mask = attn_mask if attn_mask.ndim == 2 else attn_mask.reshape(-1, self.num_heads, *attn_mask.shape[1:])
            scores = scores + _added(mask, scores)
        if key_padding_mask is not None:
            scores = scores + _added(key_padding_mask.reshape(-1, 1, 1, key_padding_mask.shape[-1]), scores)
        weights = F.dropout(scores.softmax(3), self.dropout, self.training)
        found: Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        if single:
            found, weights = found.squeeze(0), weights.squeeze(0)
        elif not self.batch_first:
            found = found.transpose(0, 1)
        if not need_weights:
            return found, None
        return found, weights.mean(-3) if average_attn_weights else weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor, same: bool) -> tuple[Tensor, ...]:
        """(n, heads, points, width of a head) of queries, keys and values."""
        if same:
            projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            heads = projected.reshape(*query.shape[:2], 3, self.num_heads, self.head_dim)
            return heads.permute(2, 0, 3, 1, 4).unbind(0)
        weights = self.in_proj_weight.chunk(3)
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return tuple(
            F.linear(x, w, b).reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)
            for x, w, b in zip((query, key, value), weights, biases, strict=True)
        )


def _added(mask: Tensor, scores: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(mask, -torch.inf)
