"""`paretoscope plan`: what a spec would run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from engine.cli._options import JsonFlag, Overrides, SpecFile, print_json
from engine.cli._tables import console
from engine.trials.text import duration

if TYPE_CHECKING:
    from engine.run.forecast import Preview


def plan(spec: SpecFile, overrides: Overrides = [], as_json: JsonFlag = False) -> None:  # noqa: B006
    """What a spec would run: unique and naive node counts, and a forecast in seconds."""
    from engine.check.report import settled
    from engine.run.check_inputs import check_taken
    from engine.run.forecast import preview
    from engine.spec.read import read_sweep
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    artifacts = Artifacts.open()
    artifacts.check()
    sweep = settled(read_sweep(spec, tuple(overrides)))[0]
    found = preview(sweep, Store.open(), artifacts)
    check_taken(sweep)
    print_json(asdict(found)) if as_json else print_plan(found)


def print_plan(plan: Preview) -> None:
    """Node counts and forecast."""
    console().print(
        f"{plan.sweep}: {plan.recipes} recipes, {plan.unique_nodes} unique nodes "
        f"({plan.naive_nodes} if every recipe ran from scratch); {plan.missing_nodes} still to run, "
        f"{_part(plan)}about {duration(plan.forecast_s)} (from scratch {duration(plan.naive_forecast_s)})"
    )
    if plan.old_code_nodes:
        console().print(
            f"{plan.old_code_nodes} of those still to run were finished by an earlier version of Paretoscope, "
            f"{duration(plan.old_code_s)} of work; `paretoscope run --keep-old-code` takes them as they are"
        )


def _part(plan: Preview) -> str:
    """What one run does of a plan, where its budget stops it before the end."""
    if plan.is_estimate:
        return (
            f"by this run {plan.run_recipes} recipes, which {plan.search} chooses as it goes, so this is the mean over all choices: "
            f"{plan.run_nodes} nodes, "
        )
    if plan.run_nodes < plan.missing_nodes:
        return f"{plan.run_nodes} of them, for {plan.run_recipes} recipes, by this run, "
    return ""
