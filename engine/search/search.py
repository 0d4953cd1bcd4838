"""Which recipe to measure next: at random, or where a sampler expects the frontier to grow.

Nothing is remembered between two questions. The answer follows from the recipes, the seed, what is measured and what is under way, so a
search that was cancelled, killed or out of budget goes on as if it had never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from engine.frontier import dominance
from engine.frontier.columns import Trials
from engine.metrics import METRICS
from engine.search.search_space import Codes, Floats, Told, space_of
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial

START = 10
"""So many recipes are measured at random before a sampler is asked: below that it would learn from accidents. Optuna's number too."""
_LEARNS_FROM = {"gp": 200, "tpe": 2000, "nsga2": 2000}
"""Most measured recipes that a choice is made from; a Gaussian process takes a second with 150, and the cube of that with more."""
_MULTIPLIED = frozenset({"size_bytes", "latency_ms"})
_SCORED = 1000
"""Most recipes that the Gaussian process compares when it chooses one; of more, as many at random."""
_ASKED = 3
"""How often a sampler is asked for a point that names a recipe to measure, before the nearest such recipe is taken."""


class Chooser:
    """The next recipe of a sweep whose `search.method` is not the grid.

    Recipes of the ids in `last`, which failed in an earlier run, come when nothing else is left: they would otherwise use up every budget.
    """

    def __init__(self, sweep: Sweep, last: Collection[str] = ()) -> None:
        self.sweep, self.method = sweep, sweep.search.method
        # Files that were added are no points of a space, and nothing to choose.
        self.recipes = tuple(recipe for recipe in sweep.all_recipes if not recipe.imported)
        self.place = {recipe.id: i for i, recipe in enumerate(self.recipes)}
        self.space = space_of(self.recipes)
        self.last = frozenset(last)
        # One order for all samplers, so that they differ in nothing but their choices.
        self.order = np.random.default_rng(sweep.seed).permutation(len(self.recipes))

    def next(self, finished: Collection[Trial], busy: Collection[str] = ()) -> Recipe | None:
        """The recipe to measure next, the baseline first; None when none is left.

        `finished`: trials that are done or failed, in any order; `busy`: ids of recipes under way. Neither is ever chosen again.
        """
        known = {trial.id for trial in finished} | set(busy)
        left = [i for i, recipe in enumerate(self.recipes) if recipe.id not in known]
        if not left or left[0] == 0:
            return self.recipes[0] if left else None
        left = [i for i in left if self.recipes[i].id not in self.last] or left
        told = self._told(finished, busy)
        chance = np.random.default_rng([self.sweep.seed, len(known)])
        if self.method == "random" or len(told.rows) < START:
            return self.recipes[_first(self.order, left)]
        some = np.array(left, np.int64)
        if len(some) > _SCORED:
            some = np.sort(chance.choice(some, _SCORED, replace=False))
        return self.recipes[self._asked(self._thinned(told, chance), np.array(left, np.int64), some, chance)]

    def _asked(self, told: Told, left: Codes, some: Codes, chance: np.random.Generator) -> int:
        """The row that the sampler names, or the one that is nearest to the first that it named.

        A point may name a combination that the space leaves out, or a recipe that is measured. Its neighbour is then the best guess at what
        was meant, and cannot have been measured, so every question is answered and nothing is measured twice.
        """
        from engine.search.samplers import suggestions

        seed = int(chance.integers(2**31 - _ASKED))
        free = {self.space.codes[i].tobytes(): int(i) for i in left}
        points = []
        for point in suggestions(self.method, self.space, told, some, seed, _ASKED):
            if point.tobytes() in free:
                return free[point.tobytes()]
            points.append(point)
        far = self.space.distances(points[0], left)
        # Ties are many where axes are few; the first of them would always be the one that the grid has first.
        return int(chance.choice(left[far <= far.min() + 1e-9]))

    def _told(self, finished: Collection[Trial], busy: Collection[str]) -> Told:
        """What the finished trials say, in the order of the recipes, so that it does not matter which came first.

        A failed recipe has no figures to learn from. What shares the step that failed has failed with it, so that costs one recipe.
        """
        done = sorted((t for t in finished if t.state == "done" and t.id in self.place), key=lambda t: self.place[t.id])
        keys = self._objectives(done)
        values = np.array([[_number(t, key) for key in keys] for t in done], np.float64).reshape(len(done), len(keys))
        # A trial without one of the figures, say a latency that another machine measured, teaches nothing.
        whole = np.isfinite(values).all(axis=1)
        rows = np.array([self.place[t.id] for t in done], np.int64)
        missed = self._missed(done)
        under_way = np.array(sorted(self.place[i] for i in busy if i in self.place), np.int64)
        return Told(rows[whole], values[whole], missed[whole], tuple(METRICS[k].maximise for k in keys), under_way)

    def _objectives(self, done: Sequence[Trial]) -> tuple[str, ...]:
        """What trials are judged by; bytes; the time of a call where it is measured."""
        right = Trials.of(done).judged_by
        if right == "accuracy" and not any(t.accuracy for t in done):
            right = "agreement"
        return (right, "size_bytes", *(("latency_ms",) if self.sweep.measure.latency else ()))

    def _missed(self, done: Sequence[Trial]) -> Floats:
        """By which share each limit of the target is missed, shape (trials, limits); at most 0 where it is kept.

        What is not known cannot be shown to keep a limit, as everywhere here, and counts as missed by as much as the limit itself.
        """
        target = self.sweep.target
        limits = target.limits if target else {}
        table = np.ones((len(done), len(limits)))
        for column, (key, limit) in enumerate(limits.items()):
            for row, trial in enumerate(done):
                value = metric_value(trial, key, target.device if target else "host")
                if value is not None:
                    beyond = limit - value if METRICS[key].maximise else value - limit
                    table[row, column] = beyond / (abs(limit) or 1.0)
        return table

    def _thinned(self, told: Told, chance: np.random.Generator) -> Told:
        """No more trials than the sampler can think about in a second or so: the frontier, and of the others as many at random."""
        most = _LEARNS_FROM[self.method]
        if len(told.rows) <= most:
            return told
        front = dominance.non_dominated(told.values, told.maximise)
        order = np.lexsort((chance.random(len(front)), ~front))
        keep = np.sort(order[:most])
        return Told(told.rows[keep], told.values[keep], told.missed[keep], told.maximise, told.busy)


def _first(order: Codes, left: Sequence[int]) -> int:
    wanted = set(left)
    return next(int(i) for i in order if int(i) in wanted)


def _number(trial: Trial, key: str) -> float:
    """A figure as samplers are told it, NaN where it was not measured.

    Each step multiplies bytes and times, so their logarithms add up, and what a step does to one recipe tells what it does to another.
    """
    value = metric_value(trial, key)
    if value is None:
        return math.nan
    return math.log(value) if key in _MULTIPLIED and value > 0 else value
