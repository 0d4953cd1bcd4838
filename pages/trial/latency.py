"""How long calls of a recipe take: percentiles, loading, memory, and every timed call."""

from __future__ import annotations

import streamlit as st

from engine.errors import InputError
from engine.figures.trial_latency import histogram_alt, histogram_figure, histogram_info
from engine.metrics import text_of
from engine.store.rows import SweepRow
from engine.trials.text import timing_texts
from engine.trials.trial import Trial
from pages.shared import plots, queries, shell


def show(row: SweepRow, trial: Trial) -> None:
    """Draw it; nothing where it was not measured."""
    latency = trial.latency_ms
    if latency is None:
        return
    st.subheader("Latency", anchor=False)
    with st.container(horizontal=True):
        tiles = [
            (f"p{p}", text_of("latency_ms", ms), f"{p} % of calls take no longer.")
            for p, ms in ((50, latency.p50), (95, latency.p95), (99, latency.p99))
        ]
        if trial.throughput_per_s:
            tiles.append(
                ("Samples / s", f"{trial.throughput_per_s:,.0f}", "At the median, with the batch stated below.")
            )
        if trial.load_ms is not None:
            tiles.append(
                ("Time to load", f"{trial.load_ms:,.1f} ms", "Creating a session; the file was in the system’s cache.")
            )
        if trial.timing:
            tiles.append(
                ("First run", f"{trial.timing.first_run_ms:.3g} ms", "The first call of a session just created.")
            )
        if trial.peak_memory_bytes:
            memory = f"{trial.peak_memory_bytes / 1e6:,.1f} MB"
            tiles.append(("Memory at most", memory, "Of loading and running it, above an empty session."))
        for label, value, about in tiles:
            st.metric(label, value, help=about, border=True, width=158)
    if trial.timing:
        st.markdown("\n".join(f"- {text}" for text in timing_texts(trial.timing)))
    _samples(row, trial)


def _samples(row: SweepRow, trial: Trial) -> None:
    try:
        samples = queries.latency_samples(row, trial)
    except InputError as error:
        st.caption(f"The raw samples cannot be found: {shell.plain(str(error))}")
        return
    if samples is None:
        st.caption(
            "The raw samples are not in this store: they stay where the sweep was run, until the program that took them changes."
        )
        return
    info = histogram_info(samples.trial_ms, samples.baseline_ms)
    plots.draw(histogram_figure(info), key="trial samples", alt=histogram_alt(info))
    runs = " and ".join(f"{s.runs:,} of {s.name}" for s in info.sides)
    beyond = sum(s.beyond for s in info.sides)
    turns = ", taken in turns" if len(info.sides) > 1 else ""
    st.caption(
        f"Every timed call: {runs}{turns}; {beyond:,} slower ones lie beyond the right edge. Milliseconds are those of the minutes in "
        "which they were taken; the numbers above are on the scale of the baseline’s own measurement."
    )
