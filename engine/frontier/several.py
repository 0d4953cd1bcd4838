"""Frontiers of several sweeps over the same objectives: each one's own, the joint one, and who beats whom, with how sure that is.

- Coverage (Zitzler and Thiele 1998, PPSN V): the share of one frontier's recipes that some recipe of another sweep beats, at least as
  good in every objective and better in one. Equal points beat nobody, so a sweep covers nothing of itself.
- Hypervolume: the share of one common box, from the worst to the best value that any of the sweeps measured, that a frontier dominates.

How sure both are comes from redraws of all measurements (`certainty.py`): where two sweeps answered as many test samples, the same samples
are drawn for both, so what they have in common cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import SpecError
from engine.frontier import dominance, redraws
from engine.frontier.certainty import _SEED, MOST_COMPARED, Find, _draw, _have_a_chance, _images, _near_the_front
from engine.frontier.columns import Rows, Trials
from engine.frontier.dominance import Floats
from engine.frontier.front import front_rows
from engine.frontier.joined import without_points
from engine.metrics import HOST_TIMES, METRICS, is_score

LEAST, MOST = 2, 6
"""So many sweeps share a chart."""
DRAWS = 200
_RELATIVE = frozenset(
    {
        "latency_ratio", "vs_baseline", "worst_class_drop", "flip_rate", "harmful_flip_rate", "agreement", "kl", "relative_error",
        "cosine", "neighbours",
    }
)  # fmt: skip
_ON_SAMPLES = frozenset({"accuracy", "top5", "lowest_recall", "nll", "ece"}) | (_RELATIVE - {"latency_ratio"})


@dataclass(frozen=True)
class Lot:
    """A sweep among several. `data` and `model` name what it is measured on and what is compressed: two that are alike in it have one name.

    `find` leads to its stored predictions.
    """

    name: str
    trials: Trials
    data: str
    model: str
    find: Find | None = None


@dataclass(frozen=True)
class Share:
    """A share in [0, 1], and between which values it lies in 95 % of the redraws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Several:
    """`fronts`: the rows of each sweep's own frontier among its finished `trials`, the best in the first objective first; of these, `joint`
    says who is on the joint one.

    `covers[i][j]`: how much of j's frontier sweep i beats; `volumes`: each hypervolume in the common box; `ahead[i][j]`: in which share of
    redraws that of i is the larger. None of these where `unlike` says, in sentences, why the sweeps cannot be compared.
    """

    objectives: tuple[str, ...]
    device: str
    names: tuple[str, ...]
    trials: tuple[Trials, ...]
    fronts: tuple[Rows, ...]
    unlike: tuple[str, ...] = ()
    joint: tuple[tuple[int, int], ...] = ()
    covers: tuple[tuple[Share, ...], ...] = ()
    volumes: tuple[Share, ...] = ()
    ahead: tuple[tuple[float, ...], ...] = ()
    draws: int = 0


def several(lots: Sequence[Lot], objectives: Sequence[str], device: str = "host") -> Several:
    """The frontiers of two to six sweeps. Imported points, which were not measured here, are left out.

    Raises SpecError where the host's times of two machines would come onto one axis, and for fewer or more sweeps or objectives.
    """
    if not LEAST <= len(lots) <= MOST:
        raise SpecError(f"{len(lots)} sweeps named; name {LEAST} to {MOST} of them")
    if len(objectives) < 2:
        raise SpecError("a frontier is over two objectives or more; name another")
    check_one_machine_of(lots, objectives, device)
    tables = [without_points(lot.trials.done) for lot in lots]
    fronts = tuple(front_rows(t, objectives, device)[0] for t in tables)
    found = Several(tuple(objectives), device, tuple(lot.name for lot in lots), tuple(tables), fronts)
    if why := unlike(lots, objectives, device):
        return Several(**{**vars(found), "unlike": why})
    return _compared(found, lots)


def check_one_machine_of(lots: Sequence[Lot], objectives: Sequence[str], device: str = "host") -> None:
    """Raises SpecError when an objective is a time of the host and the sweeps were not all timed on one machine."""
    if device != "host" or not HOST_TIMES & set(objectives):
        return
    machines: dict[str, str] = {}
    for lot in lots:
        machines |= lot.trials.timing_machines
    if len(machines) > 1:
        times = " and ".join(METRICS[k].name.lower() for k in objectives if k in HOST_TIMES)
        raise SpecError(
            f"{times} was measured on {len(machines)} machines ({'; '.join(sorted(machines.values()))}), which cannot share an axis; "
            "take file size or another number that is the same everywhere, or a device profile, for which both are projected"
        )


