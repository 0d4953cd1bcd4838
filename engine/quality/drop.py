"""How much worse one network's answers are than another's to the same samples, in the unit of what they are judged by."""

from __future__ import annotations

from collections.abc import Sequence

from engine.metrics import METRICS, shown
from engine.quality.judged import judged
from engine.quality.predictions import Predictions
from engine.quality.scores import Labels
from engine.quality.values import Values
from engine.trials.evidence import Interval

_POINTS = 100.0


def drop(
    found: Predictions | Values,
    before: Predictions | Values,
    labels: Labels,
    classes: Sequence[str],
    key: str | None,
) -> Interval:
    """What was lost, paired, with its 95 % interval; below 0 where it got better.

    In the unit in which the spec's own metric `key` is shown; without one in points of accuracy; without labels in per cent of answers that
    are others, or of the length of the outputs.
    """
    said = judged(found, before, labels, classes, key, {})
    own = said["score"]
    if own is not None and own.vs_baseline is not None:
        lost = own.vs_baseline
        turned = -1.0 if METRICS[own.key].maximise else 1.0
        ends = sorted(turned * shown(own.key, end) for end in (lost.low, lost.high))
        return Interval(turned * shown(own.key, lost.value), *ends)
    if said["accuracy"] is not None and said["accuracy"].vs_baseline is not None:
        change = said["accuracy"].vs_baseline
        return Interval(-_POINTS * change.value, -_POINTS * change.high, -_POINTS * change.low)
    fidelity = said["fidelity"]
    if fidelity is not None and fidelity.agreement is not None:
        same = fidelity.agreement
        return Interval(_POINTS * (1 - same.value), _POINTS * (1 - same.high), _POINTS * (1 - same.low))
    if fidelity is None or fidelity.relative_error is None:
        raise ValueError("answers that cannot be compared")
    off = fidelity.relative_error
    return Interval(_POINTS * off.value, _POINTS * off.low, _POINTS * off.high)
