"""What a model remembers from call to call: states that begin as zeros, and the outputs that are fed back into them.

`predict_program` in `bundle.py` puts it into predict.py, in the place of what imports it; it needs numpy alone, and Python 3.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64"}
STREAMED, TURN = 32, 8
"""Samples of sample.npz that are held against what was recorded of them as streams of so many each."""


def states_of(session: Any) -> list[dict[str, Any]]:
    """Of a session: the `input` of each state, the `output` that is fed back into it, which `axis` of it counts samples (None for none)."""
    said = session.get_modelmeta().custom_metadata_map.get("paretoscope.states")
    found: list[dict[str, Any]] = json.loads(said) if said else []
    return found


def counted(session: Any) -> list[str]:
    """The outputs that say something of a sample."""
    back = {state["output"] for state in states_of(session)}
    return [one.name for one in session.get_outputs() if one.name not in back]


def begun(session: Any, n: int) -> dict[str, npt.NDArray[Any]]:
    """States as they begin, for n samples."""
    axes, found = {state["input"]: state["axis"] for state in states_of(session)}, {}
    for one in session.get_inputs():
        if one.name in axes:
            sizes = [n if i == axes[one.name] else size for i, size in enumerate(one.shape)]
            found[one.name] = np.zeros(sizes, _TYPES.get(one.type, one.type[7:-1]))
    return found


class Memory:
    """What one stream holds between calls."""

    def __init__(self, session: Any) -> None:
        self._session, self.states = session, states_of(session)
        self.reset()

    def reset(self) -> None:
        """Begin anew: states are zeros."""
        self.held = begun(self._session, 1)

    def run(self, feed: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """One call on what the file takes, its states replaced by what is held; what counts of the answer."""
        names = [*counted(self._session), *(state["output"] for state in self.states)]
        given = self._session.run(names, {**feed, **self.held})
        cut = len(names) - len(self.states)
        self.held = {state["input"]: array for state, array in zip(self.states, given[cut:])}
        return list(given[:cut])


def streamed(stream: Any, inputs: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """What a `Stream` says of the first inputs as streams of `TURN` samples, each begun anew."""
    parts, n = [], min(STREAMED, len(next(iter(inputs.values()))))
    for start in range(0, n, TURN):
        stream.reset()
        parts.append(stream({name: array[start : min(start + TURN, n)] for name, array in inputs.items()}))
    return np.concatenate(parts)
