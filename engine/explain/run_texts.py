"""A comparison of two runs in words and as records. Plain text without markup."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from engine.explain.run_changes import Change
from engine.explain.run_diff import STANDINGS, RunDiff, Standing
from engine.explain.run_fronts import FrontDiff, Moved
from engine.frontier.effect_texts import change_text, short_name
from engine.frontier.verdict import Verdict
from engine.metrics import METRICS, in_a_sentence, text_of
from engine.trials.text import share_text
from engine.trials.trial import Trial

HEADINGS: dict[Standing, str] = {
    "regression": "Worse",
    "new failure": "Failed now",
    "improvement": "Better",
    "unchanged": "Unchanged",
}
"""What a group of recipes is called."""
HOW = (
    "A recipe is worse or better where a change is beyond the tolerance and more than chance, corrected for the number of recipes (Holm); "
    "intervals are of 95 % each. Time is the ratio to each run’s own baseline."
)
"""How it is told."""


def summary_text(found: RunDiff) -> str:
    """How many recipes of each kind, `2 worse, 1 failed now, 3 better, 18 unchanged`; then those that one run has alone."""
    parts = [f"{len(found.of(s)):,} {HEADINGS[s].lower()}" for s in STANDINGS]
    return ", ".join([*parts, *(f"{len(trials):,} {title.lower()}" for title, trials in alone(found))])


def alone(found: RunDiff) -> list[tuple[str, tuple[Trial, ...]]]:
    """What one run has alone, under what it is called; only what there is."""
    every = (("New", found.new), ("Gone", found.gone), ("Not measured now", found.pending))
    return [(title, trials) for title, trials in every if trials]


def change_line(change: Change) -> str:
    """One change with its interval and what it is, `accuracy −0.80 points [−1.20, −0.40], worse`."""
    name = "time" if change.key == "latency_ratio" else short_name(change.key)
    if change.key == "size_bytes":
        name = "file size"
    return f"{name} {change_text(change.key, change.estimate)}, {_verdict_text(change)}"


def cell_text(change: Change | None) -> str:
    """The same for a table whose column names the metric."""
    if change is None:
        return "–"
    if change.estimate.exact and change.verdict == "same" and change.then == change.now:
        return "the same"
    mark = {"worse": " ▼", "better": " ▲"}.get(change.verdict, "")
    return change_text(change.key, change.estimate) + mark


def then_now_text(change: Change) -> str:
    """Both values, `91.24 % → 90.10 %`."""
    return f"{text_of(change.key, change.then)} → {text_of(change.key, change.now)}"


def _verdict_text(change: Change) -> str:
    if change.verdict != "not told apart" or change.p_holm is None:
        return "the same" if change.verdict == "same" else change.verdict
    return f"not told apart (p {change.p_holm:.2f} corrected)"


def front_lines(found: FrontDiff) -> list[str]:
    """What became of the frontier, a line each."""
    if found.why:
        return [f"The frontiers are not compared: {found.why}."]
    names = ", ".join(in_a_sentence(k) for k in found.objectives)
    lines = [
        f"Of the frontier over {names}, {len(found.stayed)} stayed, {len(found.left)} left it and {len(found.came)} came."
    ]
    lines += [f"Left: {_moved(one, 'now')}" for one in found.left]
    return lines + [f"Came: {_moved(one, 'then')}" for one in found.came]


def _moved(one: Moved, when: str) -> str:
    if one.elsewhere is None:
        return f"{one.trial.label} (not measured {when})"
    chance = ", so it may be chance" if one.elsewhere >= 0.05 else ""
    return f"{one.trial.label} (on it in {share_text(one.elsewhere)} of redraws of what was measured {when}{chance})"


def diff_json(
    found: RunDiff, fronts: FrontDiff, verdicts: tuple[Verdict, Verdict], differs: tuple[str, ...]
) -> dict[str, Any]:
    """What `diff --json` prints."""
    return {
        "regressions": found.has_regressions,
        "counts": {s: len(found.of(s)) for s in STANDINGS},
        "recipes": [
            {
                "id": r.now.id,
                "id_then": r.then.id,
                "label": r.label,
                "standing": r.standing,
                "error": r.error,
                "changes": [_change_json(c) for c in r.changes],
            }
            for r in found.recipes
        ],
        **{
            name: [{"id": t.id, "label": t.label} for t in trials]
            for name, trials in (("new", found.new), ("gone", found.gone), ("pending", found.pending))
        },
        "frontier": {
            "objectives": list(fronts.objectives),
            "why_not": fronts.why or None,
            "stayed": [t.id for t in fronts.stayed],
            "left": [{"id": m.trial.id, "label": m.trial.label, "p_front_now": m.elsewhere} for m in fronts.left],
            "came": [{"id": m.trial.id, "label": m.trial.label, "p_front_then": m.elsewhere} for m in fronts.came],
        },
        "recommendation": {"then": verdicts[0].to_json(), "now": verdicts[1].to_json()},
        "differs": list(differs),
        "not_compared": list(found.left_out),
    }


def _change_json(change: Change) -> dict[str, Any]:
    record = asdict(change)
    estimate = record.pop("estimate")
    kept = {name: estimate[name] for name in ("value", "low", "high", "exact")}
    return {**record, "name": METRICS[change.key].name, "change": kept, "text": change_line(change)}
