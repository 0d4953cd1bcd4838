"""Which recipes a run takes, as the form has it: budgets, the search, and recipes in short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SEARCHES = {
    "grid": "in order",
    "random": "at random",
    "nsga2": "evolution (NSGA-II)",
    "tpe": "learned odds (TPE)",
    "gp": "Gaussian process",
    "gain": "most gain for its time",
}
"""Ways to walk the recipes, and what the form calls them."""

SEARCH_BOUNDS: dict[str, tuple[float, float]] = {
    "budget_trials": (0, 100_000),
    "budget_minutes": (0.0, 100_000.0),
    "budget_node_seconds": (0.0, 1e9),
    "screen_share": (0.01, 0.99),
    "screen_samples": (1, 1_000_000),
    "enough": (0.0, 0.999),
}


@dataclass(frozen=True)
class Searching:
    """The fields of a draft that say which recipes a run takes; budgets and `enough` are 0 where a run has no such limit."""

    budget_trials: int = 0
    budget_minutes: float = 0.0
    budget_node_seconds: float = 0.0
    search_method: str = "grid"
    screen: bool = False
    screen_share: float = 0.25
    screen_samples: int = 500
    enough: float = 0.0


def to_search(draft: Searching) -> dict[str, Any]:
    """The spec's `search`."""
    found: dict[str, Any] = {
        "trials": draft.budget_trials,
        "minutes": draft.budget_minutes,
        "node_seconds": draft.budget_node_seconds,
    }
    if draft.search_method == "gain":
        short = {"share": draft.screen_share, "test_samples": draft.screen_samples}
        found |= {"enough": draft.enough, "screen": short if draft.screen else None}
    return {"method": draft.search_method} | {name: value for name, value in found.items() if value}
