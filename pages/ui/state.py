"""The address <-> a typed view. Whatever an address says, the result is a view that can be shown.

?sweep=ID&x=METRIC&y=METRIC&colour=METRIC&device=PROFILE&trial=ID&min_accuracy=0.9&max_size_bytes=100000
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.choice import View
from engine.record import METRICS

LIMITED = ("accuracy", "size_bytes", "latency_ms", "energy_mj")
"""The metrics that always have a limit slider; any other gets one when it is limited."""

LONGEST = 200
"""Longer values in an address are not ours."""


@dataclass(frozen=True)
class Explore:
    """What the Explore page shows. `sweep` and `trial` are names from the address: they may not exist."""

    sweep: str | None = None
    trial: str | None = None
    view: View = field(default_factory=View)


def limit_name(key: str) -> str:
    """The name in the address of a metric's limit."""
    return f"{'min' if METRICS[key].maximise else 'max'}_{key}"


def _limit(key: str, text: str | None) -> float | None:
    """A finite number in base units, not negative unless the metric is a difference; None for anything else."""
    try:
        value = float(text) if text and len(text) <= LONGEST else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and (value >= 0 or METRICS[key].unit == "points") else None


def parse(params: Mapping[str, str]) -> Explore:
    """An address's parameters -> view state; what is unknown or impossible in them is left out."""

    def name(key: str) -> str | None:
        value = params.get(key)
        return value if value and len(value) <= LONGEST and value.isprintable() else None

    def metric(key: str, default: str) -> str:
        return value if (value := name(key)) in METRICS and value is not None else default

    limits = {key: _limit(key, params.get(limit_name(key))) for key in METRICS}
    x, y = metric("x", View.x), metric("y", View.y)
    colour = name("colour")
    return Explore(
        sweep=name("sweep"),
        trial=name("trial"),
        view=View(
            x=x,
            # A metric against itself is a line; the other default says more.
            y=y if y != x else (View.y if x != View.y else View.x),
            colour=colour if colour in METRICS else None,
            device=name("device") or View.device,
            limits={key: value for key, value in limits.items() if value is not None},
        ),
    )


def to_params(state: Explore) -> dict[str, str]:
    """The inverse of `parse`; defaults are left out so that links stay short."""
    view, default = state.view, View()
    pairs: dict[str, str | None] = {
        "sweep": state.sweep,
        "x": view.x if view.x != default.x else None,
        "y": view.y if view.y != default.y else None,
        "colour": view.colour,
        "device": view.device if view.device != default.device else None,
        "trial": state.trial,
        **{limit_name(key): f"{view.limits[key]:.9g}" for key in METRICS if key in view.limits},
    }
    return {key: value for key, value in pairs.items() if value is not None}
