"""What a model's file takes and gives, as servers tell it, and whether samples of several requests may share a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.export.predict_template import Array, BundleError, fed, fixed_batch, one_line
from engine.export.stream_template import begun, counted, states_of
from engine.export.verify_template import VALUES_MAY_DIFFER, relative_error

TYPES = {
    "tensor(float)": "FP32", "tensor(double)": "FP64", "tensor(float16)": "FP16", "tensor(bool)": "BOOL",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""ONNX Runtime's name of a type -> that of the Open Inference Protocol, and of Triton behind `TYPE_`."""
TRIED = 8
"""Samples that are asked together and each by itself."""


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph: its name, the protocol's name of its type, its shape with -1 where any size will do."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As the protocol's metadata has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def tensors_of(found: Any) -> tuple[Tensor, ...]:
    """What a session takes or gives; raises BundleError for what is no array of numbers."""
    tensors = []
    for one in found:
        if one.type not in TYPES:
            raise BundleError(f"{one.name} is {one.type}; arrays of numbers can be served")
        tensors.append(Tensor(one.name, TYPES[one.type], tuple(n if isinstance(n, int) else -1 for n in one.shape)))
    return tuple(tensors)


def asked_of(session: Any) -> tuple[Tensor, ...]:
    """What a caller gives: all inputs but the states, which begin as zeros for every sample. Raises BundleError."""
    states = {state["input"] for state in states_of(session)}
    return tensors_of(one for one in session.get_inputs() if one.name not in states)


def said_of(session: Any) -> tuple[Tensor, ...]:
    """What a caller gets: all outputs but those that are fed back. Raises BundleError."""
    names = counted(session)
    return tensors_of(one for one in session.get_outputs() if one.name in names)


def any_batch(session: Any) -> bool:
    """Whether the first axis of all that a file takes and gives is samples, as many as one likes."""
    states = {state["input"]: state["axis"] for state in states_of(session)}
    # One that does not tell samples apart, or is of so many and no more, begins anew for each.
    free = all(
        states[t.name] is not None and t.shape[states[t.name]] == -1
        for t in tensors_of(session.get_inputs())
        if t.name in states
    )
    tensors = (*asked_of(session), *said_of(session))
    return free and not fixed_batch(session) and all(tensor.shape[:1] == (-1,) for tensor in tensors)


def shares_calls(session: Any, sample: Mapping[str, Array], settings: Mapping[str, Any], arithmetic: str) -> bool:
    """Whether samples get the same answers in one call as each by itself, tried on a few, as they are stored; raises BundleError."""
    if settings.get("alone") or not any_batch(session):
        return False
    whole = fed(session, {name: array[:TRIED] for name, array in sample.items()}, dict(settings))
    asked = {tensor.name for tensor in asked_of(session)}
    taken = {name: array for name, array in whole.items() if name in asked}
    rows = len(next(iter(taken.values())))
    together = _called(session, taken)
    single = [_called(session, {name: array[i : i + 1] for name, array in taken.items()}) for i in range(rows)]
    alone = [np.concatenate(output) for output in zip(*single, strict=True)]
    if any(a.shape != b.shape for a, b in zip(together, alone, strict=True)):
        return False
    most = VALUES_MAY_DIFFER[arithmetic] / 10
    return all(relative_error(a, b) <= most for a, b in zip(together, alone, strict=True) if a.dtype.kind == "f")


def _called(session: Any, inputs: Mapping[str, Array]) -> Sequence[Array]:
    try:
        whole = {**inputs, **begun(session, len(next(iter(inputs.values()))))}
        return [np.asarray(output) for output in session.run(counted(session), whole)]
    except Exception as error:  # onnxruntime raises a dozen unrelated classes
        raise BundleError(f"the model cannot run on its own sample: {one_line(error)}") from None
