"""What the command line shows to people: rich tables and progress. Numbers get units and sensible digits here, nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from engine.trials.text import SATURATION_RISKS, confirmation_text, duration, share_text
from engine.trials.trial import METRICS, SCENARIO_METRICS, Accuracy, Energy, Trial, metric_value

if TYPE_CHECKING:
    from engine.cli.doctor import Check
    from engine.devices.cost import Scenario
    from engine.frontier.certainty import Certainty
    from engine.frontier.selection import Front
    from engine.run.forecast import Preview
    from engine.run.run import Outcome, Progress
    from engine.store.store import SweepRow


def _console() -> Console:
    # A pipe gets a fixed width that fits every table, so that nothing is cut where a script or a log reads it.
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=160)


def print_table(columns: dict[str, str], rows: Sequence[Sequence[str]], caption: str | None = None) -> None:
    """Print rows under `columns`, a mapping from heading to `left` or `right`."""
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, justify in columns.items():
        table.add_column(name, justify=justify, no_wrap=justify == "right")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def percent(share: float | None) -> str:
    """A share as whole percent; an en dash for None."""
    return "–" if share is None else f"{share * 100:.0f} %"


def _kb(size: int | None) -> str:
    return "–" if size is None else f"{size / 1000:.1f}"


def print_models(rows: list[dict[str, Any]]) -> None:
    """The zoo."""
    columns = {"name": "left", "test accuracy": "right", "parameters": "right", "MACs": "right", "what it is": "left"}
    print_table(
        columns,
        [
            (
                r["name"],
                f"{r['accuracy'] * 100:.2f} %" if "accuracy" in r else "not trained",
                f"{r['params']:,}" if "params" in r else "–",
                f"{r['macs'] / 1e6:.2f} M" if "macs" in r else "–",
                r["description"],
            )
            for r in rows
        ],
        "Fashion-MNIST, 10,000 test images, counted on the ONNX file in ONNX Runtime.",
    )


def print_datasets(rows: list[dict[str, Any]]) -> None:
    """Datasets that are ready."""
    columns = {"name": "left", "input": "left", "classes": "right", "train": "right", "calibration": "right"}
    columns |= {"validation": "right", "test": "right"}
    print_table(
        columns,
        [
            (
                r["name"],
                "×".join(map(str, r["input_shape"])),
                str(len(r["classes"])),
                *(f"{r[s]:,}" for s in ("train", "calibration", "validation", "test")),
            )
            for r in rows
        ],
    )


def print_plan(plan: Preview) -> None:
    """Node counts and forecast."""
    _console().print(
        f"{plan.sweep}: {plan.recipes} recipes, {plan.unique_nodes} unique nodes "
        f"({plan.naive_nodes} if every recipe ran from scratch); {plan.missing_nodes} still to run, "
        f"{_part(plan)}about {duration(plan.forecast_s)} (from scratch {duration(plan.naive_forecast_s)})"
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


def print_sweeps(rows: Sequence[SweepRow]) -> None:
    """Every sweep."""
    columns = {"sweep": "left", "name": "left", "state": "left", "trials": "right", "created (UTC)": "left"}
    print_table(
        columns,
        [
            (
                r.id,
                r.name,
                r.state + (" (shipped example)" if r.example else ""),
                f"{r.trials}/{r.recipes}",
                r.created[:16],
            )
            for r in rows
        ],
    )


def _trial_cells(trial: Trial, device: str) -> tuple[str, ...]:
    if trial.state != "done":
        return (trial.id, trial.label, trial.error or trial.state, *[""] * 6)
    accuracy, ratio, projection = trial.accuracy, trial.latency_ratio, trial.projections.get(device)
    energy = projection.energy_mj if projection else None
    latency = trial.latency_ms.p50 if trial.latency_ms else None
    if device != "host" and projection and not projection.fits:
        return (
            trial.id,
            f"{trial.label}: {projection.reason}",
            _accuracy_cell(accuracy),
            *_size_cells(trial),
            "–",
            "–",
            "–",
        )
    if device != "host":
        latency = projection.latency_ms.value if projection and projection.latency_ms else None
    return (
        trial.id,
        trial.label,
        _accuracy_cell(accuracy),
        *_size_cells(trial),
        "–" if latency is None else f"{latency:.3g}",
        "–" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})",
        "–" if energy is None else f"{energy.value:.3g} ({energy.low:.2g}–{energy.high:.2g}) {_known(energy)}",
    )


def _known(energy: Energy) -> str:
    return "measured" if energy.source == "measured" else "estimated"


def _accuracy_cell(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return "–"
    return f"{accuracy.value * 100:.2f} ({accuracy.low * 100:.1f}–{accuracy.high * 100:.1f})"


def _size_cells(trial: Trial) -> tuple[str, str, str]:
    return _kb(trial.size_bytes), _kb(trial.size_zipped_bytes), f"{(trial.macs or 0) / 1e6:.2f}"


_TRIAL_COLUMNS = {
    "id": "left",
    "recipe": "left",
    "accuracy % (95 %)": "right",
    "kB": "right",
    "kB zipped": "right",
    "M MACs": "right",
    "ms p50": "right",
    "× baseline": "right",
    "mJ": "right",
}


def _with_scenario(
    columns: dict[str, str],
    rows: list[tuple[str, ...]],
    trials: Sequence[Trial],
    device: str,
    scenario: Scenario | None,
) -> tuple[dict[str, str], list[tuple[str, ...]], str]:
    """The columns that a scenario adds, and a line that says what it assumes."""
    if scenario is None:
        return columns, rows, ""
    # A line has room for so much: what a scenario does not ask about makes way.
    kept = [i for i, name in enumerate(columns) if name not in {"kB zipped", "M MACs", "× baseline"}]
    columns = {name: columns[name] for i, name in enumerate(columns) if i in kept}
    more = {f"{_unit(k, scenario)}/million": "right" for k in SCENARIO_METRICS} | {"limits": "left"}
    added = []
    for row, trial in zip(rows, trials, strict=True):
        values = (metric_value(trial, key, device) for key in SCENARIO_METRICS)
        cells = ["–" if v is None else f"{v:.3g}" for v in values]
        added.append(
            (
                *(row[i] for i in kept),
                *cells,
                "" if trial.state != "done" else "kept" if scenario.keeps(trial) else "broken",
            )
        )
    return (
        columns | more,
        added,
        f" Scenario {scenario.name}: {scenario.title}. Assumed: {'; '.join(scenario.assumptions)}.",
    )


def _unit(key: str, scenario: Scenario) -> str:
    unit = METRICS[key].unit.replace("¤", scenario.currency)
    return f"{unit} CO2e" if key == "co2e_kg_per_million" else unit


def _machine_line(trials: Sequence[Trial], device: str) -> str:
    machines = sorted({t.machine.label for t in trials if t.machine})
    measured = "; ".join(machines)
    return f"Measured on {measured}." + (f" ms and mJ: estimates for {device}." if device != "host" else "")


def print_trials(trials: Sequence[Trial], device: str, scenario: Scenario | None = None) -> None:
    """Every trial, in plan order, with a scenario's columns where one is given."""
    cells = [_trial_cells(t, device) for t in trials]
    columns, rows, assumed = _with_scenario(_TRIAL_COLUMNS, cells, trials, device, scenario)
    print_table(columns, rows, _machine_line(trials, device) + assumed)


