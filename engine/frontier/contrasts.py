"""Which finished recipes differ in one thing alone: the matched pairs behind what each option of a sweep does.

Three kinds of contrast, each a list of pairs of rows that are alike in all else:

- a step, or pruning with the training that repairs it, against the same recipe without it;
- where a sweep never leaves it out: against the one of its kind that most recipes have;
- one option of a step: a number against the next milder one that the same recipe has, anything else against what is usual.

An option that a step fills in by itself (the rate of training in so many bits) is no difference of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from engine.frontier.columns import Rows, Trials
from engine.spec.canonical import canonical_json, digest
from engine.spec.labels import step_label
from engine.spec.steps import FAMILIES, Finetune, Prune, Step

WITHOUT = "without it"
# Of these the greatest is the mildest: the float network has the most of them.
_GREATEST_FIRST = frozenset({"weight_bits", "activation_bits", "mean_bits", "max_latency", "width", "depth"})
STEPS: TypeAdapter[Step] = TypeAdapter(Step)
"""Reads a step as a trial's record has it."""

Steps = tuple[int, ...]
"""A recipe, each step by its number among the different ones of a sweep."""


@dataclass(frozen=True)
class Contrast:
    """One difference: `name` instead of `instead`, with the rows (pairs,) that do not have it and those that do, alike in all else.

    `group` is what it is a choice of: the kind of step, or the option. `having`: every row (n,) with it, matched or not.
    """

    name: str
    instead: str
    group: str
    low: Rows
    high: Rows
    having: Rows

    @property
    def key(self) -> str:
        """Eight hex digits for an address, the same wherever the same two are compared."""
        return digest([self.group, self.name, self.instead])[:8]


@dataclass(frozen=True)
class Unit:
    """A part of a recipe that is there or not: its step numbers, its kind in words, its place."""

    steps: Steps
    slot: str
    start: int

    def without(self, recipe: Steps) -> Steps:
        """The recipe less this part."""
        return recipe[: self.start] + recipe[self.start + len(self.steps) :]


@dataclass(frozen=True)
class Read:
    """A sweep's recipes by number: `recipes` of shape (trials,), and the different `steps` that the numbers mean."""

    recipes: Sequence[Steps]
    steps: Sequence[Step]
    place: Mapping[Steps, int] = field(repr=False)

    @classmethod
    def of(cls, trials: Trials) -> Read:
        """Every recipe, each different step read once."""
        by_text: dict[bytes, int] = {}
        steps: list[Step] = []
        known: dict[Step, int] = {}
        recipes = []
        for texts in trials.fact("steps"):
            for text in texts:
                if text not in by_text:
                    step = STEPS.validate_json(text)
                    by_text[text] = known.setdefault(step, len(steps))
                    steps += [step] if by_text[text] == len(steps) else []
            recipes.append(tuple(by_text[text] for text in texts))
        return cls(recipes, steps, {recipe: row for row, recipe in reversed(list(enumerate(recipes)))})

    def label(self, steps: Iterable[int]) -> str:
        """Steps in words."""
        return " · ".join(step_label(self.steps[i]) for i in steps)

    def stages(self, recipe: Steps) -> Iterator[Unit]:
        """The stages of a recipe; pruning and the training beside it are one, as in `Recipe.stages`."""
        start = 0
        for end in range(1, len(recipe) + 1):
            pair = recipe[end - 1 : end + 1]
            if len(pair) == 2 and all(isinstance(self.steps[i], Prune | Finetune) for i in pair):
                continue
            kinds = dict.fromkeys(self.steps[i].step for i in recipe[start:end])
            yield Unit(recipe[start:end], " and ".join(kinds), start)
            start = end

    def units(self, recipe: Steps) -> Iterator[Unit]:
        """Every stage, and every step of a stage that has several."""
        for stage in self.stages(recipe):
            yield stage
            if len(stage.steps) > 1:
                for at, number in enumerate(stage.steps):
                    yield Unit((number,), self.steps[number].step, stage.start + at)


def contrasts(read: Read) -> list[Contrast]:
    """Every contrast that has at least one pair, steps before options, both in the order in which the plan brings them."""
    pairs, having, slots = _against_nothing(read)
    found = [
        Contrast(read.label(steps), WITHOUT, slots[steps], *_rows(pairs[steps]), np.array(having[steps], np.intp))
        for steps in having
        if pairs[steps]
    ]
    return [*found, *_against_each_other(read, {s for s in having if pairs[s]}), *_options(read)]


