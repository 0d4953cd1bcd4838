"""What trials say of one figure, on a scale on which steps add up: logarithms of sizes and times, log-odds of shares."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.metrics import METRICS
from engine.search.belief import Floats, Ints, Points
from engine.trials.evidence import Interval
from engine.trials.metric_values import metric_interval, metric_value
from engine.trials.trial import Trial

_LEAST_SHARE = 0.0005
_TO_SD = 2 * 1.959964
"""Width of a 95 % interval in standard deviations."""


@dataclass(frozen=True)
class Scale:
    """A metric, of which device, and the scale on which it is believed; `limit` is the target's, None without one."""

    key: str
    device: str
    kind: str
    limit: float | None = None

    @property
    def maximise(self) -> bool:
        """Whether more is better."""
        return METRICS[self.key].maximise

    def to(self, value: float) -> float:
        """The figure on the scale."""
        if self.kind == "share":
            share = min(max(value, _LEAST_SHARE), 1 - _LEAST_SHARE)
            return math.log(share / (1 - share))
        # A limit of nothing is far below whatever is measured.
        return math.log(max(value, sys.float_info.min)) if self.kind == "size" else value

    def back(self, scaled: Floats) -> Floats:
        """The inverse of `to`, of an array."""
        if self.kind == "share":
            return 1 / (1 + np.exp(-scaled))
        return np.exp(scaled) if self.kind == "size" else scaled

    def of(self, trial: Trial) -> float:
        """A trial's figure on the scale, NaN where it has none."""
        value = metric_value(trial, self.key, self.device)
        if value is None or not math.isfinite(value) or (self.kind == "size" and value <= 0):
            return math.nan
        return self.to(value)

    def noise(self, trial: Trial) -> float:
        """The standard deviation of a trial's figure on the scale: what other samples, other minutes would have changed of it."""
        found = metric_interval(trial, self.key, self.device)
        # Of a projection the interval tells how far the profile is off, which is the same for all recipes.
        if (
            not isinstance(found, Interval)
            or self.key == "energy_mj"
            or (self.key == "latency_ms" and self.device != "host")
        ):
            return 0.0
        if self.kind == "size" and found.low <= 0:
            return 0.0
        return abs(self.to(found.high) - self.to(found.low)) / _TO_SD


def scale_of(key: str, device: str, trials: Iterable[Trial], limit: float | None = None) -> Scale:
    """The scale of a metric, by the values that there are."""
    values = [v for t in trials if (v := metric_value(t, key, device)) is not None]
    metric = METRICS[key]
    if metric.maximise and metric.unit == "%" and all(0 <= v <= 1 for v in values):
        return Scale(key, device, "share", limit)
    if not metric.maximise and metric.unit != "points" and all(v > 0 for v in values):
        return Scale(key, device, "size", limit)
    return Scale(key, device, "plain", limit)


@dataclass(frozen=True)
class Source:
    """Trials of one origin, by the row of the space that each stands for; `own` where they are the sweep's own.

    `reference`: the same origin's baseline, which differences between origins are counted from.
    """

    trials: Mapping[int, Trial]
    reference: Trial | None


def told(
    scale: Scale, codes: Ints, own: Source, others: Iterable[Source], trained: Callable[[int], bool], expected: Floats
) -> tuple[Points, Floats, Floats]:
    """Where, what and how surely one figure was measured: points, values (n,) and standard deviations (n,), the sweep's own first; of
    values, what they are beyond what is `expected` of each row.

    The first of `others` are the sweep's own recipes in short: of those that do not train, the same file on fewer samples, no source of
    its own.
    """
    rows: list[int] = []
    sources: list[int] = []
    values: list[float] = []
    noises: list[float] = []
    base = scale.of(own.reference) if own.reference else math.nan
    for number, source in enumerate((own, *others)):
        shift = 0.0
        if number:
            there = scale.of(source.reference) if source.reference else math.nan
            if not (math.isfinite(base) and math.isfinite(there)):
                continue
            shift = base - there
        for row, trial in sorted(source.trials.items()):
            value = scale.of(trial)
            if not math.isfinite(value) or (number == 1 and row in own.trials and not trained(row)):
                continue
            rows.append(row)
            sources.append(0 if number == 1 and not trained(row) else number)
            values.append(value + shift - expected[row])
            noises.append(_beside_reference(scale, trial) if number == 1 else scale.noise(trial))
    return Points(codes[rows], np.array(sources, np.int64)), np.array(values), np.array(noises)


def _beside_reference(scale: Scale, trial: Trial) -> float:
    """The noise of a figure that is counted from the baseline's on the same samples: only those that are answered otherwise make it."""
    alone = scale.noise(trial)
    agree = trial.fidelity.agreement if trial.fidelity else None
    if agree is None or trial.accuracy is None or scale.key != "accuracy":
        return alone
    return alone * min(
        1.0,
        math.sqrt(
            (1 - agree.value + 1 / trial.accuracy.n) / max(1e-6, trial.accuracy.value * (1 - trial.accuracy.value))
        ),
    )
