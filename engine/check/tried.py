"""The ways to prepare numbers that were tried: how a classifier answers with each, which is taken, and what that leaves open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import yaml

from engine.check.candidates import Candidate
from engine.check.findings import Finding, better, is_chance, label_findings
from engine.check.sureness import confidence, information, log_shares
from engine.spec.sections import NAMED_PREPROCESSING, Preprocess

AS_STATED = "as the spec says"
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tried:
    """How a network answers samples prepared in one way. `right` of `n` samples, None without labels; `confidence`, the mean softmax of the
    class that is named; `information`: nats that an answer tells of the sample, by which ways are compared without labels. `error`: of
    outputs that are values, the root of the mean squared error as a share of the targets' deviation.
    """

    name: str
    preprocess: Preprocess
    right: int | None
    n: int
    confidence: float
    information: float
    chosen: bool = False
    error: float | None = None


def best_of(answers: list[npt.NDArray[np.float64]], labels: npt.NDArray[np.int64] | None) -> int:
    """Of answers (n, classes) each: the most right ones, of equals the likelier; without labels those that are sure and differ."""
    if labels is None:
        return int(np.argmax([information(scores) for scores in answers]))
    rated = [((s.argmax(1) == labels).sum(), log_shares(s)[np.arange(len(labels)), labels].mean()) for s in answers]
    return max(range(len(rated)), key=rated.__getitem__)


def tried_with(
    way: Candidate,
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64] | None,
    chosen: bool,
) -> Tried:
    """The record of one way."""
    right = None if labels is None else int((scores.argmax(1) == labels).sum())
    return Tried(way.name, way.preprocess, right, len(scores), confidence(scores), information(scores), chosen)


def judged(
    tried: tuple[Tried, ...],
    answers: list[npt.NDArray[np.float64]],
    labels: npt.NDArray[np.int64] | None,
    classes: tuple[str, ...],
    chosen: int,
    best: int,
    has_weights: bool,
) -> list[Finding]:
    """What the answers say of preprocessing and labels."""
    if labels is None:
        if len(tried) == 1:
            return []
        if tried[0].name != AS_STATED:
            told = f"without labels the preprocessing {tried[chosen].name!r} is a guess: answers are sure and differ most with it"
        elif chosen == best:
            return []
        else:
            told = f"without labels nothing proves the preprocessing; answers are surer, or differ more, with {tried[best].name!r}"
        return [Finding("warning", told, "state data.preprocess as in training")]
    if chosen != best and better(answers[best].argmax(1) == labels, answers[chosen].argmax(1) == labels):
        told = (
            f"inputs are not prepared as in training: {tried[chosen].right} of {tried[chosen].n} samples are right as the spec says, "
            f"{tried[best].right} with {tried[best].name!r}"
        )
        return [Finding("error", told, f"write data.preprocess: {said(tried[best].preprocess)}")]
    as_they_are = answers[chosen].argmax(1) == labels
    for scores in (answers[chosen], *answers):
        if found := label_findings(scores, labels, classes, as_they_are):
            return found
    if not is_chance(tried[chosen].right or 0, labels):
        return [] if tried[0].name == AS_STATED else _left_open(tried, [s.argmax(1) == labels for s in answers], chosen)
    told = f"the network is right on {tried[best].right} of {len(labels)} samples at best, no better than chance for {len(classes)} classes"
    # What a function builds may be meant to be trained by the recipes; a file, or a checkpoint, is not.
    level: Literal["error", "warning"] = "error" if has_weights else "warning"
    remedy = "see that it is trained, that `weights` are given, and that labels are numbered as in training"
    return [Finding(level, told, remedy)]


def _left_open(tried: tuple[Tried, ...], right: list[npt.NDArray[np.bool_]], chosen: int) -> list[Finding]:
    """Ways that the answers do not tell from the one that is taken, beyond chance."""
    others = [way.name for i, way in enumerate(tried) if i != chosen and not better(right[chosen], right[i])]
    if not others:
        return []
    listed = ", ".join(map(repr, others[:3])) + (", …" if len(others) > 3 else "")
    told = (
        f"{tried[chosen].n} samples do not tell the preprocessing {tried[chosen].name!r}, which is taken, from {listed}: about as many are "
        "right with either"
    )
    return [Finding("warning", told, "state data.preprocess as in training")]


def said(preprocess: Preprocess) -> str:
    """As one would write it in a spec."""
    said = preprocess.model_dump(mode="json", exclude_defaults=True)
    named = next((name for name, value in NAMED_PREPROCESSING.items() if value == said), None)
    return named or yaml.safe_dump(said, default_flow_style=True, width=1000, sort_keys=False).strip()
