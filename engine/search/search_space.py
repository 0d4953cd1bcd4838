"""A sweep's recipes as points of one flat space, which every sampler can be asked about: an axis for each option that is swept.

A space of recipes is finite and full of conditions: a ratio exists only where something is pruned, combinations can be left out, and
listed recipes are in no grid at all. So the axes are read off the recipes rather than off `space`: each option of each step is an axis,
with a value of its own for "not there".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.spec.canonical import canonical_json
from engine.spec.recipe import Recipe
from engine.spec.steps import Step

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_ABSENT = ""
# Without the step these are as they are in the float network, which is at their upper end; of all others there is then nothing.
_ABSENT_IS_MOST = frozenset({"weight_bits", "activation_bits", "mean_bits", "max_latency", "width", "depth"})


@dataclass(frozen=True)
class Axis:
    """An option and its values, as JSON; the empty text is "not there". `ordered`: numbers, least first, so that neighbours are alike."""

    name: str
    values: tuple[str, ...]
    ordered: bool


@dataclass(frozen=True)
class Space:
    """The axes, and each recipe's place on them: `codes` has shape (recipes, axes) and indexes `Axis.values`. No two rows are equal."""

    axes: tuple[Axis, ...]
    codes: Codes

    def distances(self, point: Codes, rows: Codes) -> Floats:
        """How far a point (axes,) is from each of the recipes in `rows`: of an ordered axis the share of its length, of another 0 or 1."""
        apart = np.abs(self.codes[rows] - point).astype(np.float64)
        scale = np.array([max(1, len(a.values) - 1) if a.ordered else 0 for a in self.axes])
        far: Floats = np.where(scale > 0, apart / np.maximum(scale, 1), apart > 0).sum(axis=1, dtype=np.float64)
        return far


@dataclass(frozen=True)
class Told:
    """What a sampler learns from: rows of the space (n,) and their objectives (n, k), of which `maximise` (k,) says where more is better.

    `missed` (n, limits): by how much each limit is missed, at most 0 where it is kept. `busy`: rows under way.
    """

    rows: Codes
    values: Floats
    missed: Floats
    maximise: tuple[bool, ...]
    busy: Codes


def space_of(recipes: Sequence[Recipe]) -> Space:
    """The flat space of different recipes. An axis that another one tells already (the epochs that go with each ratio) is left out."""
    flat = [_options(recipe) for recipe in recipes]
    _tell_orders_apart(recipes, flat)
    names = list(dict.fromkeys(name for options in flat for name in options))
    found = [_axis(name, [options.get(name, _ABSENT) for options in flat]) for name in names]
    # The finest first: it tells the most of the others.
    found.sort(key=lambda a: -len(a[0].values))
    kept: list[tuple[Axis, Codes]] = []
    for axis, codes in found:
        if len(axis.values) > 1 and not any(_tells(other, codes) for _, other in kept):
            kept.append((axis, codes))
    # In the order of the steps, which is how people think of them.
    kept.sort(key=lambda a: names.index(a[0].name))
    columns = [codes for _, codes in kept]
    return Space(tuple(axis for axis, _ in kept), np.array(columns, np.int64).reshape(len(columns), len(recipes)).T)


@cache
def _of_step(step: Step) -> Mapping[str, str]:
    """Its options as JSON, the step itself under an empty name; what is null is not there."""
    stated = {name: value for name, value in step.model_dump(mode="json").items() if value is not None}
    return {"" if name == "step" else "." + name: canonical_json(value) for name, value in stated.items()}


def _options(recipe: Recipe) -> dict[str, str]:
    """`prune.ratio` -> `0.5`; the second pruning of a recipe is `prune 2`."""
    flat: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for step in recipe.steps:
        seen[step.step] += 1
        prefix = step.step if seen[step.step] == 1 else f"{step.step} {seen[step.step]}"
        flat |= {prefix + name: value for name, value in _of_step(step).items()}
    return flat


def _tell_orders_apart(recipes: Sequence[Recipe], flat: list[dict[str, str]]) -> None:
    """The order of the steps is an option where it alone makes a difference, as between listed recipes."""
    alike = Counter(frozenset(options.items()) for options in flat)
    for recipe, options in zip(recipes, flat, strict=True):
        if alike[frozenset(options.items())] > 1:
            options["order"] = canonical_json([step.step for step in recipe.steps])


def _axis(name: str, texts: Sequence[str]) -> tuple[Axis, Codes]:
    """An axis and each recipe's place on it, shape (recipes,)."""
    values: list[str] = list(dict.fromkeys(texts))
    read: dict[str, Any] = {text: json.loads(text) for text in values if text != _ABSENT}
    ordered = all(isinstance(v, int | float) and not isinstance(v, bool) for v in read.values())
    if ordered:
        absent = float("inf") if name.rpartition(".")[2] in _ABSENT_IS_MOST else float("-inf")
        values.sort(key=lambda text: read.get(text, absent))
    place = {text: i for i, text in enumerate(values)}
    return Axis(name, tuple(values), ordered), np.array([place[text] for text in texts], np.int64)


def _tells(finer: Codes, coarser: Codes) -> bool:
    """Whether the place on one axis leaves no choice on the other."""
    pairs = finer * (int(coarser.max()) + 1) + coarser
    return len(np.unique(pairs)) == len(np.unique(finer))
