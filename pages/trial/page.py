"""Trial: everything there is to say about one recipe of a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pandas as pd
import streamlit as st

from engine.errors import DatasetError, InputError
from engine.explain.portability import computes_in_integers
from engine.export import tables as table_export
from engine.figures.trial_bars import Bar, bars_alt, parts_figure, size_by_layer, size_types, stages_figure, stages_info
from engine.figures.trial_latency import histogram_alt, histogram_figure, histogram_info
from engine.figures.trial_recall import MOST_CLASSES, recall_alt, recall_figure, recall_info
from engine.metrics import DEVICE_METRICS, METRICS, ON_IMAGES, is_score, text_of
from engine.store.rows import SweepRow
from engine.trials.text import timing_texts
from engine.trials.trial import Trial
from pages.shared import answers, comparison, notes, pickers, queries, recommended, share, shell, slices, trial_panel
from pages.shared.trial_panel import Number
from pages.trial import boards, explanations, layers, network

_GROUPS = {
    "On the test samples": ON_IMAGES,
    "Time and energy on the sweep’s machine": frozenset({"latency_ms", "latency_ratio", "energy_mj"}),
    "File and network": frozenset({"size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs"}),
}


def render() -> None:
    """Draw the page."""
    rows = [r for r in queries.sweeps() if r.trials]
    if not rows:
        st.info(
            "Nothing has been measured yet. Start a sweep; each of its recipes can then be looked at here.",
            icon=":material/info:",
        )
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row, wanted, news = pickers.pick_one("trial", rows)
        done = queries.columns(row).done
        trial = pickers.pick_trial("trial", done, wanted, news, lambda: recommended.unless_refused(row).trial)
    pickers.keep_one("trial", row, trial)
    if trial is None:
        st.info("This sweep has no measured recipe.", icon=":material/info:")
        return
    baseline = queries.baseline(done)
    left, right = st.columns([2, 1], gap="medium")
    with left:
        trial_panel.head(trial, baseline, "host")
    with right:
        _take_it(row, trial, baseline)
    _stages(trial)
    _numbers(trial, baseline)
    _size(trial)
    network.show(row, trial, baseline)
    _latency(row, trial)
    boards.show(row, trial)
    _insights(row, trial, baseline)
    slices.show_levels(trial, baseline)
    _classes(row, trial, baseline)


def _take_it(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    """Export, the ways to the other pages, and this page and its file as text to copy."""
    params = {"sweep": row.id, "trial": trial.id}
    with st.container(border=True):
        trial_panel.export(row, trial)
        comparison.buttons(row, trial, baseline)
        notes.panel(row, trial)
        with st.container(horizontal=True, gap="small"):
            links = [("explore", "On the frontier", ":material/scatter_plot:", params)]
            if trial.recipe.steps:
                links.append(("broke", "What broke", ":material/broken_image:", params))
            links.append(("devices", "On other devices", ":material/memory:", {"sweep": row.id}))
            for page, label, icon, asked_for in links:
                st.page_link(shell.pages()[page], label=label, icon=icon, query_params=asked_for)
        share.popover(f"{row.id}-{trial.id}", _tables(row, trial))
        st.caption("Copy link")
        st.code(_link(params), language=None, wrap_lines=True)
        st.caption("Copy command")
        st.code("\n".join(_commands(row, trial)), language="sh", wrap_lines=True)
        if trial.machine:
            st.caption(f"Measured on {trial.machine.label}")


def _tables(row: SweepRow, trial: Trial) -> dict[str, Callable[[], share.Rows]]:
    """What of this page is a table, by its title."""
    found: dict[str, Callable[[], share.Rows]] = {
        "Numbers": lambda: table_export.number_rows([trial], ("host", *(d for d in trial.projections if d != "host")))
    }
    found |= slices.tables(trial)
    if held := trial.size_layers:
        bits = trial.layer_bits or {}
        found["Bytes by layer"] = lambda: [
            {"layer": n, "bytes": b, "weight_bits": bits.get(n)} for n, b in held.items()
        ]
    if trial.timing:
        found["Latency samples"] = lambda: _sample_rows(row, trial)
    return found


def _sample_rows(row: SweepRow, trial: Trial) -> list[dict[str, Any]]:
    try:
        samples = queries.latency_samples(row, trial)
    except InputError:
        # The page says why; a download that fails would say nothing.
        samples = None
    sides = (("trial", samples.trial_ms), ("baseline", samples.baseline_ms)) if samples else ()
    return [{"side": side, "ms": ms} for side, times in sides for ms in times]


def _link(params: Mapping[str, str]) -> str:
    """The whole address of this page, as far as the browser has said where it is."""
    here = urlsplit(st.context.url or "")
    base = f"{here.scheme}://{here.netloc}{here.path.rstrip('/').removesuffix('/trial')}" if here.netloc else ""
    return f"{base}/trial?{urlencode(params)}"


def _commands(row: SweepRow, trial: Trial) -> list[str]:
    sweep = shlex.quote(row.id)
    why = [f"paretoscope why {sweep} {trial.id}"] if trial.recipe.steps else []
    return [f"paretoscope export {sweep} {trial.id} -o {shlex.quote(f'{row.id}-{trial.id}.zip')}", *why]


def _stages(trial: Trial) -> None:
    found = stages_info(trial)
    if not found:
        return
    st.subheader("What each step bought or cost", anchor=False)
    for column, (key, bars) in zip(st.columns(3, gap="medium"), found.items(), strict=False):
        with column:
            st.markdown(f"###### {METRICS[key].name}", help=METRICS[key].help)
            figure = stages_figure(bars, METRICS[key].unit)
            st.plotly_chart(
                figure, key=f"trial stages {key}", config=share.picture_config(), alt=bars_alt(METRICS[key].name, bars)
            )
    st.caption("From the baseline down; in brackets the change to the stage before. Each stage was measured.")


def _numbers(trial: Trial, baseline: Trial | None) -> None:
    st.subheader("Every number", anchor=False)
    here = trial_panel.numbers(trial, baseline, "host")
    groups: dict[str, Sequence[Number]] = {
        title: [n for n in here if n.key in keys or (keys is ON_IMAGES and is_score(n.key))]
        for title, keys in _GROUPS.items()
    }
    elsewhere = [d for d, p in trial.projections.items() if d != "host" and p.source != "measured"]
    groups["On other devices, estimated"] = [
        n for d in elsewhere for n in trial_panel.numbers(trial, baseline, d) if n.key in DEVICE_METRICS
    ]
    columns = st.columns(2, gap="medium")
    for place, (title, found) in enumerate((t, f) for t, f in groups.items() if f):
        with columns[min(place, 1)], st.container(border=True, gap="xsmall"):
            known = {n.how for n in found}
            same = f" :small[:gray[{shell.plain(*known)}]]" if len(known) == 1 else ""
            st.markdown(f"**{title}**{same}")
            for number in found:
                _number(number, not same)


def _number(number: Number, with_how: bool) -> None:
    """Name and value with what surrounds it, and below how it is known, so that it fits any width."""
    interval = f" ({number.range})" if number.range else ""
    against = f" · {number.against} against the baseline" if number.against else ""
    how = f"  \n:small[:gray[{shell.plain(number.how)}]]" if with_how else ""
    st.markdown(f"{number.name} **{number.value}**{interval}{against}{how}", help=METRICS[number.key].help)


def _size(trial: Trial) -> None:
    types, held = size_types(trial), size_by_layer(trial)
    if not types or trial.size_bytes is None:
        return
    st.subheader("Where the bytes are", anchor=False)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("###### By type")
        _bars("trial types", "Bytes by type", types)
        parts = " + ".join(f"{n:,}" for n in (trial.size_parts or {}).values() if n)
        st.caption(f"{parts} = {trial.size_bytes:,} bytes: the whole file{_zipped(trial)}.")
    with right:
        st.markdown("###### By layer")
        if not held:
            st.caption("No layer of this file holds weights.")
            return
        _bars("trial size layers", "Bytes by layer", held)
        own = sum((trial.size_layers or {}).values())
        st.caption(
            f"Weights, scales and biases of the layers, {own:,} bytes, and {trial.size_bytes - own:,} that are no layer’s own "
            f"(graph, constants, scales of what flows between layers) = {trial.size_bytes:,} bytes: the whole file."
        )
        if trial.layer_bits:
            with st.expander("Bits chosen for each layer’s weights", icon=":material/layers:"):
                st.table(pd.DataFrame({"Bits": trial.layer_bits}), border="horizontal")


def _zipped(trial: Trial) -> str:
    return f"; zipped {text_of('size_zipped_bytes', trial.size_zipped_bytes)}" if trial.size_zipped_bytes else ""


def _bars(key: str, what: str, bars: Sequence[Bar]) -> None:
    st.plotly_chart(parts_figure(bars), key=key, config=share.picture_config(), alt=bars_alt(what, bars))


def _latency(row: SweepRow, trial: Trial) -> None:
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
    st.plotly_chart(histogram_figure(info), key="trial samples", config=share.picture_config(), alt=histogram_alt(info))
    runs = " and ".join(f"{s.runs:,} of {s.name}" for s in info.sides)
    beyond = sum(s.beyond for s in info.sides)
    turns = ", taken in turns" if len(info.sides) > 1 else ""
    st.caption(
        f"Every timed call: {runs}{turns}; {beyond:,} slower ones lie beyond the right edge. Milliseconds are those of the minutes in "
        "which they were taken; the numbers above are on the scale of the baseline’s own measurement."
    )


def _insights(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    """What is worked out when somebody asks."""
    if baseline and trial.recipe.steps and queries.file_of(trial) and queries.file_of(baseline):
        st.subheader("Why isn’t it faster?", anchor=False)
        with shell.one_line_errors():
            explanations.why(row, trial, baseline)
    if queries.file_of(trial):
        st.subheader("Layer by layer", anchor=False)
        if baseline and trial.id != baseline.id and queries.file_of(baseline):
            with shell.one_line_errors():
                layers.divergence(row, trial, baseline)
        with shell.one_line_errors():
            layers.sensitivity(row, trial)
    if computes_in_integers(trial.recipe) and queries.file_of(trial):
        st.subheader("On CPUs without VNNI", anchor=False)
        st.caption("8-bit products can saturate there, and the same file may answer differently.")
        with shell.one_line_errors():
            explanations.portability(row, trial)
    if trial.accuracy:
        st.subheader("On held-back samples", anchor=False)
        with shell.one_line_errors():
            explanations.confirmation(row, trial)


def _classes(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    if trial.quality is None:
        return
    st.subheader("Recall by class", anchor=False)
    try:
        images = answers.test_images(row)
    except DatasetError as error:
        st.caption(f"The test samples are not there any more: {shell.plain(str(error))}")
        return
    recall, counts = (
        trial.quality.class_recall,
        np.bincount(images.split.labels, minlength=len(images.classes)).tolist(),
    )
    if len(recall) != len(counts):
        st.warning("The dataset has changed since this sweep was run; run it again.", icon=":material/history:")
        return
    other = baseline if baseline and baseline.id != trial.id else None
    found = recall_info(recall, other.quality.class_recall if other and other.quality else None, counts, images.classes)
    st.plotly_chart(recall_figure(found), key="trial recall", config=share.picture_config(), alt=recall_alt(found))
    rest = f" The {len(found) - MOST_CLASSES} best classes are not drawn." if len(found) > MOST_CLASSES else ""
    st.caption(f"The worst class first; lines are Wilson’s 95 % intervals of each class alone.{rest}")
    if trial.recipe.steps:
        st.page_link(
            shell.pages()["broke"],
            label="What it gets wrong now",
            icon=":material/broken_image:",
            query_params={"sweep": row.id, "trial": trial.id},
        )


with shell.one_line_errors():
    shell.guard()
    render()
