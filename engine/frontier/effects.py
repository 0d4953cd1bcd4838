"""What each option of a sweep does: every metric's change between recipes that differ in that option alone, and how sure that is.

A grid has the same recipe with and without each option, so that the mean over those pairs is exact: nothing is modelled. Changes of shares,
scores and their like are differences in the metric's own unit, changes of bytes, counts, times and energy are ratios (geometric means).

The interval (95 %) is the root of the sum of two squares:

- how the change varies from pair to pair, since it depends on the rest of the recipe: Student's t over the pairs. It speaks of recipes
  like these, the pairs being a sample of them; where the change depends much on the rest, it is wide, and the pair effects say on what.
- what the measurements themselves leave open. Accuracy: the test images, the same ones in every pair, so what all recipes have in common
  cancels; from right and wrong per image where these are stored, else from the trials' own paired intervals, as if two trials of a pair
  were independent (they are not, so that is too wide). Latency: the trials' intervals of the ratio to the baseline. Others: the trials'
  intervals. Sizes and counts are exact; what a profile estimates for a device is off by much the same for all (`certainty.py`).

The first holds some of the second already, so the interval errs on the wide side. A single pair has the measurement's interval alone
(accuracy: Tango's, paired), and none where its metric has none. Each interval holds for itself: of twenty options that do nothing one
is expected to look as if it did.

Pair effects: by how much two options together differ from the two one by one, from recipes that exist with neither, either and both.

Where a sweep was searched and not walked whole, an option may lack pairs. With fewer than two of them, and recipes left unmatched, its
change is the coefficient of an ordinary least-squares fit of all finished recipes on which steps they have (`basis` says "regression"),
with the t interval of its residuals; where even that cannot tell the option from others, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np

from engine.frontier.certainty import Find
from engine.frontier.columns import Trials
from engine.frontier.contrasts import WITHOUT, Contrast, Read, Steps, contrasts
from engine.frontier.differences import Differences
from engine.frontier.estimates import Estimate, Fit
from engine.frontier.front import check_one_machine
from engine.frontier.joined import without_points
from engine.metrics import HOST_TIMES, is_score, score_part
from engine.trials.trial import Trial

MOST_PAIRED = 60
"""Pair effects are of so many options, those with the most recipes."""
MOST_COEFFICIENTS = 200

Basis = Literal["pairs", "regression"]


@dataclass(frozen=True)
class Effect:
    """What one option does: `name` instead of `instead`, a choice of `group`; `estimates` by metric; `trials`: the ids that have it."""

    key: str
    name: str
    instead: str
    group: str
    basis: Basis
    pairs: int
    trials: tuple[str, ...]
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Together:
    """What two options (their keys) do together beyond the two one by one: differences to add, ratios to multiply; `pairs` are fours."""

    first: str
    second: str
    pairs: int
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Effects:
    """All of a sweep: `metrics` in their order, what it is judged by first. `factorial`: every option was told by pairs."""

    metrics: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    together: tuple[Together, ...] = ()
    device: str = "host"
    by_key: Mapping[str, Effect] = field(default_factory=dict, repr=False)

    @property
    def factorial(self) -> bool:
        """Whether every option was told by pairs of recipes."""
        return all(e.basis == "pairs" for e in self.effects)


def effects(
    trials: Sequence[Trial], device: str = "host", find: Find | None = None, metrics: Sequence[str] = ()
) -> Effects:
    """What the options of the finished trials do, for every metric that they have (or those given).

    `find` leads to the stored predictions (`certainty.Find`); without it accuracy has the wider interval. Times of the host that two
    machines measured are left out, or where they were asked for refused by a SpecError.
    """
    done = without_points(Trials.of(trials).done)
    if not len(done):
        return Effects(device=device)
    keys = _told(done, device, metrics)
    if metrics:
        check_one_machine(done, keys, device)
    read = Read.of(done)
    found = contrasts(read)
    numbers = Differences(done, device, find)
    by_pairs, lacking = [], set[str]()
    for contrast in found:
        unmatched = len(contrast.having) - len(contrast.low)
        if contrast.instead == WITHOUT and len(contrast.low) < 2 and unmatched > 0:
            lacking.add(contrast.name)
            continue
        by_pairs.append(contrast)
    signs = np.array([-1.0, 1.0])
    made = [
        _effect(done, c, "pairs", len(c.low), numbers.estimates(keys, np.stack([c.low, c.high], axis=1), signs))
        for c in by_pairs
    ]
    made += _regression(done, read, numbers, keys, {e.name for e in made})
    together = _together(by_pairs, numbers, keys, len(done))
    return Effects(keys, tuple(made), together, device, {e.key: e for e in made})


def _told(done: Trials, device: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The metrics, less those that say the same as another: a difference to the baseline changes as the number does."""
    judged = done.judged_by
    twice = {"vs_baseline", score_part(judged, "score_change") if is_score(judged) else ""}
    if device == "host" and not wanted and len(done.timing_machines) > 1:
        twice |= HOST_TIMES
    keys = [k for k in done.measured(device) if k not in twice and (not wanted or k in wanted)]
    first = [judged, "size_bytes", "latency_ms", "energy_mj"]
    return tuple(sorted(keys, key=lambda k: first.index(k) if k in first else len(first)))