def front_json(front: Front, sure: Certainty, listed: Sequence[Trial], device: str) -> list[dict[str, Any]]:
    """What `front --json` prints: the frontier, then those of `listed` that are tied with it.

    `p_front` is the share of redraws of the measurements in which a trial is on the front; `tied_with` names, for a trial of the front,
    those that it does not beat for sure. `p_knee` stands at the knee.
    """
    tied = [t for t in listed if t.id in sure.tied]
    return [
        t.to_json(device)
        | {
            "knee": t.id == front.knee,
            "p_knee": sure.knee if t.id == front.knee else None,
            "p_front": sure.p_front.get(t.id, 0.0),
            "tied_with_frontier": t.id in sure.tied,
            "tied_with": list(sure.groups.get(t.id, ())),
        }
        for t in (*front.trials, *tied)
    ]


def print_front(
    front: Front, sure: Certainty, tied: Sequence[Trial], device: str, scenario: Scenario | None = None
) -> None:
    """The frontier, its knee marked, and the trials tied with it; each with the share of redraws in which it is on the front."""
    marks = {front.knee: f"  ← knee ({share_text(sure.knee or 0)})"} | dict.fromkeys((t.id for t in tied), "  tied")
    listed = (*front.trials, *tied)
    rows: list[tuple[str, ...]] = []
    for trial in listed:
        cells = _trial_cells(trial, device)
        rows.append(
            (cells[0], cells[1] + marks.get(trial.id, ""), share_text(sure.p_front.get(trial.id, 0.0)), *cells[2:])
        )
    columns = {"id": "left", "recipe": "left", "on front": "right", **_TRIAL_COLUMNS}
    caption = f"Frontier over {', '.join(front.objectives)}; hypervolume {front.hypervolume:.3f} of 1. "
    caption += f"On front: share of {sure.draws} redraws of the measurements. "
    if sure.tied and not tied:
        caption += f"{len(sure.tied)} more are statistically tied with it: --tied lists them. "
    columns, rows, assumed = _with_scenario(columns, rows, listed, device, scenario)
    print_table(columns, rows, caption + _machine_line(front.trials, device) + assumed)


