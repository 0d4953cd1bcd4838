"""One image through one file, here and now: what it says, how sure it is, and about how long that took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from engine.datasets.splits import Array
from engine.errors import StepError
from engine.graph.outputs import Layout, side_by_side
from engine.quality.changed_values import outputs_text
from engine.quality.predictions import are_shares, least_share, scores_of_shares

Floats = npt.NDArray[np.float64]

WARM_UPS, RUNS = 3, 15
LONGEST_S = 1.0
"""Slow networks are run fewer times, but once at least."""
TOP = 5


@dataclass(frozen=True)
class Answer:
    """What a file says of one image: its likeliest classes as (name, share), the likeliest first; `values` as text where there are none.

    `milliseconds` is the median of `runs` runs with one thread on this server, whatever else it was doing: informal, unlike the latencies
    of a sweep. `batch` is how many images each run took, more than one only where the file insists on it.
    """

    top: tuple[tuple[str, float], ...]
    milliseconds: float
    runs: int
    batch: int
    values: str | None = None

    @property
    def predicted(self) -> str:
        """The likeliest class; values as they are."""
        return self.top[0][0] if self.values is None else self.values

    @property
    def confidence(self) -> float:
        """Its softmax, in [0, 1]."""
        return self.top[0][1]


class Asked(Protocol):
    """A network that is ready to answer, as `engine/export/opened.py` opens it."""

    name: str
    labels: tuple[str, ...]
    names: list[str]
    fixed: int

    def fed(self, stored: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs as they are stored -> what the graph takes."""

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """All outputs that count, (n, …) each."""


def answer(model: Asked, image: Array, gives_shares: bool) -> Answer:
    """Run one image of shape (1, channels, height, width), as the dataset stores it; without labels its outputs are values.

    `gives_shares`: whether the file gives shares, not scores that are yet to be made into them. Raises what the model does when it does not
    take the image, StepError where it does not give one finite score for each class.
    """
    batch, classes = model.fixed or 1, model.labels
    fed = {name: np.repeat(array, batch, axis=0) for name, array in model.fed({"": image}).items()}
    found = model.run(fed)
    if not classes:
        layout = Layout.of(model.names, found) if len(found) > 1 else None
        values = side_by_side(found, model.names)[0] if layout else found[0][0]
        times = _times_ms(model.run, fed)
        text = outputs_text(values, layout.parts if layout else ())
        return Answer((), float(np.median(times)), len(times), batch, text)
    scores = found[0]
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        raise StepError(
            f"{model.name} gives an output of shape {scores.shape}; {len(classes)} scores are needed, one for each class"
        )
    if gives_shares or are_shares(scores):
        scores = scores_of_shares(scores, least_share(scores))
    shares = softmax(scores[0].astype(np.float64), model.name)
    best = np.argsort(-shares, kind="stable")[:TOP]
    times = _times_ms(model.run, fed)
    return Answer(
        top=tuple((classes[i], float(shares[i])) for i in best),
        milliseconds=float(np.median(times)),
        runs=len(times),
        batch=batch,
    )


def softmax(scores: Floats, name: str) -> Floats:
    """Scores (classes,) -> shares that add up to 1; raises StepError when one is not a number."""
    if np.isnan(scores).any():
        raise StepError(f"{name} gives scores that are not numbers (NaN) for this image")
    # Infinite scores are a certain answer; exp(inf - inf) would be none.
    values = np.clip(scores, -1e300, 1e300)
    powers: Floats = np.exp(values - values.max())
    shares: Floats = powers / powers.sum()
    return shares


def _times_ms(run: Callable[[Mapping[str, Array]], Any], fed: Mapping[str, Array]) -> list[float]:
    started = time.perf_counter()
    times: list[float] = []
    for number in range(WARM_UPS + RUNS):
        before = time.perf_counter()
        run(fed)
        after = time.perf_counter()
        if number >= WARM_UPS or after - started > LONGEST_S:
            times.append((after - before) * 1e3)
        if times and after - started > LONGEST_S:
            break
    return times
