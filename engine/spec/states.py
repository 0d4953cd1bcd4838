"""States of a network as a spec may write them, beside the arrays that are its other inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_states_of_the_model(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """A spec whose `data.inputs` has states beside arrays, `h: {state: hN, shape: [1, N, 64]}`, with these under `model`, where they are.

    Raises ValueError for a mapping of other words, and for a state that is also under `model.state`.
    """
    model, data = spec.get("model"), spec.get("data")
    if not isinstance(data, Mapping) or not isinstance(model, Mapping):
        return spec
    inputs = data.get("inputs")
    if not isinstance(inputs, Mapping):
        return spec
    found = {name: value for name, value in inputs.items() if isinstance(value, Mapping)}
    if not found:
        return spec
    states, shapes = dict(model.get("state") or {}), dict(model.get("state_shapes") or {})
    for name, value in found.items():
        if "state" not in value or {*value} - {"state", "shape"}:
            raise ValueError(
                f"data.inputs: {name} is {dict(value)!r:.60}; give the name of an array, a number, or {{state: OUTPUT}} (with shape: "
                "[1, N, 64] where the network does not tell it)"
            )
        if name in states:
            raise ValueError(f"{name} is under data.inputs and under model.state; leave it out of one of them")
        states[name] = value["state"]
        if "shape" in value:
            shapes[name] = value["shape"]
    rest = {name: value for name, value in inputs.items() if name not in found}
    own = {"state": states} | ({"state_shapes": shapes} if shapes else {})
    return {**spec, "model": {**model, **own}, "data": {**data, "inputs": rest or None}}
