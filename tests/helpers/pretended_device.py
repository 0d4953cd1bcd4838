"""A second device without one: tensors that compute as the CPU's do, say that they lie elsewhere, and meet no tensor of the CPU.

It takes the name of torch's `lazy` device, whose backend is never started: that of a GPU would look for one. As on a GPU, what lies on
different sides cannot be computed with, tensors of one number apart, and numpy reads nothing that was not brought back first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from engine.compress.torch_device import on_device

NAME = "lazy"
# Either side may be read from here, as from a GPU.
_BETWEEN = ("aten::copy_", "aten::_to_copy")


class _There(Tensor):
    """A tensor that lies there; `here` is the CPU's that it is made of."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> _There:
        made = Tensor._make_wrapper_subclass(
            cls, here.size(), here.stride(), here.storage_offset(), dtype=here.dtype, layout=here.layout, device=NAME
        )
        made.here = here
        return made

    __torch_dispatch__ = classmethod(lambda cls, func, types, args=(), kwargs=None: _computed(func, args, kwargs or {}))


class _Device(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [a for a in tree_flatten((args, kwargs))[0] if isinstance(a, Tensor)]
    there = [t for t in tensors if isinstance(t, _There)]
    if there and func._schema.name not in _BETWEEN and any(t.ndim and not isinstance(t, _There) for t in tensors):
        raise RuntimeError(f"{func} is given tensors of both devices")
    to = kwargs.get("device")
    goes_there = bool(there) if to is None else torch.device(to).type == NAME
    if to is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*tree_map(_brought_here, args), **tree_map(_brought_here, kwargs))
    if func._schema.is_mutable and isinstance(found, Tensor):
        return args[0]
    return tree_map(lambda f: _There(f) if isinstance(f, Tensor) and goes_there else f, found)


def _brought_here(value: Any) -> Any:
    return value.here if isinstance(value, _There) else value


@contextmanager
def on_pretended_device() -> Iterator[None]:
    """The calling thread's torch steps compute there, for as long."""
    with _Device(), on_device(NAME):
        yield
