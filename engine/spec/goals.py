"""The sections of a spec that say how its space is searched, and what the network is for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from engine.metrics import METRICS
from engine.spec.frozen import Frozen


class Search(Frozen):
    """How the space is walked: `grid` is every combination in the order of the plan, `random` another order, the others are samplers that
    learn from what is measured where the frontier may grow: `nsga2` (Deb et al. 2002), `tpe` (Bergstra et al. 2011), `gp` (a Gaussian
    process for each objective).

    One run measures at most `trials` recipes that are not measured yet and stops after about `minutes`. What is left stays "not measured
    yet"; the next run goes on with it. Without either, every recipe is measured, and the method is the order.
    """

    method: Literal["grid", "random", "nsga2", "tpe", "gp"] = "grid"
    trials: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0, le=100_000)

    @property
    def is_limited(self) -> bool:
        """Whether a run may leave recipes for the next one."""
        return self.trials is not None or self.minutes is not None


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
