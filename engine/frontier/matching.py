"""Which trials a filter matches: its names looked up in the metrics, the facts and the recipes' options of some trials.

A trial that lacks what a comparison asks for is neither matched by it nor by its opposite (Kleene's logic of three values), and how many
lack what is told. An option that several steps of a recipe have counts where any of them is as wanted; `prune.method` means one step's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from itertools import chain
from operator import eq, ge, gt, le, lt
from typing import Any

import numpy as np
from pydantic_core import to_json

from engine.errors import SpecError
from engine.frontier.columns import Fact, Trials
from engine.frontier.contrasts import STEPS, Read
from engine.frontier.dominance import Bools, Floats
from engine.frontier.filter import ORDERED, And, Compare, Filter, Not, comparisons, parse_filter
from engine.frontier.front import check_one_machine
from engine.frontier.units import base_value
from engine.metrics import METRICS, is_score, short_name
from engine.spec.frozen import Frozen
from engine.spec.steps import FAMILIES, Imported
from engine.trials.trial import Trial

_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq, "!=": eq}
_FACTS: Mapping[str, Fact] = {
    "label": "label", "recipe": "label", "id": "id", "provenance": "provenance", "truth": "provenance", "state": "state"
}  # fmt: skip
_SHORT = {"size": "size_bytes", "zipped": "size_zipped_bytes", "operations": "macs"}
STEP = "step"
"""The name under which a filter asks for the kinds of steps that a recipe has."""


@dataclass(frozen=True)
class Matched:
    """The trials that a filter matches, shape (trials,), and by name how many of them lack what it asks for, where any do."""

    rows: Bools
    lacking: Mapping[str, int]

    def lacking_text(self) -> str:
        """`3 lack latency, 1 lacks weight_bits`, empty where none lack anything."""
        count = len(self.rows)
        parts = [
            f"{'all' if n == count else f'{n:,}'} {'lacks' if n == 1 and n < count else 'lack'} {name}"
            for name, n in self.lacking.items()
        ]
        return ", ".join(parts)


def match(trials: Sequence[Trial], text: str | Filter, device: str = "host") -> Matched:
    """Which trials a filter matches; SpecError for one that cannot be read, an unknown name, a sign that does not suit it, and a limit on
    times that two machines measured.

    Times and energies are those of `device`.
    """
    asked = parse_filter(text) if isinstance(text, str) else text
    columns = _Columns(Trials.of(trials), device)
    lacking: dict[str, int] = {}
    for one in comparisons(asked):
        if count := int((~columns.holds(one)[1]).sum()):
            lacking[one.name] = count
    return Matched(_matched(asked, columns)[0], lacking)


def option_values(trials: Trials) -> dict[str, list[str | float | None]]:
    """What the recipes say of each option that some of them have, by its name with the step's before it where several steps have one."""
    read = _Columns(trials, "host")
    return {name: [read.shown(found) for found in read.options[name]] for name in option_names(trials)}


def option_names(trials: Trials) -> tuple[str, ...]:
    """The options that some recipe has, each with its step before it where several kinds of step have it."""
    return trials.once("option names", _options_of)


def _options_of(trials: Trials) -> tuple[str, ...]:
    kinds: dict[str, set[str]] = {}
    for text in dict.fromkeys(chain.from_iterable(trials.fact("steps"))):
        step = STEPS.validate_json(text)
        for option, value in step:
            if option != STEP and value is not None:
                kinds.setdefault(option, set()).add(step.step)
    return tuple(
        name
        for option, steps in kinds.items()
        for name in ([option] if len(steps) == 1 else [f"{step}.{option}" for step in sorted(steps)])
    )


def _matched(asked: Filter, columns: _Columns) -> tuple[Bools, Bools]:
    """For each trial whether it is matched for sure, and whether it is for sure not."""
    if isinstance(asked, Compare):
        holds, known = columns.holds(asked)
        return holds & known, ~holds & known
    if isinstance(asked, Not):
        yes, no = _matched(asked.part, columns)
        return no, yes
    parts = [_matched(part, columns) for part in asked.parts]
    yes, no = (np.stack(found) for found in zip(*parts, strict=True))
    if isinstance(asked, And):
        return np.logical_and.reduce(yes), np.logical_or.reduce(no)
    return np.logical_or.reduce(yes), np.logical_and.reduce(no)


