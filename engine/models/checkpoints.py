"""Checkpoints as training scripts leave them: tensors under some key, beside an optimiser's state, their names behind a prefix.

What is looked for is known: the names of the network's own tensors. Whatever holds all of them, and nothing else beside, is the checkpoint.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import ModelError
from engine.models.catalog import is_torchscript, one_line

# Where several fit, the network as it was trained comes before the averages of it that a script keeps beside; then the file's own order.
_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
_PREFIXES = ("", "module.", "_orig_mod.", "model.", "net.", "network.")
_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel, DistributedDataParallel and `torch.compile` put before every name."""
# Plain values that scripts store beside tensors: the options of the command line, and the best accuracy as numpy counted it.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.float64(0).__reduce__()[0],
    *{type(np.dtype(t)) for t in "?bhilqBHILQefd"},
]
_DEPTH = 3


@dataclass(frozen=True)
class Weights:
    """A network's tensors by its own names; `note` says what was chosen where there was a choice. `fit`: they are all there, and alone."""

    state: dict[str, Tensor]
    note: str | None
    fit: bool


def read_weights(path: Path, names: Collection[str]) -> Weights:
    """The tensors of a user's checkpoint for a network whose tensors are called `names`.

    safetensors, or what `torch.save` wrote, if plain values are all that it holds beside tensors. Raises ModelError. Where nothing fits,
    the likeliest tensors are returned, for `load_state` to say what is wrong with them.
    """
    found = list(_state_dicts(_read(path), ""))
    if not found:
        raise ModelError(f"weights {path} are not a state dict; save them with torch.save(network.state_dict(), …)")
    found.sort(
        key=lambda pair: (
            _KEYS.index(key) if (key := pair[0].rpartition(".")[2]) in _KEYS else len(_KEYS) + ("ema" in key)
        )
    )
    fitting = [(key, prefix, state) for key, state in found for prefix in _prefixes(state, names)]
    if not fitting:
        return Weights(_unwrapped(found[0][1]), None, fit=False)
    key, prefix, state = fitting[0]
    same = [p for k, p, _ in fitting if k == key]
    if len(same) > 1 and prefix not in _PREFIXES:
        raise ModelError(
            f"weights {path} hold this network {len(same)} times, under {' and '.join(map(repr, same[:3]))}; save one of them alone"
        )
    chosen = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    others = [_place(k, p) for k, p, _ in fitting[1:]]
    left = len(state) - len(chosen)
    parts = [f"{' and '.join(others[:3])} would fit as well"] if others else []
    parts += [f"{left} other tensors were left out"] if left else []
    note = f"weights are those under {_place(key, prefix)} of {path.name}; {', and '.join(parts)}" if parts else None
    return Weights(chosen, note, fit=True)


def _place(key: str, prefix: str) -> str:
    return " at ".join(repr(part) for part in (key, prefix) if part) or "no key"


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"weights {path} cannot be read ({one_line(error)}); save them again") from None
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_HARMLESS):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if is_torchscript(path):
            raise ModelError(
                f"weights {path} are a TorchScript program, whose code is not run; save them with "
                f"torch.save(torch.jit.load({path.name!r}).state_dict(), …)"
            ) from None
        what = (
            "hold Python objects beside tensors" if "weights_only" in str(error) else "are damaged or not a checkpoint"
        )
        raise ModelError(
            f"weights {path} {what}; save them with torch.save(network.state_dict(), {path.name!r})"
        ) from None


def _state_dicts(content: Any, key: str, depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every mapping of names to tensors inside a checkpoint, with the keys that lead to it, joined by dots."""
    if not isinstance(content, Mapping):
        return
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if tensors:
        yield key, tensors
    if depth < _DEPTH:
        for name, value in content.items():
            if isinstance(name, str):
                yield from _state_dicts(value, f"{key}.{name}".lstrip("."), depth + 1)


def _prefixes(state: Mapping[str, Tensor], names: Collection[str]) -> list[str]:
    """What stands before the network's names in `state`, such that all of them are there and no other name has it; usual ones first.

    Without a prefix some may be missing: tensors that are stored once though they have two names, counters of old versions.
    """
    needed = {name for name in names if not name.endswith("num_batches_tracked")}
    anchor = next(iter(sorted(needed)), None)
    if anchor is None:
        return []
    possible = {name.removesuffix(anchor) for name in state if name.endswith(anchor)} | {""}
    found = []
    for prefix in sorted(p for p in possible if not p or p.endswith(".")):
        inside = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
        if inside <= set(names) and (needed <= inside or not prefix):
            found.append(prefix)
    return sorted(found, key=lambda p: _PREFIXES.index(p) if p in _PREFIXES else len(_PREFIXES))


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what wrappers put before every name."""
    for prefix in [w for _ in range(len(_WRAPPERS)) for w in _WRAPPERS]:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
