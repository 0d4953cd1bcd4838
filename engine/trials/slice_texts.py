"""Slices in words: every figure of each with its interval. Plain text without markup."""

from __future__ import annotations

from engine.metrics import METRICS, text_of
from engine.trials.metric_values import slice_metrics, worst_slice
from engine.trials.slices import FIGURES, Figure, Slice, SliceFigure, Slices
from engine.trials.text import signed


def figures_of(slices: Slices) -> tuple[Figure, ...]:
    """The figures that some slice has, what the worst is told by first."""
    return tuple(name for name in FIGURES if name == slices.figure or any(getattr(p, name) for p in slices.parts))


def figure_key(slices: Slices, figure: Figure) -> str:
    """The metric of a figure."""
    return "accuracy" if figure == "accuracy" else slices.key


def figure_text(part: Slice, figure: Figure, key: str) -> str:
    """`91.2 % (88.0 to 93.6)`, or why there is no number."""
    found: SliceFigure | None = getattr(part, figure)
    if found is None:
        return "one sample tells nothing of it" if part.n < 2 else "not defined on these samples"
    return (
        f"{text_of(key, found.value)} ({text_of(key, found.low, unit=False)} to {text_of(key, found.high, unit=False)})"
    )


def change_text(part: Slice, figure: Figure, key: str) -> str:
    """`-1.20 points (-2.51 to +0.09)`; empty where there is nothing to compare with."""
    found: SliceFigure | None = getattr(part, figure)
    if found is None or found.vs_baseline is None:
        return ""
    change = found.vs_baseline
    return (
        f"{signed(key, change.value)} ({signed(key, change.low, unit=False)} to {signed(key, change.high, unit=False)})"
    )


def slice_rows(slices: Slices) -> list[dict[str, str]]:
    """A row for each slice: its name, how many samples, every figure with its interval, and the change against the baseline."""
    rows = []
    for part in slices.parts:
        row = {"Slice": part.name, "Samples": f"{part.n:,}"}
        for figure in figures_of(slices):
            key = figure_key(slices, figure)
            name = (
                METRICS[key].name.removeprefix("Fidelity: ").capitalize() if figure == "fidelity" else METRICS[key].name
            )
            row[name] = figure_text(part, figure, key)
            if any(f.vs_baseline for p in slices.parts if (f := getattr(p, figure))):
                row[f"{name} vs baseline"] = change_text(part, figure, key)
        rows.append(row)
    return rows


def flat_slices(slices: Slices) -> list[dict[str, float | int | str | None]]:
    """A flat record for each slice, in base units, to take away; None where there is no number."""
    rows: list[dict[str, float | int | str | None]] = []
    for part in slices.parts:
        row: dict[str, float | int | str | None] = {"array": part.array, "value": part.value, "n": part.n}
        for figure in figures_of(slices):
            found: SliceFigure | None = getattr(part, figure)
            change = found.vs_baseline if found else None
            for end in ("value", "low", "high"):
                row[f"{figure}_{end}"] = getattr(found, end, None)
                row[f"{figure}_change_{end}"] = getattr(change, end, None)
        rows.append(row)
    return rows


def worst_text(slices: Slices) -> str:
    """Where a trial is worst, and where it lost most against the baseline; empty where neither is known."""
    said = []
    for key, words in zip(slice_metrics(slices.key), ("worst", "worse than the baseline by most"), strict=True):
        if worst := worst_slice(slices, key):
            number, low, high = (text_of(key, getattr(worst.interval, end)) for end in ("value", "low", "high"))
            said.append(
                f"{words} in {worst.array} {worst.value}: {number} (95 % interval of the worst of many {low} to {high})"
            )
    return f"{METRICS[slices.key].name} is {'; '.join(said)}." if said else ""
