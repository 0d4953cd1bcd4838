"""Torch networks of which several tensors go in and out: states that are fed back, and outputs that count at once.

Hooks of the network do it, since a wrapper would rename all of its tensors. Closed, as steps train and prune it, a network begins each
sample with states of zeros and gives one tensor; opened, as it is exported, it also takes the states, and gives all that it has to give.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.graph.inputs import Shape
from engine.graph.states import State
from engine.models.state_sizes import BATCH
from engine.models.torch_inputs import blank_tensors, call, outputs_text

_TRIED = (2, 3)


@dataclass(frozen=True)
class Wanted:
    """What of a network counts: `outputs` by name or number, and `states`, each with the output that is fed back into it.

    `sizes`: of states whose sizes `forward` does not tell, with None for the axis that counts samples. `units`: what each of several
    outputs is divided by where they lie side by side (`engine/graph/outputs.py`), so that all weigh the same.
    """

    outputs: tuple[str | int, ...] = ()
    states: Mapping[str, str | None] = field(default_factory=dict)
    sizes: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    units: tuple[float, ...] = ()

    @property
    def fed_back(self) -> dict[str, str]:
        """The states that an output is fed back into."""
        return {name: back for name, back in self.states.items() if back is not None}


def _flat(outputs: Any) -> list[Any]:
    return [t for one in outputs for t in _flat(one)] if isinstance(outputs, list | tuple) else [outputs]


def taken_apart(outputs: Any, wanted: Wanted, source: str) -> tuple[list[Tensor], list[Tensor]]:
    """Of what `forward` returns the tensors that count, and those that are fed back, by `Wanted.fed_back`; raises ModelError."""
    backs = [*wanted.fed_back.values()]
    names: list[str | int] = [*wanted.outputs, *backs]
    if isinstance(outputs, Mapping) or (hasattr(outputs, "_fields") and not isinstance(outputs, Mapping)):
        held = dict(outputs) if isinstance(outputs, Mapping) else outputs._asdict()
        if not wanted.outputs:
            names = [*(name for name in held if name not in backs), *backs]
        found = [[*held.values()][n] if isinstance(n, int) and n < len(held) else held.get(n) for n in names]
    else:
        flat = _flat(outputs)
        if all(isinstance(n, str) for n in wanted.outputs):
            # Of a tuple nothing has a name: what counts comes first, then states, in the order in which they are named.
            found = flat if len(flat) == (len(wanted.outputs) or 1) + len(backs) else [None]
        else:
            chosen = [n if isinstance(n, int) else -1 for n in wanted.outputs]
            rest = [t for i, t in enumerate(flat) if i not in chosen]
            found = [flat[n] if 0 <= n < len(flat) else None for n in chosen]
            found += rest[len(rest) - len(backs) :] if len(rest) >= len(backs) else [None]
    if any(not isinstance(t, Tensor) for t in found) or len(found) < len(names) or (len(found) - len(backs)) < 1:
        listed = ", ".join(map(str, names)) or "one"
        raise ModelError(
            f"model {source!r} gives {outputs_text(outputs)}, of which {listed} cannot be told; return a dict by these names, or a tuple "
            "of what counts and then the states, and no more"
        )
    if not wanted.outputs and len(found) - len(backs) != 1:
        raise ModelError(
            f"model {source!r} gives {outputs_text(outputs)}; say which counts: model.output, a name or a number, or model.outputs"
        )
    tensors = [t for t in found if isinstance(t, Tensor)]
    cut = len(tensors) - len(backs)
    return tensors[:cut], tensors[cut:]


class Remembering:
    """The hooks of one network. `opened`: it takes and gives all; otherwise one tensor, states beginning as zeros."""

    def __init__(self, wanted: Wanted, source: str) -> None:
        self.wanted, self.source, self.opened = wanted, source, False
        self.widths: list[int] = []
        """How many numbers of a sample each of several outputs has, known after the first call."""
        self._sizes: dict[str, Sequence[int | None]] = {}
        self._known_for: int | None = None

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Add the states that are not given."""
        missing = [name for name in self.wanted.states if name not in kwargs]
        if not missing:
            return args, kwargs
        # Its size as a trace sees it: len() would be a number in it.
        first = next(t for t in (*args, *kwargs.values()) if isinstance(t, Tensor))
        sizes = self._sized(module, args, kwargs)
        zeros = {
            name: torch.zeros([first.shape[0] if s is None else s for s in sizes[name]], device=first.device)
            for name in missing
        }
        return args, kwargs | zeros

    def after(self, module: nn.Module, args: Any, kwargs: Any, outputs: Any) -> Any:
        """Keep what counts."""
        counting, backs = taken_apart(outputs, self.wanted, self.source)
        if self.opened:
            return (*counting, *backs)
        if len(counting) == 1:
            return counting[0]
        return self.together(counting)

    def together(self, counting: Sequence[Tensor]) -> Tensor:
        """Several outputs side by side, (n, numbers), each by its own unit; raises ModelError where they do not have one row a sample."""
        if any(t.ndim < 1 or len(t) != len(counting[0]) for t in counting):
            shapes = ", ".join(str(tuple(t.shape)) for t in counting)
            raise ModelError(
                f"model {self.source!r}: outputs that count have one row for each sample, but these are {shapes}; leave out those of other "
                "lengths"
            )
        self.widths = [t[0].numel() for t in counting]
        units = self.wanted.units or (1.0,) * len(counting)
        return torch.cat([(t.float() / u).reshape(len(t), -1) for t, u in zip(counting, units, strict=True)], 1)

    def _sized(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Sequence[int | None]]:
        """Sizes of the states, None for the axis that counts samples; steps may make layers smaller, and states with them."""
        numbers = sum(p.numel() for p in module.parameters())
        if self._known_for != numbers:
            self._sizes = {**self._found(module, args, kwargs), **self.wanted.sizes}
            self._known_for = numbers
        return self._sizes

    def _found(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> dict[str, Sequence[int | None]]:
        """By what `forward` gives back where it is given None."""
        unknown = [name for name in self.wanted.states if name not in self.wanted.sizes]
        if not unknown:
            return {}
        remedy = f"write its shape: data.inputs: {{{unknown[0]}: {{state: …, shape: [1, {BATCH}, 64]}}}}, say"
        if any(self.wanted.states[name] is None for name in unknown):
            raise ModelError(
                f"model {self.source!r}: nothing is fed back into state {unknown[0]!r}, so nothing tells its shape; {remedy}"
            )
        nothing = dict.fromkeys(unknown) | {
            name: torch.zeros([1 if s is None else s for s in sizes]) for name, sizes in self.wanted.sizes.items()
        }
        shapes = []
        modes = [(m, m.training) for m in module.modules()]
        module.eval()
        try:
            with torch.no_grad():
                for n in _TRIED:
                    some, named = ([_repeated(t, n) for t in args], {k: _repeated(t, n) for k, t in kwargs.items()})
                    nothing |= {k: _of_batch(self.wanted.sizes[k], n) for k in self.wanted.sizes}
                    backs = taken_apart(module.forward(*some, **named, **nothing), self.wanted, self.source)[1]
                    shapes.append(dict(zip(self.wanted.fed_back, (tuple(t.shape) for t in backs), strict=True)))
        except ModelError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())[:120]
            raise ModelError(
                f"model {self.source!r} does not run where state {unknown[0]!r} is None, which would tell its shape ({text}); {remedy}"
            ) from None
        finally:
            for m, training in modes:
                m.training = training
        found: dict[str, Sequence[int | None]] = {}
        for name in unknown:
            one, other = (s[name] for s in shapes)
            moved = [i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b]
            if len(one) != len(other) or len(moved) != 1:
                raise ModelError(
                    f"model {self.source!r}: state {name!r} is {one} for {_TRIED[0]} samples and {other} for {_TRIED[1]}; one of its axes "
                    "must count samples"
                )
            found[name] = [None if i == moved[0] else size for i, size in enumerate(one)]
        return found

    def names(self, one: str) -> list[str]:
        """What the outputs that count are called in a graph, `one` where a single one has no name."""
        names = [str(n) if isinstance(n, str) else "" for n in self.wanted.outputs] or [""]
        taken = {*names, *self.wanted.states, *self.wanted.fed_back.values()}
        return [n or (one if len(names) == 1 and one not in taken else f"output_{i}") for i, n in enumerate(names)]

    def states(self, module: nn.Module, shape: Shape) -> list[tuple[State, Tensor]]:
        """Those that are fed back, with zeros for two samples of a shape."""
        with torch.no_grad():
            call(module, blank_tensors(shape, _TRIED[0], next(module.parameters(), torch.zeros(0)).device))
        sizes = self._sizes
        return [
            (State(name, back, list(sizes[name]).index(None)), _of_batch(sizes[name], _TRIED[0]))
            for name, back in self.wanted.fed_back.items()
        ]


