"""States of a network that remembers: inputs that begin as zeros, each with the output that is fed back into it.

A graph says which they are among its metadata, so that whoever feeds it needs no spec. Never imports torch or onnx: the process that times
loads no more than it needs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

KEY = "paretoscope.states"
"""Of the metadata that names them; bundles have it too, for whoever streams."""


@dataclass(frozen=True)
class State:
    """The input, the output that is fed back into it, and which of its axes counts samples; None where it has none."""

    input: str
    output: str
    axis: int | None


def states_of(model: onnx.ModelProto) -> tuple[State, ...]:
    """Those that a graph says it has."""
    return _read(next((p.value for p in model.metadata_props if p.key == KEY), None))


def states_of_session(session: Any) -> tuple[State, ...]:
    """The same of an ONNX Runtime session."""
    return _read(session.get_modelmeta().custom_metadata_map.get(KEY))


def _read(said: str | None) -> tuple[State, ...]:
    return tuple(State(**one) for one in json.loads(said)) if said else ()


def set_states(model: onnx.ModelProto, states: Sequence[State]) -> None:
    """Say which they are, in place; none for none."""
    kept = [(p.key, p.value) for p in model.metadata_props if p.key != KEY]
    del model.metadata_props[:]
    if states:
        kept.append((KEY, json.dumps([asdict(state) for state in states])))
    for key, value in kept:
        model.metadata_props.add(key=key, value=value)


def counted(model: onnx.ModelProto) -> list[str]:
    """The outputs that say something of a sample: all but those that are fed back."""
    return _without(states_of(model), [o.name for o in model.graph.output])


def counted_of_session(session: Any) -> list[str]:
    """The same of an ONNX Runtime session."""
    return _without(states_of_session(session), [o.name for o in session.get_outputs()])


def _without(states: Sequence[State], outputs: list[str]) -> list[str]:
    back = {state.output for state in states}
    return [name for name in outputs if name not in back]
