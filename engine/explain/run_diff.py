"""What changed between two runs: the same recipes in two sweeps, number by number, the regressions first.

The two may be one spec under two versions of the code or of the data, with two seeds, on two machines, or a spec and one in which a few
options are others. Recipes are matched by their ids, what is left by labels that are the only ones of their kind on both sides.
`run_changes.py` says how numbers are compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.explain.run_changes import Change, Tolerance, changes_of
from engine.frontier.certainty import Find
from engine.frontier.estimates import RATIOS
from engine.trials.trial import Trial

Standing = Literal["regression", "new failure", "improvement", "unchanged"]
STANDINGS: tuple[Standing, ...] = ("regression", "new failure", "improvement", "unchanged")
"""In the order in which they are told."""


@dataclass(frozen=True)
class RecipeDiff:
    """A recipe that both runs have. `error` says why it failed now, where it did."""

    then: Trial
    now: Trial
    standing: Standing
    changes: tuple[Change, ...] = ()
    error: str | None = None

    @property
    def label(self) -> str:
        """As it is called now."""
        return self.now.label


@dataclass(frozen=True)
class RunDiff:
    """What changed: recipes that both have, those of `STANDINGS` one after the other, the greatest changes first; then those of one alone.

    `new` are those that only now has, or that were still to come then; `pending` were measured then, and are still to come now. `left_out`
    says of what is not compared why.
    """

    recipes: tuple[RecipeDiff, ...]
    new: tuple[Trial, ...]
    gone: tuple[Trial, ...]
    pending: tuple[Trial, ...]
    left_out: tuple[str, ...] = ()

    def of(self, standing: Standing) -> tuple[RecipeDiff, ...]:
        """The recipes of one standing."""
        return tuple(r for r in self.recipes if r.standing == standing)

    @property
    def has_regressions(self) -> bool:
        """Whether anything is worse, or could be made then and not now."""
        return any(r.standing in ("regression", "new failure") for r in self.recipes)


_UNMEASURED = frozenset({"pending", "stopped"})


def run_diff(
    then: Sequence[Trial],
    now: Sequence[Trial],
    find_then: Find | None = None,
    find_now: Find | None = None,
    tolerance: Tolerance | None = None,
) -> RunDiff:
    """Compare two runs; `find_…` lead to the stored answers of each. Imported points, which nobody ran, are left out."""
    then, now = ([t for t in side if t.stated is None] for side in (then, now))
    pairs = matched(then, now)
    both = [(a, b) for a, b in pairs if a.state == "done" and b.state == "done"]
    changes, left_out = changes_of(both, find_then, find_now, tolerance or Tolerance())
    told = [_told(a, b, changes.get(b.id, ())) for a, b in pairs if _UNMEASURED.isdisjoint((a.state, b.state))]
    matched_then = {a.id for a, _ in pairs}
    matched_now = {b.id for a, b in pairs if a.state not in _UNMEASURED or b.state in _UNMEASURED}
    return RunDiff(
        recipes=tuple(sorted(told, key=_order)),
        new=tuple(t for t in now if t.id not in matched_now),
        gone=tuple(t for t in then if t.id not in matched_then),
        pending=tuple(b for a, b in pairs if b.state in _UNMEASURED and a.state not in _UNMEASURED),
        left_out=left_out,
    )


def matched(then: Sequence[Trial], now: Sequence[Trial]) -> list[tuple[Trial, Trial]]:
    """Pairs of the same recipe, in the order of now: by id, then by a label that one recipe of each side has alone."""
    earlier = {t.id: t for t in then}
    by_id = {t.id: earlier[t.id] for t in now if t.id in earlier}
    rest_then = [t for t in then if t.id not in by_id]
    rest_now = [t for t in now if t.id not in by_id]
    times = Counter(t.label for t in rest_then), Counter(t.label for t in rest_now)
    by_label = {t.label: t for t in rest_then if times[0][t.label] == 1 and times[1][t.label] == 1}
    return [(a, t) for t in now if (a := by_id.get(t.id) or by_label.get(t.label))]


def _told(a: Trial, b: Trial, changes: tuple[Change, ...]) -> RecipeDiff:
    if b.state == "failed":
        return RecipeDiff(a, b, "unchanged" if a.state == "failed" else "new failure", error=b.error)
    if a.state == "failed":
        return RecipeDiff(a, b, "improvement")
    verdicts = {c.verdict for c in changes}
    standing: Standing = "regression" if "worse" in verdicts else "improvement" if "better" in verdicts else "unchanged"
    return RecipeDiff(a, b, standing, changes)


def _order(found: RecipeDiff) -> tuple[int, int, float]:
    """Losses of quality before those of time and of size; of each the greatest first."""
    wanted = "better" if found.standing == "improvement" else "worse"
    told = [(place, c) for place, c in enumerate(found.changes) if c.verdict == wanted]
    ranks = {"latency_ratio": 1, "size_bytes": 2}
    first = min((ranks.get(c.key, 0), -_far(c)) for _, c in told) if told else (3, 0.0)
    return STANDINGS.index(found.standing), *first


def _far(change: Change) -> float:
    value = change.estimate.value
    return abs(math.log(value)) if change.key in RATIOS else abs(value)
