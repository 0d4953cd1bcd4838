"""Inputs as torch networks take them: one tensor, or several by the names of what `forward` takes; and the output that counts.

Constants, and the choice of an output, are hooks of the network: a wrapper would rename all of its tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.graph.inputs import Inputs, Shape, blank, is_array

Tensors = Tensor | dict[str, Tensor]
"""(n, …), or several of these by name."""


def as_tensors(inputs: Inputs, device: torch.device | str = "cpu") -> Tensors:
    """Inputs as tensors on a device; on the CPU they share the arrays' memory."""
    if is_array(inputs):
        return torch.from_numpy(inputs).to(device)
    return {name: torch.from_numpy(array).to(device) for name, array in inputs.arrays.items()}


def call(network: Callable[..., Any], tensors: Tensors) -> Any:
    """What a network says of inputs: several go in by their names."""
    return network(**tensors) if isinstance(tensors, dict) else network(tensors)


def blank_tensors(shape: Shape, n: int, device: torch.device | str = "cpu") -> Tensors:
    """So many blank inputs."""
    return as_tensors(blank(shape, n), device)


class _Constants:
    """Adds what a network takes beside its inputs, the same for every sample."""

    def __init__(self, values: Mapping[str, Any], only: str | None) -> None:
        self.values, self.only = dict(values), only

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        device = next(module.parameters(), torch.zeros(0)).device
        made = {n: torch.tensor(v, device=device) if isinstance(v, list) else v for n, v in self.values.items()}
        if self.only is not None and len(args) == 1:
            return (), {self.only: args[0], **kwargs, **made}
        return args, {**kwargs, **made}


class _Chosen:
    """Takes one of the outputs."""

    def __init__(self, key: str | int) -> None:
        self.key = key

    def __call__(self, module: nn.Module, inputs: Any, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            return outputs
        try:
            return outputs[self.key]
        except (KeyError, IndexError, TypeError):
            found = getattr(outputs, self.key, None) if isinstance(self.key, str) else None
            if found is not None:
                return found
            raise ModelError(
                f"the network has no output {self.key!r} (it gives {outputs_text(outputs)}); correct model.output"
            ) from None


def fit_interface(
    network: nn.Module,
    source: str,
    inputs: Sequence[str],
    constants: Mapping[str, Any],
    output: str | int | None,
    states: Collection[str] = (),
) -> None:
    """Make a network take the inputs named, in place, constants beside them, and give one output; `states` are added by others.

    Raises ModelError for unknown names.
    """
    if inputs or constants:
        _check_names(network, source, [*inputs, *constants, *states])
    only = inputs[0] if len(inputs) == 1 else None
    if constants or only:
        network.register_forward_pre_hook(_Constants(constants, only), with_kwargs=True)
    if output is not None:
        network.register_forward_hook(_Chosen(output))


def _check_names(network: nn.Module, source: str, names: Sequence[str]) -> None:
    parameters = inspect.signature(network.forward).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ModelError(
            f"model {source!r} takes no input {unknown!r} (its forward takes {', '.join(known) or 'none by name'}); correct data.inputs"
        )
    missing = next(
        (p.name for p in parameters if p.default is p.empty and p.name in known and p.name not in names), None
    )
    if missing is not None:
        raise ModelError(
            f"model {source!r} also takes {missing!r}; name its array, or a number, under data.inputs, or give it a default in forward"
        )


def outputs_text(outputs: Any) -> str:
    """What a network gives that is not one tensor, for messages."""
    if isinstance(outputs, Mapping):
        return ", ".join(map(str, outputs))
    if isinstance(outputs, list | tuple):
        return f"{len(outputs)} outputs, 0 to {len(outputs) - 1}"
    return type(outputs).__name__