def _rows(pairs: Sequence[tuple[int, int]]) -> tuple[Rows, Rows]:
    both = np.array(pairs, np.intp).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _against_nothing(
    read: Read,
) -> tuple[dict[Steps, list[tuple[int, int]]], dict[Steps, list[int]], dict[Steps, str]]:
    pairs: dict[Steps, list[tuple[int, int]]] = defaultdict(list)
    having: dict[Steps, list[int]] = defaultdict(list)
    slots: dict[Steps, str] = {}
    for row, recipe in enumerate(read.recipes):
        for unit in read.units(recipe):
            having[unit.steps].append(row)
            slots.setdefault(unit.steps, unit.slot)
            partner = read.place.get(unit.without(recipe))
            if partner is not None:
                pairs[unit.steps].append((partner, row))
    return pairs, having, slots


def _against_each_other(read: Read, told: set[Steps]) -> Iterator[Contrast]:
    """For stages that no recipe is without, all else equal: those of one kind against the commonest of them."""
    places: dict[tuple[str, int, Steps], dict[Steps, int]] = defaultdict(dict)
    counts: dict[str, Counter[Steps]] = defaultdict(Counter)
    having: dict[Steps, list[int]] = defaultdict(list)
    for row, recipe in enumerate(read.recipes):
        for unit in read.stages(recipe):
            places[unit.slot, unit.start, unit.without(recipe)].setdefault(unit.steps, row)
            counts[unit.slot][unit.steps] += 1
            having[unit.steps].append(row)
    for slot, count in counts.items():
        reference = count.most_common(1)[0][0]
        for steps in count:
            if steps == reference or steps in told:
                continue
            alike = [p for (s, *_), p in places.items() if s == slot and reference in p and steps in p]
            if alike:
                low, high = _rows([(p[reference], p[steps]) for p in alike])
                yield Contrast(read.label(steps), read.label(reference), slot, low, high, np.array(having[steps]))


def _options(read: Read) -> Iterator[Contrast]:
    """One option of one step at another value than the reference."""
    siblings = _siblings(read.steps)
    places: dict[tuple[str, str], dict[tuple[Any, ...], dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    having: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    shown: dict[tuple[str, str, str], object] = {}
    for row, recipe in enumerate(read.recipes):
        for at, number in enumerate(recipe):
            kind: str = read.steps[number].step
            for option, (group, text, value) in siblings.get(number, {}).items():
                places[kind, option][recipe[:at], group, recipe[at + 1 :]].setdefault(text, row)
                having[kind, option, text].append(row)
                shown.setdefault((kind, option, text), value)
    for (kind, option), alike in places.items():
        pairs: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        for found in alike.values():
            values = {text: shown[kind, option, text] for text in found}
            for before, after in _ladder(FAMILIES[kind], option, values):
                pairs[before, after].append((found[before], found[after]))
        for (before, after), matched in pairs.items():
            name = f"{kind} {option.replace('_', ' ')}"
            old, new = (_value_text(shown[kind, option, text]) for text in (before, after))
            rows = np.array(having[kind, option, after], np.intp)
            yield Contrast(f"{name} {new}", old, name, *_rows(matched), rows)


def _siblings(steps: Sequence[Step]) -> dict[int, dict[str, tuple[int, str, object]]]:
    """Step number -> option -> (a number that steps alike in all else share, the value as text, and itself); options that vary alone."""
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    stated = [_stated(step) for step in steps]
    for number, (step, options) in enumerate(zip(steps, stated, strict=True)):
        for option in type(step).model_fields if step.step in FAMILIES else ():
            rest = canonical_json({k: v for k, v in options.items() if k != option})
            groups[step.step, option, rest].append(number)
    found: dict[int, dict[str, tuple[int, str, object]]] = defaultdict(dict)
    for group, ((_, option, _rest), members) in enumerate(groups.items()):
        if len(members) < 2 or option == "step":
            continue
        for number in members:
            value = steps[number].model_dump(mode="json").get(option, getattr(steps[number], option))
            found[number][option] = group, canonical_json(value), value
    return found


def _stated(step: Step) -> Mapping[str, Any]:
    """The options of a step that it would not fill in by itself to what they are."""
    options = step.model_dump(mode="json")

    def filled_in(name: str) -> bool:
        try:
            return bool(type(step)(**{k: v for k, v in options.items() if k != name}) == step)
        except ValidationError:
            return False

    return {name: value for name, value in options.items() if not filled_in(name)}


def _ladder(kind: type[Any], option: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which values are held against which: of numbers each against the next milder one, of others each against the usual one."""
    numbers = {text: float(v) for text, v in values.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    if len(numbers) == len(values):
        steps = sorted(numbers, key=lambda text: numbers[text], reverse=option in _GREATEST_FIRST)
        return list(pairwise(steps))
    usual = canonical_json(kind.model_fields[option].default) if not kind.model_fields[option].is_required() else ""
    usual = usual if usual in values else min(values)
    return [(usual, text) for text in values if text != usual]


def _value_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