def _effect(done: Trials, contrast: Contrast, basis: Basis, pairs: int, estimates: Mapping[str, Estimate]) -> Effect:
    have = tuple(done.ids[row] for row in contrast.having)
    return Effect(contrast.key, contrast.name, contrast.instead, contrast.group, basis, pairs, have, estimates)


def _together(found: Sequence[Contrast], numbers: Differences, keys: Sequence[str], count: int) -> tuple[Together, ...]:
    """Every two options of which recipes exist with neither, either and both."""
    chosen = sorted(found, key=lambda c: -len(c.low))[:MOST_PAIRED]
    maps = {}
    for c in chosen:
        ahead = np.full(count, -1, np.intp)
        ahead[c.low[::-1]] = c.high[::-1]
        maps[c.key] = ahead
    made = []
    for one, other in combinations(chosen, 2):
        a, b = maps[one.key], maps[other.key]
        low = np.flatnonzero((a >= 0) & (b >= 0))
        both, same = b[a[low]], a[b[low]]
        whole = (both >= 0) & (both == same) & (a[low] != b[low])
        rows = np.stack([low, a[low], b[low], both], axis=1)[whole]
        if len(rows):
            estimates = numbers.estimates(keys, rows, np.array([1.0, -1.0, -1.0, 1.0]))
            made.append(Together(one.key, other.key, len(rows), estimates))
    return tuple(made)


def _regression(done: Trials, read: Read, numbers: Differences, keys: Sequence[str], told: set[str]) -> list[Effect]:
    """The stages that pairs do not tell, by least squares over all recipes."""
    having: dict[Steps, list[int]] = {}
    slots: dict[Steps, str] = {}
    for row, recipe in enumerate(read.recipes):
        for unit in read.stages(recipe):
            having.setdefault(unit.steps, []).append(row)
            slots[unit.steps] = unit.slot
    wanted = [steps for steps in having if read.label(steps) not in told]
    if not wanted or len(having) > MOST_COEFFICIENTS:
        return []
    design = np.zeros((len(done), len(having) + 1))
    design[:, 0] = 1.0
    for column, rows in enumerate(having.values(), 1):
        design[rows, column] = 1.0
    place = {steps: column for column, steps in enumerate(having, 1)}
    fits = {key: Fit(design, numbers.of(key)[0]) for key in keys}
    made = []
    for steps in wanted:
        estimates = {key: one for key, fit in fits.items() if (one := fit.estimate(key, place[steps])) is not None}
        if estimates:
            have, none = np.array(having[steps], np.intp), np.empty(0, np.intp)
            contrast = Contrast(read.label(steps), WITHOUT, slots[steps], none, none, have)
            made.append(_effect(done, contrast, "regression", 0, estimates))
    return made
