"""What became of the frontier and of the recommendation between two runs."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import SpecError
from engine.explain.run_diff import matched
from engine.explain.run_sides import Side
from engine.frontier.certainty import Certainty, certainty
from engine.frontier.columns import Trials
from engine.frontier.front import find_front, usual_objectives
from engine.frontier.recommendation import axes_to_ship_by
from engine.frontier.verdict import Verdict, verdict_for
from engine.trials.trial import Trial


@dataclass(frozen=True)
class Moved:
    """A recipe that is on the frontier of one run alone, and in which share of redraws of the other's measurements it is on that one's:
    None where the other run has not measured it.
    """

    trial: Trial
    elsewhere: float | None


@dataclass(frozen=True)
class FrontDiff:
    """Recipes as they are now: those that `stayed` on the frontier, that `left` it (as they were then), and that `came`.

    `objectives` are those that both runs have, none where they share fewer than two; `why` says so.
    """

    objectives: tuple[str, ...]
    stayed: tuple[Trial, ...] = ()
    left: tuple[Moved, ...] = ()
    came: tuple[Moved, ...] = ()
    why: str = ""


def front_diff(then: Side, now: Side) -> FrontDiff:
    """Who left the frontier and who came to it, over what both runs have measured."""
    tables = [Trials.of(side.trials).done for side in (then, now)]
    wanted = [usual_objectives(table) for table in tables]
    objectives = tuple(k for k in wanted[1] if k in wanted[0])
    if len(objectives) < 2:
        return FrontDiff((), why="the two runs share fewer than two of the numbers that a frontier is of")
    try:
        fronts = [find_front(table, objectives).trials for table in tables]
        sure = [
            certainty(table, objectives, {}, "host", side.find) for table, side in zip(tables, (then, now), strict=True)
        ]
    except SpecError as error:
        return FrontDiff((), why=str(error))
    pairs = matched(then.trials, now.trials)
    to_now, to_then = {a.id: b for a, b in pairs}, {b.id: a for a, b in pairs}
    before, after = ({t.id for t in front} for front in fronts)
    left = [Moved(t, _share(to_now.get(t.id), sure[1])) for t in fronts[0] if not _is(to_now.get(t.id), after)]
    came = [Moved(t, _share(to_then.get(t.id), sure[0])) for t in fronts[1] if not _is(to_then.get(t.id), before)]
    stayed = [t for t in fronts[1] if _is(to_then.get(t.id), before)]
    return FrontDiff(objectives, tuple(stayed), tuple(left), tuple(came))


def _is(trial: Trial | None, ids: set[str]) -> bool:
    return trial is not None and trial.id in ids


def _share(trial: Trial | None, sure: Certainty) -> float | None:
    return None if trial is None or trial.state != "done" else sure.p_front.get(trial.id, 0.0)


def recommended(side: Side) -> Verdict:
    """What a run says to ship, for the target of its spec where that states limits."""
    device = side.target.device if side.target and side.target.limits else "host"
    done = Trials.of(side.trials).done
    axes = axes_to_ship_by(usual_objectives(done, device), done, device)
    return verdict_for(done, axes, side.target, device, side.find)
