"""`paretoscope front`: the Pareto frontier of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli._options import JsonFlag, ScenarioName, SweepRef, print_json
from engine.cli._tables import print_table
from engine.cli._trial_table import machine_line, trial_cells, trial_columns, with_scenario
from engine.cli._view import looked_at
from engine.cli._where import Where, matching
from engine.metrics import METRICS, is_score
from engine.trials.text import share_text
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario
    from engine.frontier.certainty import Certainty
    from engine.frontier.front import Front
    from engine.frontier.verdict import Verdict


def front(
    sweep: SweepRef,
    others: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SWEEP]...", help="More sweeps, up to six in all: each frontier, and who beats whom."),
    ] = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            help="Metrics, divided by commas; default: accuracy,size_bytes,latency_ms, as far as they are measured."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Profile that latency and energy are for; default: the scenario's, or host.")
    ] = None,
    scenario: ScenarioName = None,
    tied: Annotated[
        bool, typer.Option("--tied", help="List also the trials that are statistically tied with it.")
    ] = False,
    imported: Annotated[
        bool, typer.Option("--imported", help="Let imported points onto it too; they were not measured here.")
    ] = False,
    where: Where = None,
    as_json: JsonFlag = False,
) -> None:
    """The Pareto frontier: the trials that no other trial beats in every objective, how sure that is, and which to ship."""
    if others:
        from engine.cli._fronts import fronts

        fronts([sweep, *others], objectives, device, scenario, tied, imported, as_json)
        return
    from engine.frontier.certainty import certainty
    from engine.frontier.front import find_front, parse_objectives, usual_objectives
    from engine.store.artifacts import Artifacts

    asked_device = device
    listed, device, chosen = looked_at(sweep, device, scenario, imported)
    asked = parse_objectives(objectives, listed) if objectives is not None else None
    matched = matching(listed, where, device)
    kept = [t for t in matched if chosen is None or chosen.keeps(t)]
    wanted = asked or usual_objectives(listed, device)
    found = find_front(kept, wanted, device)
    sure = certainty(kept, wanted, {}, device, Artifacts.open().local)
    aimed = asked_device is None and chosen is None
    told = _recommended(sweep, kept, wanted, device, sure, aimed, listed)
    if as_json:
        print_json(front_json(found, sure, kept if tied else (), device, told))
    elif not found.trials and any(t.state == "done" for t in listed):
        sys.stdout.write(f"{_why_empty(matched, kept, wanted, chosen)}\n")
    else:
        print_front(found, sure, [t for t in kept if tied and t.id in sure.tied], device, chosen)
        print(f"\n{told.sentence}" * bool(told.sentence))


def _why_empty(
    matched: Sequence[Trial], kept: Sequence[Trial], wanted: Sequence[str], scenario: Scenario | None
) -> str:
    """Why no recipe of a sweep that has measured some is on the frontier: which of what was asked for left none."""
    if not matched:
        return "No recipe matches the filter, so there is no frontier."
    if not kept and scenario is not None:
        done = sum(t.state == "done" for t in matched)
        return f"No measured recipe keeps the limits of the scenario {scenario.name}, of {done:,} looked at, so there is no frontier."
    return f"No recipe has {', '.join(wanted)} measured, of {len(kept):,} looked at, so there is no frontier."


def _recommended(
    sweep: str,
    trials: Sequence[Trial],
    objectives: Sequence[str],
    device: str,
    sure: Certainty,
    aimed: bool,
    whole: Sequence[Trial],
) -> Verdict:
    """What to ship of `trials`, some of the `whole`: for the target of the spec if `aimed`, and it states limits; otherwise the knee."""
    from engine.frontier.recommendation import axes_to_ship_by
    from engine.frontier.verdict import verdict_for
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store
    from engine.store.target import target_of

    store = Store.open()
    target = target_of(store, store.sweep(sweep).id) if aimed else None
    if target and target.limits:
        device = target.device
    axes = axes_to_ship_by(objectives, trials, device)
    known = sure if axes == tuple(objectives) else None
    return verdict_for(trials, axes, target, device, Artifacts.open().local, known, whole)


def front_json(
    front: Front, sure: Certainty, listed: Sequence[Trial], device: str, told: Verdict
) -> list[dict[str, Any]]:
    """What `front --json` prints: the frontier, then those of `listed` that are tied with it.

    `p_front` is the share of redraws of the measurements in which a trial is on the front; `tied_with` names, for a trial of the front,
    those that it does not beat for sure. `p_knee` stands at the knee, `recommendation` at the first record.
    """
    tied = [t for t in listed if t.id in sure.tied]
    found = [
        t.to_json(device)
        | {
            "knee": t.id == front.knee,
            "p_knee": sure.knee if t.id == front.knee else None,
            "p_front": sure.p_front.get(t.id, 0.0),
            "tied_with_frontier": t.id in sure.tied,
            "tied_with": list(sure.groups.get(t.id, ())),
            "recommended": t.id == told.trial,
        }
        for t in (*front.trials, *tied)
    ]
    return [row | ({} if place else {"recommendation": told.to_json()}) for place, row in enumerate(found)]


def print_front(
    front: Front, sure: Certainty, tied: Sequence[Trial], device: str, scenario: Scenario | None = None
) -> None:
    """The frontier, its knee marked, and the trials tied with it; each with the share of redraws in which it is on the front."""
    from engine.frontier.columns import Trials

    marks = {front.knee: f"  ← knee ({share_text(sure.knee or 0)})"} | dict.fromkeys((t.id for t in tied), "  tied")
    listed = (*front.trials, *tied)
    judged_by = Trials.of(listed).judged_by
    rows: list[tuple[str, ...]] = []
    for trial in listed:
        cells = trial_cells(trial, device, judged_by)
        rows.append(
            (cells[0], cells[1] + marks.get(trial.id, ""), share_text(sure.p_front.get(trial.id, 0.0)), *cells[2:])
        )
    columns = {"id": "left", "recipe": "left", "on front": "right", **trial_columns(judged_by)}
    objectives = ", ".join(METRICS[k].name if is_score(k) else k for k in front.objectives)
    # One trial, or two that are each the worst in something, span no box; that is no verdict on them.
    volume = f"; hypervolume {front.hypervolume:.3f} of 1" if front.hypervolume else ""
    caption = f"Frontier over {objectives}{volume}. "
    caption += f"On front: share of {sure.draws} redraws of the measurements. "
    if sure.tied and not tied:
        caption += f"{len(sure.tied)} more are statistically tied with it: --tied lists them. "
    columns, rows, assumed = with_scenario(columns, rows, listed, device, scenario)
    print_table(columns, rows, caption + machine_line(front.trials, device) + assumed)
