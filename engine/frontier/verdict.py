"""The recommendation in one sentence: what to ship, what that costs and saves and how sure it is, and what comes second and why.

Under limits it is the best that keeps them all by what the sweep is judged by, the smaller file of equals; without any the knee of the
frontier, and of one without a knee its best. The runner-up is what the same rule names among the others: those that keep the limits, or
are on the frontier. A difference is stated with its paired 95 % interval; one whose interval holds "none" is within chance, and no claim
is made of it.

Where no measured recipe keeps the limits, the nearest is the one whose worst excess over a limit is least, as a share of that limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.errors import SpecError
from engine.frontier.certainty import Certainty, Find, certainty
from engine.frontier.columns import Trials
from engine.frontier.differences import Differences
from engine.frontier.dominance import Bools
from engine.frontier.effect_texts import change_text, short_name
from engine.frontier.estimates import Estimate
from engine.frontier.front import best_row, check_one_machine, front_rows, within_limits
from engine.frontier.joined import without_points
from engine.frontier.knee import knee
from engine.metrics import DEVICE_METRICS, HOST_TIMES, METRICS, limits_text, text_of
from engine.spec.goals import Target
from engine.trials.metric_values import FAITHFUL
from engine.trials.text import share_text
from engine.trials.trial import Trial

_COSTS = ("size_bytes", "latency_ms", "energy_mj")


@dataclass(frozen=True)
class Verdict:
    """`sentence` is plain text, empty where nothing is measured. Ids: what to ship, what comes second, and, where no recipe keeps the
    limits, the `nearest`; None where there is none.
    """

    sentence: str = ""
    trial: str | None = None
    runner_up: str | None = None
    nearest: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `front --json` has it."""
        return asdict(self)


def verdict(
    trials: Sequence[Trial],
    objectives: Sequence[str],
    limits: Mapping[str, float],
    device: str = "host",
    find: Find | None = None,
    sure: Certainty | None = None,
    whole: Sequence[Trial] | None = None,
) -> Verdict:
    """What to ship of the finished trials, imported points left out.

    `objectives` are those of the frontier, `find` leads to the stored predictions, `sure` is of the same trials, objectives and limits.
    `whole`: what `trials` were narrowed from, where the baseline may be that is not among them.
    Raises SpecError where an objective or a limit is a time that two machines measured.
    """
    done = without_points(Trials.of(trials).done)
    check_one_machine(done, [*objectives, *limits], device)
    kept = within_limits(done, limits, device)
    if limits and len(done) and not kept.any():
        return _nearest(done, limits, device)
    first, second, why, next_why = (
        (*_under_limits(done, kept, limits, device), "") if limits else _on_the_front(done, objectives, device)
    )
    if first is None:
        return Verdict()
    speech = _Speech(done, device, find, done if whole is None else without_points(Trials.of(whole).done))
    parts = [f"Ship {_label(done, first)}, {why}", speech.against_the_baseline(first)]
    alone = "no other measured recipe keeps the limits" if limits else "no other recipe is on the frontier"
    parts.append(alone if second is None else speech.second(first, second, next_why))
    doubt = None if sure is None else sure.best if limits else sure.knee if why.startswith("the knee") else None
    if doubt is not None:
        parts.append(f"the same choice in {share_text(doubt)} of redraws of the measurements")
    return Verdict("; ".join(parts) + ".", done.ids[first], None if second is None else done.ids[second])


def verdict_for(
    trials: Sequence[Trial],
    objectives: Sequence[str],
    target: Target | None,
    device: str,
    find: Find | None = None,
    sure: Certainty | None = None,
    whole: Sequence[Trial] | None = None,
) -> Verdict:
    """What to ship for the target of a spec, where it has limits on this device; otherwise the knee, of which `sure` speaks.

    `whole` is as for `verdict`. Where times of two machines would be compared the sentence says so instead of recommending.
    """
    limits = target.limits if target and target.device == device else {}
    try:
        if limits or sure is None:
            sure = certainty(trials, objectives, limits, device, find)
        return verdict(trials, objectives, limits, device, find, sure, whole)
    except SpecError as error:
        return Verdict(f"No recommendation: {error}.")


def missed_target(target: Target | None, trials: Sequence[Trial]) -> Verdict | None:
    """Which recipe comes nearest to the limits of a target that none keeps, and by how much it misses each; None where one keeps them,
    where there are none, and before anything is measured. Times of two machines are not compared: then that is the sentence.
    """
    done = without_points(Trials.of(trials).done)
    if target is None or not target.limits or not len(done):
        return None
    if within_limits(done, target.limits, target.device).any():
        return None
    try:
        check_one_machine(done, [*target.limits], target.device)
    except SpecError as error:
        return Verdict(f"No recipe is known to keep the limits: {error}.")
    return _nearest(done, target.limits, target.device)


