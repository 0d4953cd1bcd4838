"""The sections of a spec that say how its space is searched, and what the network is for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.metrics import METRICS
from engine.spec.frozen import Frozen

UNLIKELY = 0.99
"""From this share of the expected frontier on it is said that what is left is unlikely to improve it."""


class Screen(Frozen):
    """How recipes are seen in short before they are measured: each training with `share` of its epochs (of its samples, where that is less
    than one epoch), answers on `test_samples`, no latency.
    """

    share: float = Field(0.25, gt=0, lt=1)
    test_samples: int = Field(500, ge=1)


class Search(Frozen):
    """How the space is walked: `grid` is every combination in the order of the plan, `random` another order, the others learn from what is
    measured where the frontier may grow: `nsga2` (Deb et al. 2002), `tpe` (Bergstra et al. 2011), `gp` (a Gaussian process for each
    objective), `gain` (the most expected hypervolume for each node second).

    One run measures at most `trials` recipes that are not measured yet, begins none that its `node_seconds` are not left for by the
    forecast, and stops after about `minutes`. What is left stays "not measured yet"; the next run goes on with it. Without any, every
    recipe is measured, and the method is the order.

    Of `gain` alone: `screen`, see there, `true` as it is usual: recipes that show nothing in short are stopped. `enough`: a run ends when
    it expects to have found this share of the volume of the whole frontier. `objectives` are the metrics that the frontier is over, at
    most four: left out, what the sweep is judged by, file size and latency, of the target's device.
    """

    method: Literal["grid", "random", "nsga2", "tpe", "gp", "gain"] = "grid"
    trials: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0, le=100_000)
    node_seconds: float | None = Field(None, gt=0, le=1e9)
    screen: Screen | None = None
    enough: float | None = Field(None, gt=0, lt=1)
    objectives: tuple[str, ...] | None = Field(None, min_length=1, max_length=4)

    @field_validator("screen", mode="before")
    @classmethod
    def _screen_as_usual(cls, screen: Any) -> Any:
        if isinstance(screen, bool):
            return Screen() if screen else None
        return screen

    @field_validator("objectives")
    @classmethod
    def _objectives_are_metrics(cls, objectives: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = next((key for key in objectives or () if key not in METRICS), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is not a metric; known: {', '.join(METRICS)}")
        if objectives and len({*objectives}) < len(objectives):
            raise ValueError("an objective is named twice; name each once")
        return objectives

    @model_validator(mode="after")
    def _knobs_fit_the_method(self) -> Search:
        told = next((name for name in ("screen", "enough", "objectives") if getattr(self, name) is not None), None)
        if told and self.method != "gain":
            raise ValueError(f"{told} is of method gain, not of {self.method}; write method: gain, or leave it out")
        return self

    @property
    def is_limited(self) -> bool:
        """Whether a run may leave recipes for the next one."""
        return any(limit is not None for limit in (self.trials, self.minutes, self.node_seconds, self.enough))


class Target(Frozen):
    """What the network is for: the device, and what must be kept there. The results open with it, and a sampler searches within it; a grid
    is measured all the same.

    `limits`: metric -> most (accuracy and its like: least), in base units: shares, bytes, milliseconds, millijoules.
    """

    device: str = Field("host", min_length=1)
    limits: dict[str, float] = Field(default_factory=dict)

    @field_validator("limits")
    @classmethod
    def _limits_are_on_metrics(cls, limits: dict[str, float]) -> dict[str, float]:
        unknown = next((key for key in limits if key not in METRICS), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is not a metric; known: {', '.join(METRICS)}")
        return limits