def print_confirmation(trial: Trial) -> None:
    """What the held-back images said."""
    print(f"{trial.label}: {confirmation_text(trial)}")


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def print_why(found: dict[str, Any]) -> None:
    """Where a trial's time goes, and what to try."""
    columns = {"": "left", "ms": "right", "ms baseline": "right"}
    for title, rows in (("operator", found["by_type"]), ("layer", found["by_layer"])):
        named = [(r["name"] or "(no layer's own)", _ms(r["trial_ms"]), _ms(r["baseline_ms"])) for r in rows]
        print_table({title: "left", **{k: v for k, v in columns.items() if k}}, named)
        print()
    print(f"{found['label']}: kernels of one image on {found['machine']}")
    for line in found["advice"]:
        print(f"- {line}")


def print_portability(found: dict[str, Any]) -> None:
    """What an int8 file would do on CPUs without VNNI."""
    columns = {"layer": "left", "pairs saturated": "right", "outputs changed": "right"}
    rows = [(x["name"], f"{x['saturated']:.3%}", f"{x['outputs_changed']:.2%}") for x in found["layers"]]
    print_table(columns, rows)
    print(f"\n{found['label']}: risk on CPUs without VNNI {SATURATION_RISKS[found['risk']]}")
    print(
        f"{found['images']} test images: {found['accuracy']:.2%} right here, {found['saturated_accuracy']:.2%} predicted there; "
        f"{found['flips']} change class, {found['harmed']} to wrong and {found['helped']} to right (mid-p {found['p_value']:.3g}, McNemar)"
    )
    if found["safe_recipe"]:
        print(f"safe everywhere, as a line of `recipes` in a spec: - {json.dumps(found['safe_recipe'])}")


def print_outcome(sweep_id: str, outcome: Outcome) -> None:
    """How a run ended."""
    if outcome.nodes_run == 0 and outcome.state == "done" and not outcome.recipes_left:
        print(
            f"{sweep_id}: nothing to do, all {outcome.trials_done + outcome.trials_failed} recipes are measured already"
        )
        return
    failed = (
        f", {outcome.trials_failed} failed (`paretoscope trials {sweep_id}` says why)" if outcome.trials_failed else ""
    )
    print(
        f"{sweep_id}: {outcome.state}, {outcome.trials_done} trials{failed}, {outcome.nodes_run} nodes run in {duration(outcome.seconds)}"
    )
    if outcome.state == "done" and outcome.recipes_left:
        print(f"the budget is used: {outcome.recipes_left} recipes are left; `paretoscope resume {sweep_id}` goes on")
    print(f"see it: paretoscope front {sweep_id}   or: paretoscope app")


_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}


def print_checks(checks: Sequence[Check]) -> None:
    """What `doctor` found."""
    print_table(
        {"check": "left", "": "left", "finding": "left"}, [(c.name, _MARKS[c.state], c.finding) for c in checks]
    )


@contextmanager
def run_bar(silent: bool, name: str) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr, so that stdout stays clean for scripts; `silent` for none."""
    if silent:
        yield lambda progress: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    task = bar.add_task(name, total=None, note="starting")

    def show(progress: Any) -> None:
        # Not before there is something to show: a spec that is refused must leave one line on stderr and no empty bar.
        bar.start()
        note = f"{duration(progress.remaining_s)} to go · {progress.trials_done} trials · {progress.latest}"
        bar.update(task, completed=progress.nodes_done, total=progress.nodes_total, note=note)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
