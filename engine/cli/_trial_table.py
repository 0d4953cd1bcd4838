"""Trials as rows of a table, on a device and under a scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli._tables import kilobytes
from engine.metrics import METRICS, SCENARIO_METRICS, is_score, text_of
from engine.trials.evidence import Interval
from engine.trials.measurements import Energy
from engine.trials.metric_values import metric_interval, metric_value
from engine.trials.stated import NOT_HERE
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.devices.cost import Scenario


def trial_cells(trial: Trial, device: str, judged_by: str = "accuracy") -> tuple[str, ...]:
    """A trial as a row under `trial_columns`, of trials that are judged by that metric."""
    if trial.state != "done":
        # In a column of numbers, which are not wrapped, a line of words would leave no room for what the row is of.
        why = trial.error or trial.stopped
        recipe = f"{trial.label}: {why}" if why else trial.label
        return (trial.id, recipe, trial.state, *[""] * 6)
    if trial.stated:
        return _stated_cells(trial, device)
    quality, ratio, projection = _quality_cell(trial, judged_by), trial.latency_ratio, trial.projections.get(device)
    energy = projection.energy_mj if projection else None
    latency = trial.latency_ms.p50 if trial.latency_ms else None
    if device != "host" and projection and not projection.fits:
        return (
            trial.id,
            f"{trial.label}: {projection.reason}",
            quality,
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
        quality,
        *_size_cells(trial),
        "–" if latency is None else f"{latency:.3g}",
        "–" if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f})",
        "–" if energy is None else f"{energy.value:.3g} ({energy.low:.2g}–{energy.high:.2g}) {_known(energy)}",
    )


def _stated_cells(trial: Trial, device: str) -> tuple[str, ...]:
    """An imported point, whose numbers have no interval."""
    cells = [
        text_of(key, metric_value(trial, key, device), unit=False)
        for key in ("accuracy", "size_bytes", "size_zipped_bytes", "macs", "latency_ms", "energy_mj")
    ]
    return (trial.id, f"{trial.label} ({NOT_HERE})", *cells[:5], "–", cells[5])


def _known(energy: Energy) -> str:
    return "measured" if energy.source == "measured" else "estimated"


def _quality_cell(trial: Trial, key: str) -> str:
    found = metric_interval(trial, key)
    if not isinstance(found, Interval):
        return "–"
    if METRICS[key].unit == "%":
        return f"{found.value * 100:.2f} ({found.low * 100:.1f}–{found.high * 100:.1f})"
    return f"{text_of(key, found.value, unit=False)} ({text_of(key, found.low, unit=False)}–{text_of(key, found.high, unit=False)})"


def _size_cells(trial: Trial) -> tuple[str, str, str]:
    return kilobytes(trial.size_bytes), kilobytes(trial.size_zipped_bytes), f"{(trial.macs or 0) / 1e6:.2f}"


def trial_columns(judged_by: str = "accuracy") -> dict[str, str]:
    """Headings and their sides, of trials that are judged by that metric."""
    metric = METRICS[judged_by]
    name = metric.name if is_score(judged_by) else metric.name.lower().removeprefix("fidelity: ")
    quality = " ".join(part for part in (name, metric.unit, "(95 %)") if part)
    sides = dict.fromkeys((quality, "kB", "kB zipped", "M MACs", "ms p50", "× baseline", "mJ"), "right")
    return {"id": "left", "recipe": "left"} | sides


def with_scenario(
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


def machine_line(trials: Sequence[Trial], device: str) -> str:
    """Where the times were measured, and for what they are estimates."""
    machines = sorted({t.machine.label for t in trials if t.machine})
    if not machines:
        return "Nothing is measured yet."
    measured = "; ".join(machines)
    if device == "host":
        return f"Measured on {measured}."
    on_it = [t.projections[device].source for t in trials if device in t.projections]
    elsewhere = "ms: measured on" if on_it and set(on_it) == {"measured"} else "ms and mJ: estimates for"
    return f"Measured on {measured}. {elsewhere} {device}."
