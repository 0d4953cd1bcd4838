"""What broke, of networks whose outputs are values: how far samples moved, and those that moved most."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.export import tables as table_export
from engine.figures.changed_values import changes_alt, changes_figure
from engine.figures.series import is_series
from engine.graph.inputs import is_array
from engine.metrics import METRICS, shown, text_of
from engine.quality.changed_values import Change, Changes, changes
from engine.quality.values import Values
from engine.store.rows import SweepRow
from engine.trials.text import baseline_text, signed
from engine.trials.trial import Trial
from pages.shared import answers, plots, sample_picture, share, shell, slices

_PICTURES, _SMALL_PX = 8, 96


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
    _worst(found, key, measured_on)
    most = {"Samples that changed most": lambda: table_export.records(found.worst)}
    share.popover(f"{row.id}-{trial.id}", most | slices.tables(trial))


def _summary(trial: Trial, found: Changes, n: int) -> None:
    with st.container(horizontal=True):
        if trial.score:
            metric = METRICS[trial.score.key]
            change = trial.score.vs_baseline
            st.metric(
                metric.name,
                text_of(trial.score.key, trial.score.value),
                None if change is None else signed(trial.score.key, change.value),
                delta_color="normal" if metric.maximise else "inverse",
                help=metric.help,
                border=True,
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
        st.caption(f"{text[:1].upper()}{text[1:]}.")


def _worst(found: Changes, key: str | None, measured_on: answers.TestImages) -> None:
    if not found.worst:
        st.caption("No sample changed for the worse.")
        return
    st.subheader("Samples that changed most", anchor=False)
    inputs = measured_on.split.inputs
    if measured_on.are_pictures or (is_array(inputs) and is_series(inputs.shape[1:])):
        _pictures(found.worst[:_PICTURES], measured_on)
    unit = METRICS[key].unit if key and found.by_metric else "of the typical length"
    rows = [
        {"Sample": c.index}
        | ({} if c.target is None else {"Target": c.target})
        | {"Baseline says": c.before, "This recipe says": c.after}
        | {f"Change ({unit})" if unit else "Change": shown(key, c.change) if key and found.by_metric else c.change}
        for c in found.worst
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=min(400, 40 + 35 * len(rows)))


def _pictures(worst: tuple[Change, ...], measured_on: answers.TestImages) -> None:
    inputs = measured_on.split.inputs
    assert is_array(inputs)  # of pictures, or of series
    scale = sample_picture.Scale.of(inputs)
    with st.container(horizontal=True, gap="small"):
        for change in worst:
            with st.container(width=_SMALL_PX, gap=None):
                sample_picture.show(inputs[change.index], scale, _SMALL_PX)
                st.caption(shell.plain(f"{change.before} → {change.after}"))
