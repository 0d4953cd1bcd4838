"""Sliders for limits: their bounds from what was measured, their values from the address."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.frontier.columns import Trials
from engine.metrics import METRICS, based, shown
from pages.shared.explore_address import LIMITED, limit_name, limited

# Fine enough for tenths of a point of accuracy when one recipe has lost everything; arrow keys reach each step.
STEPS_PER_SLIDER = 200


@dataclass(frozen=True)
class Bounds:
    """A slider's ends and step, in the unit shown; the step is 1, 2 or 5 times a power of ten."""

    low: float
    high: float
    step: float

    @property
    def decimals(self) -> int:
        """Digits after the point that a value on the slider needs."""
        return max(0, -math.floor(math.log10(self.step) + 1e-9))

    def clamp(self, value: float) -> float:
        """The nearest value on the slider."""
        ticks = round((value - self.low) / self.step)
        return min(self.high, max(self.low, round(self.low + ticks * self.step, self.decimals)))


def bounds(values: Sequence[float], limit: float | None = None) -> Bounds | None:
    """The slider that spans the values, and a limit beyond them, all in the unit shown; None where there is no choice."""
    ends = [*values] if limit is None else [*values, limit]
    # Closer together than rounding: nothing to choose between.
    if not ends or max(ends) - min(ends) <= 1e-12 * max(1.0, *map(abs, ends)):
        return None
    rough = (max(ends) - min(ends)) / STEPS_PER_SLIDER
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    low = round(math.floor(min(ends) / step + 1e-9) * step, decimals)
    high = round(math.ceil(max(ends) / step - 1e-9) * step, decimals)
    return Bounds(low, high, round(step, decimals))


def sliders(trials: Trials, device: str, wanted: Mapping[str, float], scope: str, reset: bool) -> dict[str, float]:
    """Draw a slider for each limited metric, four of them at first, and what adds others; the limits that are set, in base units.

    `wanted` comes from the address; `scope` names the sweep and device, whose sliders have bounds of their own; `reset` puts the
    sliders where `wanted` says.
    """
    limits: dict[str, float] = {}
    first = limited(trials)
    others = [k for k in trials.measured(device) if k not in first]
    keys = [*first, *_others(others, wanted, scope, reset)]
    every = {key: _ends(trials, key, device) for key in keys}
    # Where all recipes have the same there is no slider, and no gap in its place.
    keys = [key for key in keys if _span(key, every[key], wanted.get(key))[1] is not None]
    for start in range(0, len(keys), len(LIMITED)):
        for key, column in zip(keys[start : start + len(LIMITED)], st.columns(len(LIMITED)), strict=False):
            name = f"{limit_name(key)} {scope}"
            with column:
                limit = _slider(key, every[key], wanted.get(key), name, reset)
            if limit is not None:
                limits[key] = limit
    return limits


def _ends(trials: Trials, key: str, device: str) -> list[float]:
    """The least and the greatest of what was measured, in the unit shown; none where nothing was."""
    found = trials.numbers(key, device).value
    found = found[np.isfinite(found)]
    return [shown(key, float(end)) for end in (found.min(), found.max())] if len(found) else []


def _span(key: str, values: Sequence[float], wanted: float | None) -> tuple[float | None, Bounds | None]:
    """The limit that is asked for, in the unit shown, and the slider that it is on; None for one that everything keeps."""
    asked = None if wanted is None else shown(key, wanted)
    # A limit that everything keeps is none; one that nothing keeps must still be seen and be movable.
    if asked is not None and values and (asked <= min(values) if METRICS[key].maximise else asked >= max(values)):
        asked = None
    return asked, bounds(values, asked)


def _others(offered: Sequence[str], wanted: Mapping[str, float], scope: str, reset: bool) -> list[str]:
    """The picker of further metrics to limit; those picked, to begin with those that the address limits."""
    name = f"more limits {scope}"
    if reset or name not in st.session_state:
        st.session_state[name] = [k for k in offered if k in wanted]
    st.session_state[name] = [k for k in st.session_state[name] if k in offered]
    chosen: list[str] = st.multiselect(
        "Further limits",
        offered,
        format_func=lambda k: METRICS[k].name,
        key=name,
        placeholder="Limit something else",
        label_visibility="collapsed",
    )
    return chosen


def _slider(key: str, values: Sequence[float], wanted: float | None, name: str, reset: bool) -> float | None:
    metric = METRICS[key]
    asked, span = _span(key, values, wanted)
    if span is None:
        return None
    free = span.low if metric.maximise else span.high
    exact = f"{name} as asked"
    if reset or name not in st.session_state:
        st.session_state[name] = free if asked is None else span.clamp(asked)
        # The slider has steps, the limit that was asked for need not be on one: it holds as long as the slider is left where it was put.
        st.session_state[exact] = None if asked is None else (st.session_state[name], wanted)
    elif st.session_state[name] == st.session_state.get(f"{name} free"):
        # Recipes that are new move the ends: what stood at the end that limits nothing stays there.
        st.session_state[name] = free
    else:
        st.session_state[name] = min(span.high, max(span.low, st.session_state[name]))
    st.session_state[f"{name} free"] = free
    value = st.slider(
        f"{metric.name} {'≥' if metric.maximise else '≤'}",
        span.low,
        span.high,
        step=span.step,
        format=f"%.{span.decimals}f {metric.unit}".replace(" %", " %%"),
        help=metric.help,
        key=name,
    )
    if (kept := st.session_state.get(exact)) and kept[0] == value:
        return float(kept[1])
    return None if value == free else based(key, value)
