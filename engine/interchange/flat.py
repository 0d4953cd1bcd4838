"""A trial as names and values, which is all that trackers of experiments know: options of its recipe, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.export.tables import number_rows
from engine.spec.recipe import Recipe
from engine.trials.trial import Trial


def recipe_options(recipe: Recipe) -> dict[str, Any]:
    """Every option of every step that says something, `{"quantize.weight_bits": 8}`; of two steps of a kind the second is `prune_2`.

    A step is there by its own name too, with its place among the steps, so that a recipe can be read back in order.
    """
    found: dict[str, Any] = {}
    seen: dict[str, int] = {}
    for place, options in enumerate(recipe.to_json(), 1):
        kind = str(options.pop("step"))
        seen[kind] = seen.get(kind, 0) + 1
        name = kind if seen[kind] == 1 else f"{kind}_{seen[kind]}"
        found[name] = place
        found |= {f"{name}.{option}": value for option, value in options.items() if value is not None}
    return found


def numbers(trials: Sequence[Trial]) -> list[dict[str, float]]:
    """For each trial all numbers that it has on the host, by the names that tables use, in base units (shares, bytes, ms, mJ).

    Ends of intervals are `NAME_low` and `NAME_high`. What was not measured is not there.
    """
    rows = number_rows(trials, ("host",))
    return [
        {k: float(v) for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)} for row in rows
    ]