def unlike(lots: Sequence[Lot], objectives: Sequence[str], device: str = "host") -> tuple[str, ...]:
    """Why the sweeps' numbers cannot be compared, a sentence each; empty where they can."""
    why = []
    counted = [k for k in objectives if k in _ON_SAMPLES or is_score(k)]
    names = " and ".join(METRICS[k].name.lower() if not is_score(k) else METRICS[k].name for k in counted)
    if counted and len({lot.data for lot in lots}) > 1:
        datasets = "; ".join(f"{lot.name}: {lot.data}" for lot in lots)
        why.append(f"{names[0].upper()}{names[1:]} on different data says nothing of which is better ({datasets})")
    relative = [k for k in objectives if k in _RELATIVE or k.startswith("score_change")]
    if relative and len({lot.model for lot in lots}) > 1:
        said = " and ".join(METRICS[k].name for k in relative)
        why.append(f"{said} is against each sweep’s own baseline, and these are different networks")
    lacking = [(lot.name, k) for lot in lots for k in objectives if k not in lot.trials.measured(device)]
    why += [f"{name} has no {METRICS[k].name.lower() if not is_score(k) else METRICS[k].name}" for name, k in lacking]
    return tuple(why)


def _compared(found: Several, lots: Sequence[Lot]) -> Several:
    keys, device = found.objectives, found.device
    up = [METRICS[k].maximise for k in keys]
    points = [t.points(keys, device) for t in found.trials]
    measured = np.concatenate([p[np.isfinite(p).all(axis=1)] for p in points])
    if not len(measured):
        return found
    worst, best = dominance.worst_corner(measured, up), dominance.worst_corner(measured, [not u for u in up])
    drawn = [
        _redrawn(t, lot.find, keys, device, up, place)
        for place, (t, lot) in enumerate(zip(found.trials, lots, strict=True))
    ]
    draws = min(len(d) for d in drawn)
    fronts = [p[rows] for p, rows in zip(points, found.fronts, strict=True)]
    values = _covers(fronts, up), np.array([_volume(f, up, worst, best) for f in fronts])
    each = [[d[k][dominance.non_dominated(d[k], up)] for d in drawn] for k in range(draws)]
    covers = np.array([_covers(f, up) for f in each])
    volumes = np.array([[_volume(f, up, worst, best) for f in some] for some in each])
    together = np.concatenate(fronts)
    owners = [(i, int(row)) for i, rows in enumerate(found.fronts) for row in rows]
    kept = dominance.non_dominated(together, up) if len(together) else np.zeros(0, np.bool_)
    order = sorted(np.flatnonzero(kept), key=lambda r: -together[r, 0] if up[0] else together[r, 0])
    count = range(len(lots))
    return Several(
        **{
            **vars(found),
            "joint": tuple(owners[r] for r in order),
            "covers": tuple(tuple(_share(values[0][i, j], covers[:, i, j]) for j in count) for i in count),
            "volumes": tuple(_share(values[1][i], volumes[:, i]) for i in count),
            "ahead": tuple(tuple(float((volumes[:, i] > volumes[:, j]).mean()) for j in count) for i in count),
            "draws": draws,
        }
    )


def _redrawn(trials: Trials, find: Find | None, keys: Sequence[str], device: str, up: list[bool], place: int) -> Floats:
    """Those that might be on the sweep's frontier, as they might have come out: (draws, trials, keys)."""
    possible = trials.take(_have_a_chance(trials, keys, up, device))
    if len(possible) > MOST_COMPARED and len(keys) == 2:
        possible = possible.take(_near_the_front(possible, keys, up, device))
    # Clocks and counters of two sweeps have nothing in common; the images drawn have, and are drawn by a seed of their own.
    return _draw(possible, keys, device, _images(trials, find), DRAWS, _SEED + 1 + place)


def _covers(fronts: Sequence[Floats], up: Sequence[bool]) -> Floats:
    """How much of the frontier j (n, d) that of i beats: (sweeps, sweeps), 0 where j has none."""
    signed = [np.where(up, -f, f) for f in fronts]
    shares = [[float(redraws._beaten(a, b).mean()) if len(a) and len(b) else 0.0 for b in signed] for a in signed]
    return np.array(shares)


def _volume(front: Floats, up: Sequence[bool], worst: Floats, best: Floats) -> float:
    """The share of the box from `worst` to `best` that a frontier dominates; an axis on which nothing differs is not divided by."""
    span = np.abs(best - worst)
    span = np.where(span > 0, span, 1.0)
    scaled = np.where(up, front - worst, worst - front) / span
    # In a draw a number may come out better than any that was measured: cut off there, the best sweep alone would lose by it.
    return dominance.hypervolume(scaled, [True] * len(span), [0.0] * len(span))


def _share(value: float, drawn: Floats) -> Share:
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (value, value)
    return Share(float(value), float(low), min(1.0, float(high)))
