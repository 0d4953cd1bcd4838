"""What broke, of networks whose outputs are values: how far samples moved, and those that moved most."""

from __future__ import annotations

import streamlit as st

from engine.export import tables as table_export
from engine.figures.changed_values import changes_alt, changes_figure
from engine.metrics import METRICS, text_of
from engine.quality.changed_values import Changes, changes
from engine.quality.values import Values
from engine.store.rows import SweepRow
from engine.trials.text import baseline_text, signed, with_minus
from engine.trials.trial import Trial
from pages.shared import answers, plots, share, slices, tiles
from pages.what_broke import worst


def compare(row: SweepRow, trial: Trial, before: Values, after: Values) -> None:
    """Draw it for one recipe against the baseline."""
    measured_on = answers.test_images(row)
    split = measured_on.split
    if len(before) != len(split) or len(after) != len(split):
        st.warning("The dataset has changed since this sweep was run; run it again.", icon=":material/history:")
        return
    key = trial.score.key if trial.score else None
    found = changes(before, after, split.targets, key)
    _summary(trial, found, len(found.moved))
    title = (
        f"Change of {METRICS[key].name}, sample by sample"
        if key and found.by_metric
        else "How far each sample’s outputs moved"
    )
    st.subheader(title, anchor=False)
    plots.draw(changes_figure(found, key), key="broke values", alt=changes_alt(found, key))
    slices.show_changes(trial)
    worst.show(found, key, measured_on, before, after)
    most = {"Samples that changed most": lambda: table_export.records(found.worst)}
    share.popover(f"{row.id}-{trial.id}", most | slices.tables(trial))


def _summary(trial: Trial, found: Changes, n: int) -> None:
    with st.container(horizontal=True):
        if trial.score:
            metric = METRICS[trial.score.key]
            change = trial.score.vs_baseline
            tiles.tile(
                metric.name,
                text_of(trial.score.key, trial.score.value),
                None if change is None else signed(trial.score.key, change.value),
                higher_is_better=metric.maximise,
                is_tied=bool(trial.tied_with_baseline),
                help=metric.help,
                width=180,
            )
        close = trial.fidelity.relative_error if trial.fidelity else None
        if close:
            st.metric(
                "Outputs moved by",
                text_of("relative_error", close.value),
                "of their spread",
                delta_color="off",
                delta_arrow="off",
                help=METRICS["relative_error"].help,
                border=True,
                width=180,
            )
        if found.by_metric:
            for label, count in (("Samples worse", found.worse), ("Samples better", found.better)):
                st.metric(
                    label, f"{count:,}", f"of {n:,}", delta_color="off", delta_arrow="off", border=True, width=180
                )
    if text := baseline_text(trial):
        st.caption(f"{with_minus(text[:1].upper() + text[1:])}.")
