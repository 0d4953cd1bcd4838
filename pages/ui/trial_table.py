"""Trials as tables: those measured, with a row to select, and those that are still to come or failed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from engine.choice import Choice
from engine.record import METRICS, Trial, measured_metrics, metric_value
from engine.words import is_estimated, metric_range, shown, text_of

_FORMATS = {
    "accuracy": "%.2f",
    "size_bytes": "%.1f",
    "size_zipped_bytes": "%.1f",
    "latency_ms": "%.3f",
    "latency_ratio": "%.2f",
    "energy_mj": "%.3g",
    "kwh_per_million": "%.3g",
    "cost_per_million": "%.3g",
    "co2e_kg_per_million": "%.3g",
    "params": "localized",
    "nonzero_params": "localized",
    "macs": "%.2f",
    "nll": "%.4f",
    "kl": "%.5f",
}
_SHARES = "%.2f"


def marks(trial: Trial, choice: Choice, tied: Collection[str] = ()) -> str:
    """What is special about a trial, in words; `tied` are the trials tied with the frontier."""
    names = [
        name
        for name, holds in (
            ("baseline", trial.id == choice.baseline),
            ("best", bool(choice.view.limits) and trial.id == choice.best),
            ("knee", trial.id == choice.knee),
            ("frontier", trial.id in choice.front),
            ("tied with frontier", trial.id in tied),
            ("tied with baseline", bool(trial.accuracy and trial.accuracy.tied_with_baseline)),
            ("outside limits", trial.id not in choice.kept),
        )
        if holds
    ]
    return ", ".join(names)


def frame(trials: Sequence[Trial], choice: Choice, tied: Collection[str] = ()) -> pd.DataFrame:
    """One row per trial, in the order given; numbers in the units shown, a column for each that some trial has."""
    device = choice.view.device
    keys = measured_metrics(trials, device)
    rows = []
    for trial in trials:
        row: dict[str, Any] = {"recipe": trial.label, "marks": marks(trial, choice, tied)}
        for key in keys:
            value = metric_value(trial, key, device)
            row[key] = None if value is None else shown(key, value)
            if key == "accuracy":
                ends = metric_range(trial, key)
                row["interval"] = "–".join(text_of(key, e, unit=False) for e in ends) if ends else None
        rows.append(row | {"provenance": trial.provenance})
    return pd.DataFrame(rows)


def _columns(trials: Sequence[Trial], device: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "recipe": st.column_config.TextColumn(
            "Recipe", help="The steps, in the order applied.", pinned=True, width=280
        ),
        "marks": st.column_config.TextColumn(
            "Standing",
            width=160,
            help="frontier: no other recipe within your limits is better on both axes. knee: past it, giving up more buys little. "
            "tied with …: the measurements cannot tell the two apart.",
        ),
        "interval": st.column_config.TextColumn(
            "95 % interval (%)", help="Where the accuracy lies, given the number of images."
        ),
        "provenance": st.column_config.TextColumn(
            "Truth",
            help="deployed: measured on the very file that you export. simulated: no kernel for it here. imported: made elsewhere.",
        ),
    }
    for key in measured_metrics(trials, device):
        metric = METRICS[key]
        estimated = ", estimated" if any(is_estimated(t, key, device) for t in trials) else ""
        unit = f" ({metric.unit})" if metric.unit else ""
        config[key] = st.column_config.NumberColumn(
            f"{metric.name}{estimated}{unit}", help=metric.help, format=_FORMATS.get(key, _SHARES)
        )
    return config


def selectable(
    trials: Sequence[Trial], choice: Choice, tied: Collection[str], key: str, on_select: Callable[[], None]
) -> None:
    """The table of measured trials; `on_select` runs when the selected row changes."""
    st.dataframe(
        frame(trials, choice, tied),
        hide_index=True,
        column_config=_columns(trials, choice.view.device),
        height=min(420, 38 + 35 * len(trials)),
        selection_mode="single-row",
        on_select=on_select,
        key=key,
        placeholder="–",
        alt="Every measured recipe with its numbers; select a row to see its recipe.",
    )


def unfinished(trials: Sequence[Trial]) -> None:
    """Recipes that failed, with the reason, and those that are still to come; nothing when there are none."""
    failed = [t for t in trials if t.state == "failed"]
    pending = [t for t in trials if t.state == "pending"]
    if failed:
        with st.expander(f"{len(failed)} {_recipes(failed)} could not be made", icon=":material/error:"):
            st.table(
                pd.DataFrame({"Recipe": [t.label for t in failed], "Reason": [t.error or "unknown" for t in failed]})
            )
    if pending:
        with st.expander(f"{len(pending)} {_recipes(pending)} not measured yet", icon=":material/hourglass_empty:"):
            st.table(pd.DataFrame({"Recipe": [t.label for t in pending]}))


def _recipes(trials: Sequence[Trial]) -> str:
    return "recipe" if len(trials) == 1 else "recipes"
