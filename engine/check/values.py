"""What a few samples say of a network whose outputs are values: which preprocessing fits the targets, and whether anything does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.check.findings import Finding
from engine.datasets.splits import Split
from engine.errors import StepError
from engine.graph.outputs import Layout
from engine.measure.task_metric import scored
from engine.metrics import METRICS
from engine.quality.scored import score
from engine.quality.task_scores import same_axes
from engine.spec.metric import MetricChoice

Floats = npt.NDArray[np.float64]
# Of a paired difference, in standard errors: beyond this chance hardly explains it.
_CLEARLY = 4.0
# So many times smaller must the error be for another preprocessing to contradict what a spec says.
_MUCH = 1.2
_FOLLOWS = 0.7
# A share of a hundred or more is hardly meant: rates of errors may pass 1, not by so much.
_SHARES = 2.0


@dataclass(frozen=True)
class Judged:
    """`errors`: of each way, the root of the mean squared error as a share of the targets' deviation; None where outputs are no such
    numbers.

    `chosen`: the way that is taken.
    """

    errors: tuple[float | None, ...]
    chosen: int
    findings: tuple[Finding, ...] = field(default=())
    baseline: dict[str, Any] | None = None


def judge(
    names: Sequence[str],
    answers: Sequence[Floats],
    samples: Split,
    metric: MetricChoice | None,
    fixed: int | None,
    usual: int,
    has_weights: bool,
    layout: Layout | None = None,
) -> Judged:
    """Answers (n, …) by every way, of several outputs side by side as `layout` has it. `fixed` is the one that is taken whatever they say,
    `usual` where nothing tells. Raises StepError.
    """
    # Of several outputs only what the metric names can be held against the targets as numbers.
    held = [found if layout is None else _held(found, layout, metric) for found in answers]
    squares = [None if found is None else _squares(found, samples.targets) for found in held]
    errors = tuple(None if s is None else float(np.sqrt(s.mean())) for s in squares)
    known = [i for i, s in enumerate(squares) if s is not None]
    rated: list[float] | None = [errors[i] or 0.0 for i in known] if known else None
    if rated is None and metric is not None and samples.targets is not None:
        known, rated = list(range(len(answers))), [_rating(metric, found, samples, layout) for found in answers]
    best = None if rated is None else known[int(np.argmin(rated))]
    chosen = fixed if fixed is not None else usual if best is None else best
    findings: list[Finding] = []
    if best is None and fixed is None:
        told = f"nothing tells which preprocessing the network was trained with; {names[chosen]!r} is a guess"
        findings.append(Finding("warning", told, "state data.preprocess as in training"))
    one, other = squares[chosen], squares[best] if best is not None else None
    if best not in (None, chosen) and one is not None and other is not None and _clearly_less(other, one):
        told = (
            f"inputs are not prepared as in training: the error is {errors[chosen]:.3g} of the targets' deviation as the spec says, "
            f"{errors[best or 0]:.3g} with {names[best or 0]!r}"
        )
        findings.append(Finding("error", told, "write data.preprocess so"))
    elif one is not None and (own := held[chosen]) is not None and one.mean() >= 1:
        findings.append(_no_better_than_the_mean(own, samples, float(np.sqrt(one.mean())), has_weights))
    baseline = _baseline(metric, answers[chosen], samples, layout)
    if (
        baseline is not None
        and baseline["unit"] == "%"
        and metric is not None
        and metric.source
        and baseline["value"] > _SHARES
    ):
        value = baseline["value"]
        told = f"the metric gives {value:.4g} in the unit %, which shows a share as a hundred times that: {value * 100:.6g} %"
        findings.append(Finding("warning", told, f"return shares ({value / 100:.4g}), or state another unit"))
    return Judged(errors, chosen, tuple(findings), baseline)


def _held(found: Floats, layout: Layout, metric: MetricChoice | None) -> Floats | None:
    if metric is None or metric.output is None or metric.output not in layout.names:
        return None
    return layout.apart(found)[metric.output].astype(np.float64)


def _squares(outputs: Floats, targets: npt.NDArray[Any] | None) -> Floats | None:
    """Squared errors of each sample (n,), as shares of the targets' variance; None where the two are not the same kind of numbers."""
    if targets is None or targets.dtype.kind != "f" or not same_axes(outputs.shape, targets.shape):
        return None
    wanted = targets.reshape(len(targets), -1).astype(np.float64)
    variance = wanted.var(axis=0).mean()
    if not variance > 0:
        return None
    found: Floats = np.square(np.clip(outputs.reshape(wanted.shape), -1e150, 1e150) - wanted).mean(axis=1) / variance
    return found


def _clearly_less(these: Floats, those: Floats) -> bool:
    apart = those - these
    if those.mean() < _MUCH * these.mean():
        return False
    return bool(apart.mean() > _CLEARLY * apart.std() / np.sqrt(len(apart)))


def _no_better_than_the_mean(outputs: Floats, samples: Split, error: float, has_weights: bool) -> Finding:
    assert samples.targets is not None
    given, wanted = outputs.reshape(len(samples), -1), samples.targets.reshape(len(samples), -1).astype(np.float64)
    follows = [
        np.corrcoef(a, b)[0, 1] if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0
        for a, b in zip(given.T, wanted.T, strict=True)
    ]
    told = f"outputs are no closer to the targets than their mean is (error {error:.3g} of their deviation)"
    remedy = (
        "see that the network is trained, that `weights` are given, and that targets are what it was trained to give"
    )
    if np.mean(follows) > _FOLLOWS:
        slope, shift = np.polyfit(wanted[:, 0], given[:, 0], 1)
        told += f", but follow them (correlation {np.mean(follows):.2f}): output ≈ {slope:.3g} · target + {shift:.3g}"
        remedy = "give targets in the unit and scale that the network was trained with"
    return Finding("error" if has_weights else "warning", told, remedy)


def _rating(metric: MetricChoice, outputs: Floats, samples: Split, layout: Layout | None) -> float:
    """Smaller is better; a way with which the metric is not defined is the worst."""
    try:
        value = scored(metric, outputs, samples.targets, layout=layout)[0].value
    except StepError:
        return np.inf
    return -value if metric.better == "max" else value


def _baseline(
    metric: MetricChoice | None, outputs: Floats, samples: Split, layout: Layout | None
) -> dict[str, Any] | None:
    if metric is None or samples.targets is None:
        return None
    found = score(metric.key, scored(metric, outputs, samples.targets, layout=layout)[0], len(samples), None)
    shown = METRICS[metric.key]
    return {
        "metric": shown.name,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "unit": shown.unit,
        "key": metric.key,
    }
