"""`paretoscope effects`: what each option of a sweep does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.cli._tables import print_table
from engine.cli._view import looked_at
from engine.metrics import METRICS

if TYPE_CHECKING:
    from engine.frontier.effects import Effects

SHOWN = 4
"""So many metrics are shown where none are named: what the sweep is judged by, size, latency, energy, as far as they are measured."""


def effects(
    sweep: SweepRef,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics, divided by commas. Default: what the sweep is judged by, file size, latency, energy."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Profile, or board of yours, that latency and energy are for.")] = "host",
    as_json: JsonFlag = False,
) -> None:
    """What each option changes, all else equal: from recipes that differ in it alone, with 95 % intervals."""
    from engine.frontier.effect_texts import effects_json
    from engine.frontier.effects import effects as find_effects
    from engine.frontier.front import parse_objectives
    from engine.store.artifacts import Artifacts

    trials, device, _ = looked_at(sweep, device, None)
    wanted = parse_objectives(metrics, trials, "a metric") if metrics is not None else ()
    found = find_effects(trials, device, Artifacts.open().local, wanted)
    print_json(effects_json(found)) if as_json else print_effects(found, wanted or found.metrics[:SHOWN])


def print_effects(found: Effects, shown: tuple[str, ...] | list[str]) -> None:
    """A line for each option, then what options do together beyond the sum of each, where that is more than chance."""
    from engine.frontier.contrasts import WITHOUT
    from engine.frontier.effect_texts import change_text, strongest_together, together_text

    keys = [key for key in shown if key in found.metrics]
    columns = {"option": "left", "instead of": "left", "pairs": "right"}
    columns |= dict.fromkeys((METRICS[key].name for key in keys), "right")
    rows = [
        (
            e.name,
            "–" if e.instead == WITHOUT else e.instead,
            f"{e.pairs:,}" if e.basis == "pairs" else "regression",
            *(change_text(key, e.estimates.get(key)) for key in keys),
        )
        for e in found.effects
    ]
    if not rows:
        print("No two finished recipes differ in one option alone yet, and they are too few for a regression.")
        return
    print_table(
        columns,
        rows,
        "Mean change between recipes that differ in this alone, 95 % interval; where there are no two of them, by regression over all.",
    )
    for key in keys[:1]:
        for one in strongest_together(found, key):
            print(together_text(found, one, key))
