"""What a network holds of the data between two of its layers, in parts of a few samples.

A layer is looked at with all data at once, and what it reads has to be there meanwhile. Where that takes more room than what it is computed
from, the hidden layer of a transformer's MLP or the expanded channels of a mobile network, it is computed again whenever it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor

from engine.compress.quantization.torch_graph import Call, execute

HELD = 2**27
"""Bytes that one network holds between two layers; beyond, it computes again what takes less room before."""


class Held:
    """`parts`: tensors by name, of a few samples each; `constants`: what calls read beside them. Calls run when they are `settled`, or as
    their results are read.
    """

    def __init__(self, parts: Iterable[Mapping[str, Tensor]], constants: Mapping[str, Tensor]) -> None:
        self._constants = constants
        self._parts = [dict(some) for some in parts]
        self._pending: list[Call] = []

    def then(self, calls: Iterable[Call]) -> None:
        """Calls to come after those before, in graph order."""
        self._pending.extend(calls)

    def settle(self) -> None:
        """Run what has not run and hold the results, unless they are larger than what they come from and than may be held."""
        if not self._pending:
            return
        for i, before in enumerate(self._parts):
            after = self._after(self._pending, before)
            if i == 0 and not self._may_hold(_bytes(after.values()), _bytes(before.values())):
                return
            self._parts[i] = after
        self._pending = []

    def to_come(self, calls: Iterable[Call]) -> None:
        """What will run from here on, beside what waits: constants that none of it reads are let go."""
        read = {name for call in (*self._pending, *calls) for name in call.inputs}
        self._constants = {name: value for name, value in self._constants.items() if name in read}

    def read(self, name: str) -> Iterator[Tensor]:
        """A tensor of each part in turn."""
        needed, calls = {name}, list[Call]()
        for call in reversed(self._pending):
            if not needed.isdisjoint(call.outputs):
                calls.append(call)
                needed.update(call.inputs)
        for some in self._parts:
            yield self._after(calls[::-1], some)[name] if calls else some[name]

    def length(self, name: str) -> int:
        """The first axis of a tensor, of all parts together."""
        if all(name not in call.outputs for call in self._pending):
            return sum(len(some[name]) for some in self._parts)
        # Parts are of one size but for the last.
        ends = Held([self._parts[0], self._parts[-1]], self._constants)
        ends.then(self._pending)
        first, last = (len(value) for value in ends.read(name))
        return first * (len(self._parts) - 1) + last

    def may_add(self, output: Tensor, spent: Sequence[str]) -> bool:
        """Whether a tensor, here of the first part, is to be held where those `spent` go."""
        held = self._parts[0]
        gone = _bytes(held[name] for name in spent if name in held)
        before = _bytes(held.values())
        return not self._pending and self._may_hold(before - gone + output.nbytes, before)

    def drop(self, part: int, names: Sequence[str]) -> None:
        """Let tensors of one part go."""
        for name in names:
            self._parts[part].pop(name, None)

    def add(self, name: str, values: Sequence[Tensor]) -> None:
        """Hold a tensor, given part by part."""
        for some, value in zip(self._parts, values, strict=True):
            some[name] = value

    def _may_hold(self, after: int, before: int) -> bool:
        return after <= before or after * len(self._parts) <= HELD

    def _after(self, calls: Sequence[Call], some: Mapping[str, Tensor]) -> dict[str, Tensor]:
        values = {**self._constants, **some}
        execute(calls, values)
        return {name: value for name, value in values.items() if name not in self._constants}


def _bytes(values: Iterable[Tensor]) -> int:
    return sum(value.nbytes for value in values)