def _label(done: Trials, row: int) -> str:
    name = str(done.fact("label")[row])
    return "the baseline" if row == done.baseline else f"“{name}”"


def _in_a_sentence(key: str, device: str) -> str:
    where = f" on {device}" if device != "host" and key in DEVICE_METRICS else ""
    return ("file size" if key == "size_bytes" else "latency" if key == "latency_ms" else short_name(key)) + where


def _under_limits(
    done: Trials, kept: Bools, limits: Mapping[str, float], device: str
) -> tuple[int | None, int | None, str]:
    first = best_row(done, kept, device)
    others = kept.copy()
    others[first] = False
    key = done.judged_by
    most = "highest" if METRICS[key].maximise else "lowest"
    why = f"the {most} {_in_a_sentence(key, device)} that keeps {limits_text(limits)}"
    if first is not None and (close := [k for k in limits if _reaches(done, first, k, limits[k], device)]):
        why += f" (whether it truly keeps that of {' and '.join(_in_a_sentence(k, device) for k in close)} is within chance)"
    return first, best_row(done, others, device), why


def _reaches(done: Trials, row: int, key: str, limit: float, device: str) -> bool:
    """Whether a limit lies within the interval of a number."""
    found = done.numbers(key, device)
    return bool(found.low[row] < limit < found.high[row])


def _on_the_front(done: Trials, objectives: Sequence[str], device: str) -> tuple[int | None, int | None, str, str]:
    """What to ship, what comes second, and why each."""
    rows, bend = front_rows(done, objectives, device)
    said = [_in_a_sentence(k, device) for k in objectives]
    names = f"{', '.join(said[:-1])} and {said[-1]}"
    key = done.judged_by
    best = f"the {'highest' if METRICS[key].maximise else 'lowest'} {_in_a_sentence(key, device)}"
    rest = f", {best} of the rest of the frontier"
    if bend is None:
        first = _best_of(done, rows)
        second = None if first is None else _best_of(done, rows[rows != first])
        return first, second, f"{best} on the frontier of {names}, which has no knee", rest
    others = rows[rows != bend]
    next_bend = knee(done.points(objectives, device)[others], [METRICS[k].maximise for k in objectives])
    why = f"the knee of the frontier of {names}"
    if next_bend is None:
        return bend, _best_of(done, others), why, rest
    return bend, int(others[next_bend]), why, ", the knee of the rest of the frontier"


def _best_of(done: Trials, rows: Any) -> int | None:
    among = np.zeros(len(done), np.bool_)
    among[rows] = True
    return best_row(done, among)


def _nearest(done: Trials, limits: Mapping[str, float], device: str) -> Verdict:
    """How far off the nearest recipe is where none keeps the limits."""
    keys = list(limits)
    values = done.points(keys, device)
    up = np.array([METRICS[k].maximise for k in keys])
    bound = np.array([limits[k] for k in keys])
    over = np.where(up, bound - values, values - bound)
    scale = np.where(bound != 0, np.abs(bound), np.maximum(np.nanmax(np.abs(values), axis=0, initial=0), 1e-12))
    worst = np.where(np.isnan(over).any(axis=1), np.inf, (over / scale).max(axis=1))
    told = limits_text(limits)
    row = int(worst.argmin())
    if not math.isfinite(worst[row]):
        lacking = [k for k, column in zip(keys, values.T, strict=True) if np.isnan(column).all()]
        names = " and ".join(_in_a_sentence(k, device) for k in lacking or keys)
        return Verdict(f"No recipe has {names} measured, so none can keep {told}.")
    parts = []
    for place, key in enumerate(keys):
        if over[row, place] <= 0:
            continue
        side = "below" if up[place] else "above"
        far = f"{_in_a_sentence(key, device)} {text_of(key, float(values[row, place]))}"
        far += f" is {_apart(key, float(over[row, place]), float(bound[place]))} {side} the limit"
        within = ", which its interval reaches" if _reaches(done, row, key, limits[key], device) else ""
        parts.append(far + within)
    sentence = f"No measured recipe keeps {told}; the nearest is {_label(done, row)}, whose {' and '.join(parts)}."
    return Verdict(sentence, nearest=done.ids[row])


