"""Trial: everything there is to say about one recipe of a sweep."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from engine.errors import DatasetError, InputError
from engine.explain.portability import computes_in_integers
from engine.export import tables as table_export
from engine.figures.trial_bars import bars_alt, stages_figure, stages_info
from engine.figures.trial_recall import MOST_CLASSES, recall_alt, recall_figure, recall_info
from engine.metrics import METRICS
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import (
    answers,
    comparison,
    notes,
    pickers,
    plots,
    queries,
    recommended,
    share,
    shell,
    slices,
    trial_panel,
)
from pages.trial import boards, explanations, file_bytes, latency, layers, network, numbers, story


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
        _decision(row, trial)
        trial_panel.head(trial, baseline, "host")
    with right:
        _take_it(row, trial, baseline)
    # Names and numbers of three charts need the whole width.
    _stages(trial)
    # From here on, folded: each heading says what there is to find.
    with _fold("Where it breaks", ":material/broken_image:", story.breaks(trial)):
        _classes(row, trial, baseline)
        slices.show_levels(trial, baseline)
        _held_back(row, trial)
    with _fold("Why: speed and bytes", ":material/speed:", story.costs(trial)):
        latency.show(row, trial)
        boards.show(row, trial)
        _why(row, trial, baseline)
        file_bytes.show(trial)
    with _fold("Layers and network", ":material/layers:", story.layers(trial)):
        _layers(row, trial, baseline)
        network.show(row, trial, baseline)
    with _fold("Every number", ":material/table_rows:", "value, range, baseline and difference, and how each is known"):
        numbers.show(trial, baseline)


def _fold(title: str, icon: str, about: str) -> DeltaGenerator:
    text = f" :gray[{shell.plain(about)}]" if about else ""
    return st.expander(f"**{title}**{text}", icon=icon, key=f"trial {title}")


def _decision(row: SweepRow, trial: Trial) -> None:
    """Whether this is the recipe to ship, in the words of the recommendation."""
    found = recommended.unless_refused(row)
    if not found.sentence:
        return
    if found.trial == trial.id:
        lead, _, rest = found.sentence.partition("; ")
        st.markdown(f":material/recommend: **{shell.plain(lead)}**{f'; {shell.plain(rest)}' if rest else ''}")
        return
    lead = found.sentence.partition("; ")[0]
    st.markdown(f":material/recommend: Another recipe is recommended here: {shell.plain(lead)}.".replace("..", "."))
    if looked_at := found.trial or found.nearest:
        st.page_link(
            shell.pages()["trial"],
            label="Look at that one",
            icon=":material/science:",
            query_params={"sweep": row.id, "trial": looked_at},
        )


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
        with st.expander("Copy as a link or a command", icon=":material/content_copy:"):
            st.caption("Copy link")
            st.code(_link(params), language=None, wrap_lines=True)
            st.caption("Copy command")
            st.code("\n".join(_commands(row, trial)), language=None, wrap_lines=True)
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
            plots.draw(figure, key=f"trial stages {key}", alt=bars_alt(METRICS[key].name, bars))
    st.caption("From the baseline down; in brackets the change to the stage before. Each stage was measured.")


def _why(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    """What of its speed is worked out when somebody asks."""
    if baseline and trial.recipe.steps and queries.file_of(trial) and queries.file_of(baseline):
        st.subheader("Why isn’t it faster?", anchor=False)
        with shell.one_line_errors():
            explanations.why(row, trial, baseline)
    if computes_in_integers(trial.recipe) and queries.file_of(trial):
        st.subheader("On CPUs without VNNI", anchor=False)
        st.caption("8-bit products can saturate there, and the same file may answer differently.")
        with shell.one_line_errors():
            explanations.portability(row, trial)


def _layers(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    if not queries.file_of(trial):
        st.caption("The file of this recipe is gone; run the sweep again to look into it.")
        return
    st.subheader("Layer by layer", anchor=False)
    if baseline and trial.id != baseline.id and queries.file_of(baseline):
        with shell.one_line_errors():
            layers.divergence(row, trial, baseline)
    with shell.one_line_errors():
        layers.sensitivity(row, trial)


def _held_back(row: SweepRow, trial: Trial) -> None:
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
    plots.draw(recall_figure(found), key="trial recall", alt=recall_alt(found))
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
