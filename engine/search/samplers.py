"""Optuna's samplers, asked for one point of a finite space at a time. Imported by `search` alone, and only when a sampler is used.

A study is made anew for every question, from what is measured and what is under way, and thrown away: whoever asks with the same
measurements is told the same, whether the run that measured them still goes on or was killed last week.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from engine.cores import one_torch_thread
from engine.search.search_space import Codes, Space, Told

_PARENTS = 12
"""Of so many of the best recipes so far NSGA-II makes the next one. Optuna's 50 is a random search for most budgets; of 8, 12 and 20, tried
on made-up spaces of 200 and 600 recipes, 8 did worse where three objectives make the frontier long, and 20 took longer.
"""
# As many recipes at a time are scored by the Gaussian process: its samples of them fill some 100 MB.
_AT_ONCE = 64


def suggestions(method: str, space: Space, told: Told, left: Codes, seed: int, most: int) -> Iterator[Codes]:
    """Up to `most` points (axes,) to measure next; they may name no recipe, or one that is measured. `left`: rows that could be taken."""
    # It warns of fits that it replaces by defaults itself, between the lines of a run's progress.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {axis.name: _distribution(len(axis.values), axis.ordered) for axis in space.axes}
    study = optuna.create_study(directions=["maximize" if up else "minimize" for up in told.maximise])
    study.add_trials(_history(space, told, distributions))
    for attempt in range(most):
        study.sampler = _sampler(method, space, left, seed + attempt)
        # The matrices of a Gaussian process are small.
        with one_torch_thread() if method == "gp" else nullcontext():
            trial = study.ask(distributions)
            point = np.array([int(trial.params[axis.name]) for axis in space.axes], np.int64)
        # What becomes of it is not this study's to know.
        study.tell(trial, state=TrialState.FAIL)
        yield point


def _distribution(values: int, ordered: bool) -> BaseDistribution:
    return IntDistribution(0, values - 1) if ordered else CategoricalDistribution(tuple(range(values)))


def _history(space: Space, told: Told, distributions: dict[str, BaseDistribution]) -> Iterator[FrozenTrial]:
    def params(row: int) -> dict[str, int]:
        return {axis.name: int(code) for axis, code in zip(space.axes, space.codes[row], strict=True)}

    for row, values, missed in zip(told.rows, told.values, told.missed, strict=True):
        limits = {f"limit {i}": float(by) for i, by in enumerate(missed)}
        yield create_trial(
            params=params(row), distributions=distributions, values=[float(v) for v in values], constraints=limits
        )
    for row in told.busy:
        yield create_trial(state=TrialState.RUNNING, params=params(row), distributions=distributions)


def _sampler(method: str, space: Space, left: Codes, seed: int) -> BaseSampler:
    if method == "nsga2":
        return _Breeder(population_size=_PARENTS, seed=seed)
    if method == "tpe":
        return TPESampler(n_startup_trials=1, multivariate=True, seed=seed)
    return _ScoresAllThatIsLeft(space, left, seed)


class _Breeder(NSGAIISampler):
    """NSGA-II (Deb et al. 2002) in its steady state (Durillo et al. 2009): the parents are the best of all that is measured.

    Generations would need more trials than most budgets have, and a history in which each trial remembers its own.
    """

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        return 1

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if generation == 0 else []


class _ScoresAllThatIsLeft(GPSampler):
    """A Gaussian process per objective and the expected gain in hypervolume, at its best over the recipes themselves.

    Optuna climbs the gain from many starts, as it must where there is no end of points; here every recipe that is left can be scored,
    in less time, and what comes out can be measured.
    """

    def __init__(self, space: Space, left: Codes, seed: int) -> None:
        super().__init__(n_startup_trials=1, seed=seed)
        sizes = np.array([len(axis.values) for axis in space.axes])
        ordered = np.array([axis.ordered for axis in space.axes])
        codes = space.codes[left].astype(np.float64)
        # Optuna's own scale: an integer is in the middle of its share of [0, 1], a category is its number.
        self._left = np.where(ordered, (codes + 0.5) / sizes, codes)
        self._names = [axis.name for axis in space.axes]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        found = super().infer_relative_search_space(study, trial)
        return {name: found[name] for name in self._names}

    def _optimize_acqf(self, acqf: Any, best_params: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        # Of Optuna's methods this is the one that it names for being overridden.
        parts = [self._left[i : i + _AT_ONCE] for i in range(0, len(self._left), _AT_ONCE)]
        gains = np.concatenate([acqf.eval_acqf_no_grad(part) for part in parts])
        best: npt.NDArray[np.float64] = self._left[int(np.argmax(gains))]
        return best
