"""The search that counts what recipes cost, in the words of a run: recipes and trials in, the next step and whom to stop out."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.frontier.columns import Trials
from engine.search.evidence import Scale, Source, scale_of
from engine.search.gain import Choice, Gain, Seen
from engine.search.guess import Guesses
from engine.search.prices import Prices
from engine.search.search_space import space_of
from engine.search.stopped import why_stopped
from engine.spec.recipe import Recipe
from engine.spec.steps import TORCH_STEPS, Quantize
from engine.spec.sweep import Sweep
from engine.trials.trial import Trial

_SAME_MODEL, _OTHER_MODEL = 0.1, 0.5
"""How much figures of another sweep may differ, as a share of how much options make, before measurements tell: of the same model other
samples, another machine or other trainings; of another model all of it."""


@dataclass(frozen=True)
class Earlier:
    """Finished trials of another sweep, its baseline's among them; `same_model`: it is of the same model and data."""

    trials: tuple[Trial, ...]
    same_model: bool


@dataclass(frozen=True)
class Step:
    """What to do next: a recipe, in short or in full, None where nothing is left for now; trials of recipes that are stopped, by id; the
    share of the expected volume of the whole frontier that is found, None before anything is.
    """

    recipe: Recipe | None
    in_short: bool = False
    stopped: Mapping[str, Trial] = field(default_factory=dict)
    found: float | None = None


class FrugalChooser:
    """The next step of a sweep whose `search.method` is `gain`. Nothing is remembered between two questions, but for the sake of speed.

    `shorts`: recipes in short by the id of the recipe. Recipes of the ids in `last`, which failed in an earlier run, come last.
    """

    def __init__(
        self,
        sweep: Sweep,
        shorts: Mapping[str, Recipe] | None = None,
        last: Collection[str] = (),
        earlier: Sequence[Earlier] = (),
    ) -> None:
        self.sweep, self.shorts = sweep, shorts or {}
        self.recipes = tuple(recipe for recipe in sweep.all_recipes if not recipe.imported)
        self.place = {recipe.id: i for i, recipe in enumerate(self.recipes)}
        others = dict.fromkeys(
            t.recipe for one in earlier for t in one.trials if t.id not in self.place and not t.recipe.imported
        )
        self.space = space_of((*self.recipes, *others))
        places = {recipe.id: i for i, recipe in enumerate((*self.recipes, *others))}
        trained = [any(_trains(s) for s in recipe.steps) for recipe in (*self.recipes, *others)]
        sources = [
            Source(
                {places[t.id]: t for t in one.trials if t.id in places},
                next((t for t in one.trials if not t.recipe.steps), None),
            )
            for one in earlier
        ]
        order = np.random.default_rng(sweep.seed).permutation(len(self.recipes))
        doubts = tuple(_SAME_MODEL if one.same_model else _OTHER_MODEL for one in earlier)
        self.gain = Gain(
            self.space,
            len(self.recipes),
            np.array(trained, np.bool_),
            order,
            sweep.seed,
            tuple(zip(sources, doubts, strict=True)),
            Guesses.of((*self.recipes, *others), sweep.model.source),
        )
        self.last = frozenset(last)

    def next(
        self,
        finished: Mapping[str, Trial],
        short: Mapping[str, Trial],
        busy: Collection[str],
        busy_short: Collection[str],
        prices: Prices,
        unscreenable: Collection[str] = (),
    ) -> Step:
        """What to do next. `finished`: trials that are done, failed or stopped, by id; `short`: those of recipes in short, by the id of the
        recipe; `prices` by place among `recipes`; `unscreenable`: recipes that could not be made in short.
        """
        known = {i: t for i, t in finished.items() if i in self.place}
        done = {self.place[i]: t for i, t in known.items() if t.state == "done"}
        objectives, limits = self.scales(tuple(done.values()))
        seen = Seen(
            done=done,
            short={self.place[i]: t for i, t in short.items() if i in self.place},
            busy=self._rows(busy),
            busy_short=self._rows(busy_short),
            over=self._rows(i for i, t in known.items() if t.state != "done"),
            last=self._rows(self.last - known.keys()),
            closed=self._rows(unscreenable),
        )
        choice = self.gain.choose(seen, prices, (*objectives, *limits), len(objectives), bool(self.shorts))
        stopped = self._stopped(choice, done, short, objectives)
        enough = self.sweep.search.enough
        lacks = self._lacks(objectives, limits)
        over = enough is not None and not lacks and choice.soon is not None and choice.soon >= enough and len(done) > 1
        row = None if over else choice.row
        said = None if lacks else choice.found
        return Step(None if row is None else self.recipes[row], choice.in_short, stopped, said)

    def found(self, finished: Mapping[str, Trial]) -> float | None:
        """The share of the expected volume of the whole frontier that is found, from finished trials by id; None before anything is."""
        done = {self.place[i]: t for i, t in finished.items() if i in self.place and t.state == "done"}
        over = self._rows(i for i, t in finished.items() if t.state != "done")
        objectives, limits = self.scales(tuple(done.values()))
        if self._lacks(objectives, limits):
            return None
        return self.gain.found(Seen(done=done, short={}, over=over), (*objectives, *limits), len(objectives))

    def _rows(self, ids: Any) -> tuple[int, ...]:
        return tuple(sorted(self.place[i] for i in ids if i in self.place))

    def _lacks(self, objectives: Sequence[Scale], limits: Sequence[Scale]) -> bool:
        """Whether the target has a limit of which nothing is measured, or none of the objectives is: then no frontier can be found."""
        wanted = self.sweep.target.limits if self.sweep.target else {}
        stated = self.sweep.search.objectives
        there = {scale.key for scale in (*objectives, *limits)}
        return not wanted.keys() <= there or (stated is not None and there.isdisjoint(stated))

    def scales(self, done: Sequence[Trial]) -> tuple[tuple[Scale, ...], tuple[Scale, ...]]:
        """The objectives, and the metrics that have a limit and are none of them; of both those that a trial has. Where it has none of the
        objectives, as the latency of a device that no recipe fits, the file size.
        """
        target, stated = self.sweep.target, self.sweep.search.objectives
        device, limits = (target.device, target.limits) if target else ("host", {})
        if stated is None:
            right = Trials.of(done).judged_by
            if right == "accuracy" and not any(t.accuracy for t in done):
                right = "agreement"
            timed = device != "host" or self.sweep.measure.latency is not None
            stated = (right, "size_bytes", *(("latency_ms",) if timed else ()))

        def known(keys: Iterable[str]) -> tuple[Scale, ...]:
            scales = [scale_of(key, device, done, limits.get(key)) for key in keys]
            return tuple(s for s in scales if any(math.isfinite(s.of(t)) for t in done))

        objectives = known(stated) or known(["size_bytes"])
        return objectives, known(k for k in limits if k not in {s.key for s in objectives})

    def _stopped(
        self, choice: Choice, done: Mapping[int, Trial], short: Mapping[str, Trial], objectives: Sequence[Scale]
    ) -> dict[str, Trial]:
        found = {}
        for row, why in choice.hopeless.items():
            recipe = self.recipes[row]
            better = done[why.better] if why.better is not None else None
            text = why_stopped(recipe, self.shorts[recipe.id], short[recipe.id], why, better, objectives[0])
            found[recipe.id] = Trial(recipe.id, recipe, state="stopped", stopped=text)
        return found


def _trains(step: Any) -> bool:
    return isinstance(step, TORCH_STEPS) or (isinstance(step, Quantize) and step.method == "qat")
