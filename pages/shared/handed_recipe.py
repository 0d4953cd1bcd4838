"""A recipe in the address of New sweep: other pages link to it, and the page opens with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.errors import SpecError
from engine.spec.recipe import Recipe

FROM, RECIPE = "from", "recipe"
"""The parameters: the sweep whose model, data and measurements are taken, and the recipe's steps as JSON."""
LONGEST = 30_000
"""Characters of a recipe; two hundred layers with their bits take about half."""


def to_params(sweep_id: str, recipe: Recipe) -> dict[str, str]:
    """The address's parameters for a recipe on the model and data of a sweep."""
    steps = [{k: v for k, v in step.items() if v is not None} for step in recipe.to_json()]
    return {FROM: sweep_id, RECIPE: json.dumps(steps, separators=(",", ":"))}


def from_params(params: Mapping[str, str]) -> tuple[str, Recipe] | None:
    """The inverse of `to_params`, None where the address names no recipe; raises SpecError for what is none."""
    text = params.get(RECIPE)
    if text is None:
        return None
    steps: Any = None
    if len(text) <= LONGEST:
        try:
            steps = json.loads(text)
            json.dumps(steps, ensure_ascii=False).encode()  # halves of letters, which no page can show
        except (ValueError, RecursionError):
            steps = None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise SpecError("the recipe in this address cannot be read; open it again from the page that it is from")
    return params.get(FROM, ""), Recipe.from_json(steps)
