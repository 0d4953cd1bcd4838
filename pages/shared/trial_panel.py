"""One trial: the summary that stands beside a chart, and its parts, which the Trial page shows as well."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import streamlit as st

from engine.errors import InputError
from engine.metrics import METRICS, text_of
from engine.spec.sentences import recipe_texts
from engine.store.rows import SweepRow
from engine.trials.metric_values import judged_by, metric_value
from engine.trials.number_table import difference
from engine.trials.text import confirmation_text, is_estimated, seeds_text, sums_text
from engine.trials.trial import Trial
from engine.uploads.bounds import CHECKING
from pages.shared import access, comparison, notes, queries, runner, shell, tiles

Width = Literal["stretch", "content"]

_TILE_LETTERS = 14
_COSTS = ("size_bytes", "latency_ms", "energy_mj")
_TRUTH = {
    "deployed": ("Every number is from the file that you export", ":material/verified:", "green"),
    "simulated": ("Simulated: this runtime has no kernel for it", ":material/science:", "orange"),
    "imported": ("Imported, not measured here", ":material/upload:", "orange"),
}


def show(row: SweepRow, trial: Trial, baseline: Trial | None, device: str) -> None:
    """Draw the summary of a finished trial; of an imported point all that there is to say."""
    if trial.stated:
        with st.container(border=True):
            # Elsewhere the baseline was another one, perhaps on other images.
            head(trial, None, device)
        return
    with st.container(border=True):
        head(trial, baseline, device)
        asked = {"sweep": row.id, "trial": trial.id}
        with st.container(horizontal=True, gap="small"):
            st.page_link(
                shell.pages()["trial"],
                label="**Everything about this recipe**",
                icon=":material/science:",
                query_params=asked,
            )
            if trial.recipe.steps:
                st.page_link(
                    shell.pages()["broke"], label="What broke", icon=":material/broken_image:", query_params=asked
                )
        export(row, trial)
        comparison.buttons(row, trial, baseline)
        notes.panel(row, trial)
        if trial.machine:
            st.caption(f"Measured on {trial.machine.label}")


def head(trial: Trial, baseline: Trial | None, device: str) -> None:
    """Name, how true its numbers are, its steps in words, the four numbers that matter most, and what else there is to say."""
    truth, icon, colour = _TRUTH[trial.provenance]
    # A hyphen that does not break keeps `4-bit` whole.
    st.header(shell.plain(trial.label.replace("-", "\u2011")), anchor=False)
    with st.container(horizontal=True, gap="small"):
        st.badge(truth, icon=icon, color=colour)  # type: ignore[arg-type]
        if trial.tied_with_baseline:
            name = METRICS[judged_by(trial)].name
            st.badge(f"{name} tied with the baseline", icon=":material/balance:", color="gray")
    texts = [] if trial.stated else recipe_texts(trial.recipe)
    st.markdown("\n".join(f"{i}. {text}" for i, text in enumerate(texts, 1)))
    stated = trial.stated.device if trial.stated else None
    with st.container(horizontal=True):
        for key in (judged_by(trial), *_COSTS):
            # What neither was measured for needs no tile.
            if key not in _COSTS or any(
                metric_value(t, key, stated or device) is not None for t in (trial, baseline) if t
            ):
                _tile(trial, baseline, key, stated or device)
    if stated:
        st.caption(f":material/timer: Latency and energy are those on {shell.plain(stated)}.")
    if trial.confirmation:
        st.caption(f":material/verified: Confirmed: {confirmation_text(trial)}.")
    if trial.seeds:
        st.caption(
            f":material/casino: {seeds_text(trial.seeds)}; file and other numbers are those of seed {trial.seeds.runs[0].seed}."
        )
    if elsewhere := sums_text(trial):
        st.caption(f":material/memory: {shell.plain(elsewhere[0].upper() + elsewhere[1:])}.")
    for note in trial.notes:
        st.caption(f":material/info: {shell.plain(note)}")
    if baseline and trial.id != baseline.id:
        st.caption("Differences are to the baseline.")


def _tile(trial: Trial, baseline: Trial | None, key: str, device: str) -> None:
    metric = METRICS[key]
    estimated = is_estimated(trial, key, device)
    apart = difference(trial, baseline, key, device)
    tiles.tile(
        f"{metric.name} (est.)" if estimated else metric.name,
        text_of(key, metric_value(trial, key, device)),
        apart[2] if apart else None,
        higher_is_better=metric.maximise,
        is_tied=key == judged_by(trial) and bool(trial.tied_with_baseline),
        help=f"{metric.help} Estimated: the Trial page says how." if estimated else metric.help,
        width=158 if len(metric.name) <= _TILE_LETTERS else 190,
    )


def export(row: SweepRow, trial: Trial) -> None:
    """What takes a trial home, as a bundle or for another runtime, or why there is nothing."""
    if not _is_there(trial):
        return
    from engine.export.targets import TARGETS, TITLES

    wanted = st.selectbox(
        "Export for",
        ["", *sorted(TARGETS)],
        format_func=lambda name: TITLES.get(name, name) if name else "ONNX Runtime (bundle)",
        key=f"export-for-{row.id}-{trial.id}",
        help="A bundle runs anywhere ONNX Runtime does and checks itself. The others are made of it, in the form that another wants.",
    )
    if wanted:
        _for_another(row, trial, wanted, TITLES.get(wanted, wanted))
    else:
        _download_bundle(row, trial, "Export bundle", None, "stretch")


def ship(row: SweepRow, trial: Trial, key: str) -> None:
    """The button under the sentence that recommends a trial: its bundle."""
    if _is_there(trial):
        _download_bundle(row, trial, "Ship this", key, "content")


def _is_there(trial: Trial) -> bool:
    found = queries.file_of(trial) is not None
    if not found:
        st.caption("The file of this recipe is gone; run the sweep again to export it.")
    return found


def _download_bundle(row: SweepRow, trial: Trial, label: str, key: str | None, width: Width) -> None:
    # Made when it is clicked: it holds a sample of the test images and its own check.
    text = "A zip with the ONNX file, recipe, preprocessing, labels, a card, and verify.py, which checks it anywhere."
    _download(label, lambda: bundle_bytes(row.id, trial.id), f"{row.id}-{trial.id}.zip", text, key, width)


def _download(
    label: str,
    made: Callable[[], bytes],
    name: str,
    text: str | None = None,
    key: str | None = None,
    width: Width = "stretch",
) -> None:
    st.download_button(
        label,
        data=access.later(made),
        file_name=name,
        mime="application/zip",
        icon=":material/download:",
        type="primary",
        key=key,
        width=width,
        on_click="ignore",
        help=text,
    )


def _for_another(row: SweepRow, trial: Trial, wanted: str, title: str) -> None:
    """Made before it is downloaded, since it may be refused, and a download that fails says nothing."""
    kept = f"exported-{row.id}-{trial.id}-{wanted}"
    place = st.empty()
    if not isinstance(st.session_state.get(kept), bytes) and place.button(
        f"Prepare for {title}", icon=":material/build:", type="primary", width="stretch"
    ):
        try:
            with place, st.spinner("The file is asked on its sample and checked …"):
                st.session_state[kept] = bundle_bytes(row.id, trial.id, wanted)
        except InputError as error:
            # Kept, since the page may run again before anybody has read it.
            st.session_state[kept] = str(error)
    made = st.session_state.get(kept)
    if isinstance(made, bytes):
        with place:
            _download(f"Download for {title}", lambda: made, f"{row.id}-{trial.id}-{wanted}.zip")
    elif made:
        st.error(shell.plain(made), icon=":material/block:")


def bundle_bytes(sweep_id: str, trial_id: str, wanted: str = "") -> bytes:
    """The bundle of a trial, or what another runtime wants, of an uploaded network made with limits; InputError when it cannot be."""
    from engine.export.bundle import export_bundle
    from engine.export.targets import export_for

    store = queries.store()
    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        path = Path(folder) / "bundle.zip"
        if queries.is_uploaded(store.sweep(sweep_id)):
            asked = ["export", sweep_id, trial_id, "--output", str(path), *(["--for", wanted] if wanted else [])]
            runner.run_program(asked, CHECKING, "the bundle", f"`paretoscope export {sweep_id} {trial_id}`")
        elif wanted:
            export_for(wanted, store, queries.artifacts(), sweep_id, trial_id, path)
        else:
            export_bundle(store, queries.artifacts(), sweep_id, trial_id, path)
        return path.read_bytes()