def _apart(key: str, by: float, limit: float) -> str:
    if METRICS[key].unit in {"%", "points"}:
        return f"{100 * by:.2f} points"
    if not limit:
        return text_of(key, by)
    share = 100 * by / abs(limit)
    return f"{text_of(key, by)} ({share:.1f} %)" if share < 10 else f"{text_of(key, by)} ({share:,.0f} %)"


class _Speech:
    """Differences between two trials in words."""

    def __init__(self, done: Trials, device: str, find: Find | None, whole: Trials) -> None:
        self._done, self._device, self._find = done, device, find
        # A baseline that was filtered away is still what everything was measured against.
        self._all = whole if done.baseline is None and whole.baseline is not None else done
        self._baseline = None if self._all.baseline is None else self._all.ids[self._all.baseline]
        measured = done.measured(device)
        # Energy is made of time, and says the same again where both are known.
        costs = _COSTS[:2] if "latency_ms" in measured and not self._times_apart(done) else _COSTS
        self._keys = [k for k in dict.fromkeys((done.judged_by, *costs)) if k in measured]

    def _times_apart(self, trials: Trials) -> bool:
        return self._device == "host" and len(trials.timing_machines) > 1

    def _changes(self, one: str, other: str) -> dict[str, Estimate]:
        """Of the trial `other` against the trial `one`, times of two machines left out."""
        named = [i for i in dict.fromkeys([self._baseline, one, other]) if i is not None]
        few = self._all.take(np.array([self._all.place[i] for i in named], np.intp))
        pair = np.array([[few.place[one], few.place[other]]], np.intp)
        times = HOST_TIMES if self._times_apart(few) or self._times_apart(self._done) else frozenset[str]()
        keys = [k for k in self._keys if k not in times]
        return Differences(few, self._device, self._find).estimates(keys, pair, np.array([-1.0, 1.0]))

    def _told(self, changes: Mapping[str, Estimate], keys: Sequence[str]) -> tuple[list[str], list[str]]:
        """What is more than chance, and what is not."""
        sure, unsure = [], []
        for key in (k for k in keys if k in changes):
            one, name = changes[key], _in_a_sentence(key, self._device)
            text = change_text(key, one)
            if one.told_apart(key) is False and not one.exact:
                unsure.append(f"{name} within chance ({text})")
            elif one.exact and one.value == 1:
                sure.append(f"the same {name}")
            else:
                guessed = self._done.numbers(key, self._device).estimated.any()
                sure.append(f"{text} {name}{' (estimated)' if guessed else ''}")
        return sure, unsure

    def against_the_baseline(self, row: int) -> str:
        """What a recipe costs and saves."""
        done, key = self._done, self._done.judged_by
        if self._baseline is None or row == done.baseline:
            return "nothing is compressed" if row == done.baseline else "there is no baseline to compare it with"
        changes = self._changes(self._baseline, done.ids[row])
        if key in FAITHFUL[1:]:
            # It is itself a comparison with the baseline.
            changes.pop(key, None)
            numbers = done.numbers(key)
            ends = text_of(key, float(numbers.low[row]), unit=False), text_of(key, float(numbers.high[row]), unit=False)
            known = f" [{', '.join(ends)}]" if math.isfinite(numbers.low[row]) else ""
            lead = [f"{_in_a_sentence(key, self._device)} {text_of(key, float(numbers.value[row]))}{known}"]
        else:
            lead = []
        sure, unsure = self._told(changes, self._keys)
        return f"against the baseline {', '.join([*lead, *sure, *unsure])}"

    def second(self, first: int, second: int, on_the_front: str) -> str:
        """What comes second, and why; `on_the_front` says it where there are no limits."""
        key = self._done.judged_by
        changes = self._changes(self._done.ids[first], self._done.ids[second])
        judged = changes.pop(key, None)
        sure, unsure = self._told(changes, self._keys)
        beside = ", ".join([*sure, *unsure]) or "nothing else told"
        name, label = _in_a_sentence(key, self._device), _label(self._done, second)
        if judged is None:
            return f"second is {label}{on_the_front}: {beside}"
        text = change_text(key, judged)
        if judged.told_apart(key) is not False:
            return f"second is {label}{on_the_front}: compared with the first, {text} {name}, {beside}"
        if on_the_front:
            why = f"its {name} is not told apart ({text})"
        elif judged.value == 0:
            why = f"its {name} measured the same and its file is no smaller ({text})"
        else:
            why = f"its {name} is not told apart ({text}), only the measured value is behind"
        return f"second is {label}{on_the_front}: {why}, with {beside}"