class _Columns:
    """What the trials have, by the names that one types."""

    def __init__(self, trials: Trials, device: str) -> None:
        self._trials, self._device = trials, device
        self._found: dict[Compare, tuple[Bools, Bools]] = {}

    def holds(self, one: Compare) -> tuple[Bools, Bools]:
        """Whether a comparison holds for each trial, and whether the trial has what it asks for."""
        if one not in self._found:
            try:
                self._found[one] = self._compared(one)
            except SpecError as error:
                raise SpecError(f"filter, character {one.at + 1}: {error}") from None
        return self._found[one]

    def _compared(self, one: Compare) -> tuple[Bools, Bools]:
        name = one.name.lower()
        if name in self._metrics:
            return self._number(one, self._metrics[name])
        if name in _FACTS:
            return self._texts(one, [(str(text),) for text in self._trials.fact(_FACTS[name])], all_have=True)
        if name == STEP:
            kinds = [{self._read.steps[i].step for i in recipe} for recipe in self._read.recipes]
            return self._texts(one, [tuple(found) for found in kinds], all_have=True)
        if name in self.options:
            return self._option(one, self.options[name])
        if name in _option_names():
            return np.zeros(len(self._trials), np.bool_), np.zeros(len(self._trials), np.bool_)
        known = [*self._metrics, *_FACTS, *self.options, *_option_names()]
        near = get_close_matches(name, known, n=3, cutoff=0.6)
        usual = ["accuracy", "size", "latency", "label", "weight_bits"]
        said = f"did you mean {' or '.join(near)}?" if near else f"known are metrics and options, as {', '.join(usual)}"
        raise SpecError(f"there is no {one.name!r} here; {said}")

    @cached_property
    def _metrics(self) -> dict[str, str]:
        """A metric's key by every name that it goes by."""
        own = {short_name(k): k for k in self._trials.metrics if is_score(k)}
        named = {short_name(m.name): key for key, m in METRICS.items()}
        return {**named, **_SHORT, **{key.lower(): key for key in (*METRICS, *own.values())}, **own}

    def _number(self, one: Compare, key: str) -> tuple[Bools, Bools]:
        if one.sign not in _SIGNS or one.number is None:
            raise SpecError(f"{one.name} is a number: compare it with < <= > >= = != and a number, not {one.text!r}")
        check_one_machine(self._trials, (key,), self._device)
        values = self._trials.numbers(key, self._device).value
        return _compare(values, one.sign, base_value(key, one.name, one.number, one.unit))

    @cached_property
    def _read(self) -> Read:
        return Read.of(self._trials)

    @cached_property
    def options(self) -> dict[str, list[tuple[Any, ...]]]:
        """What every recipe says of an option: the values of all its steps that have it, none where it is left open."""
        said = [
            {option: value for option, value in step if option != STEP and value is not None}
            for step in self._read.steps
        ]
        names: dict[str, None] = {}
        for step, options in zip(self._read.steps, said, strict=True):
            for option in options:
                names |= {option: None, f"{step.step}.{option}": None}
        found: dict[str, list[tuple[Any, ...]]] = {}
        for name in names:
            kind, dot, option = name.rpartition(".")
            having = {
                i: options[option]
                for i, options in enumerate(said)
                if option in options and (not dot or self._read.steps[i].step == kind)
            }
            found[name] = [tuple(having[i] for i in recipe if i in having) for recipe in self._read.recipes]
        return found

    def _option(self, one: Compare, found: Sequence[tuple[Any, ...]]) -> tuple[Bools, Bools]:
        numbers = [tuple(v for v in values if _is_number(v)) for values in found]
        if one.number is not None and any(numbers):
            if one.unit not in {"", "%"}:
                raise SpecError(f"{one.name} is an option without a unit; leave {one.unit!r} out")
            wanted = base_value("accuracy", one.name, one.number, "%") if one.unit else float(one.number)
            if one.sign not in _SIGNS:
                raise SpecError(f"{one.name} is a number: compare it with < <= > >= = !=")
            sign = _SIGNS[one.sign]
            holds = np.array([any(sign(v, wanted) for v in values) for values in numbers], np.bool_)
            # Of `4` and `auto`, say, the latter is no number, but it is not 4 either.
            having = found if one.sign not in ORDERED else numbers
            known = np.array([bool(values) for values in having], np.bool_)
            return (~holds if one.sign == "!=" else holds), known
        return self._texts(one, [tuple(map(_text, values)) for values in found])

    def _texts(self, one: Compare, found: Sequence[tuple[str, ...]], all_have: bool = False) -> tuple[Bools, Bools]:
        if one.sign in ORDERED:
            raise SpecError(f"{one.name} is text here: compare it with = != ~ (holds) or !~")
        # `8da4w` was read as a number with a unit.
        wanted = {_folded(one.text + one.unit), _folded(f"{one.text} {one.unit}".rstrip())}
        inside = one.sign in {"~", "!~"}
        holds = np.array(
            [any((w in t) if inside else (w == t) for t in map(_folded, texts) for w in wanted) for texts in found],
            np.bool_,
        )
        known = np.array([all_have or bool(texts) for texts in found], np.bool_)
        return (~holds if one.sign in {"!=", "!~"} else holds), known

    @staticmethod
    def shown(values: tuple[Any, ...]) -> str | float | None:
        """An option as a cell of a table: a number, a text, several texts with commas, or nothing."""
        if not values:
            return None
        if len(values) == 1 and _is_number(values[0]):
            return float(values[0])
        return ", ".join(map(_text, values))


def _compare(values: Floats, sign: str, wanted: float) -> tuple[Bools, Bools]:
    known = np.isfinite(values)
    # What is not known compares as False, quietly.
    holds = np.asarray(_SIGNS[sign](values, wanted), np.bool_)
    return (~holds if sign == "!=" else holds), known


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object) -> str:
    return value if isinstance(value, str) else to_json(value).decode()


def _folded(text: str) -> str:
    # Names have a minus and a hyphen that do not break where a keyboard has one sign for both.
    return re.sub("[\u2212\u2011]", "-", text).casefold()


@lru_cache(maxsize=1)
def _option_names() -> frozenset[str]:
    """Every option that a step can have, alone and with its step before it: a sweep without it lacks it, which is no mistake."""
    names: set[str] = set()
    kinds: Mapping[str, type[Frozen]] = {**FAMILIES, "imported": Imported}
    for family, kind in kinds.items():
        for option in kind.model_fields:
            names |= {option, f"{family}.{option}"} if option != STEP else set()
    return frozenset(names)