def _repeated(value: Any, n: int) -> Any:
    return torch.cat([value[:1]] * n) if isinstance(value, Tensor) and value.ndim else value


def _of_batch(sizes: Sequence[int | None], n: int) -> Tensor:
    return torch.zeros([n if size is None else size for size in sizes])


def remember(network: nn.Module, source: str, wanted: Wanted) -> None:
    """Make a network one of `Remembering`, in place. Raises ModelError for states that `forward` does not take."""
    parameters = inspect.signature(network.forward).parameters.values()
    names = [p.name for p in parameters]
    unknown = next((name for name in wanted.states if name not in names), None)
    if unknown is not None and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise ModelError(
            f"model {source!r} takes no input {unknown!r} (its forward takes {', '.join(names) or 'none by name'}); correct model.state"
        )
    hooks = Remembering(wanted, source)
    network.register_forward_pre_hook(hooks.before, with_kwargs=True)
    network.register_forward_hook(hooks.after, with_kwargs=True)


def remembering(network: nn.Module) -> Remembering | None:
    """What a network was made with; None for one of one output and no states."""
    owners = (getattr(hook, "__self__", None) for hook in network._forward_hooks.values())
    return next((one for one in owners if isinstance(one, Remembering)), None)


@contextmanager
def opened(network: nn.Module) -> Iterator[nn.Module]:
    """The network while it takes its states and gives all outputs."""
    found = remembering(network)
    if found is None:
        yield network
        return
    found.opened = True
    try:
        yield network
    finally:
        found.opened = False
