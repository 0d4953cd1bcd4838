"""One image through one file, here and now: what it says, how sure it is, and about how long that took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Array
from engine.errors import StepError
from engine.graph.graph import gives_shares
from engine.measure.session import FloatArray, Runner
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


@dataclass(frozen=True)
class Model:
    """An opened file, and whether it gives shares, not scores that are yet to be made into them."""

    runner: Runner
    gives_shares: bool


def open_model(path: Path) -> Model:
    """A session with one thread; raises StepError when ONNX Runtime cannot load the file. Safe to run from several threads."""
    return Model(Runner(path, 1), gives_shares(onnx.load_model(path, load_external_data=False)))


def answer(model: Model, image: Array, preprocessing: Preprocessing, classes: Sequence[str]) -> Answer:
    """Run one image of shape (1, channels, height, width), as the dataset stores it.

    Raises StepError when the file does not take it, or does not give one finite score for each class.
    """
    runner = model.runner
    batch = runner.fixed_batch or 1
    images = np.repeat(preprocessing(image), batch, axis=0)
    scores = runner(images)
    if not classes:
        times = _times_ms(runner, images)
        return Answer((), float(np.median(times)), len(times), batch, outputs_text(scores[0], runner.parts))
    if scores.ndim != 2 or scores.shape[1] != len(classes):
        raise StepError(
            f"{runner.name} gives an output of shape {scores.shape}; {len(classes)} scores are needed, one for each class"
        )
    if model.gives_shares or are_shares(scores):
        scores = scores_of_shares(scores, least_share(scores))
    shares = softmax(scores[0].astype(np.float64), runner.name)
    best = np.argsort(-shares, kind="stable")[:TOP]
    times = _times_ms(runner, images)
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


def _times_ms(model: Runner, images: FloatArray) -> list[float]:
    started = time.perf_counter()
    times: list[float] = []
    for number in range(WARM_UPS + RUNS):
        before = time.perf_counter()
        model(images)
        after = time.perf_counter()
        if number >= WARM_UPS or after - started > LONGEST_S:
            times.append((after - before) * 1e3)
        if times and after - started > LONGEST_S:
            break
    return times
