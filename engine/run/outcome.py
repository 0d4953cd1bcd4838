"""What a run tells of itself: where it is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Progress:
    """Where a run is: nodes and trials finished, seconds gone, seconds to go, and the recipe that was finished last.

    `waiting`: so many nodes wait for other runs on their host. `found`: the share of the expected volume of the whole frontier that a
    search has found, where it can tell.
    """

    nodes_done: int
    nodes_total: int
    trials_done: int
    elapsed_s: float
    remaining_s: float | None
    latest: str
    waiting: int = 0
    found: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `nodes_run` is 0 when everything was there already; a budget may leave `recipes_left` for the next run.

    `waited_s`: of `seconds`, those for which nodes waited for other runs on their host. `trials_stopped` were seen in short and left at
    that; `found` as of `Progress`.
    """

    state: Literal["done", "cancelled", "failed"]
    nodes_run: int
    trials_done: int
    trials_failed: int
    recipes_left: int
    seconds: float
    waited_s: float = 0.0
    trials_stopped: int = 0
    found: float | None = None
