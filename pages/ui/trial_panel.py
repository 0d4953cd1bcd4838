"""One trial in full: its recipe in words, every number with its range and how it is known, and the export."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from engine.record import METRICS, ON_IMAGES, Trial, metric_value
from engine.store import SweepRow
from engine.words import (
    baseline_text,
    confirmation_text,
    is_estimated,
    metric_range,
    recipe_texts,
    seeds_text,
    stage_rows,
    text_of,
)
from pages.ui import access, comparison, queries

TILES = ("accuracy", "size_bytes", "latency_ms", "energy_mj")
_TRUTH = {
    "deployed": ("Every number is from the file that you export", ":material/verified:", "green"),
    "simulated": ("Simulated: this runtime has no kernel for it", ":material/science:", "orange"),
    "imported": ("Imported: made outside Paretoscope", ":material/upload:", "blue"),
}


def change(trial: Trial, baseline: Trial | None, key: str, device: str) -> str | None:
    """The difference to the baseline, `-0.41 points` or `-74 %`; None where there is none to tell."""
    value = metric_value(trial, key, device)
    before = metric_value(baseline, key, device) if baseline else None
    if value is None or not before or baseline is None or trial.id == baseline.id:
        return None
    if METRICS[key].unit in {"%", "points"}:
        return f"{(value - before) * 100:+.2f} points"
    return f"{(value / before - 1) * 100:+.0f} %"


def numbers(trial: Trial, baseline: Trial | None, device: str) -> pd.DataFrame:
    """Every number of a trial as text: value, range, difference to the baseline, how it is known."""
    rows = []
    for key, metric in METRICS.items():
        value = metric_value(trial, key, device)
        if value is None:
            continue
        ends = metric_range(trial, key, device)
        rows.append(
            {
                "Measure": metric.name,
                "Value": text_of(key, value),
                "Range": f"{text_of(key, ends[0], unit=False)} to {text_of(key, ends[1])}" if ends else "",
                "Against baseline": change(trial, baseline, key, device) or "",
                "How it is known": _how(trial, key, device),
            }
        )
    return pd.DataFrame(rows).set_index("Measure")


def _how(trial: Trial, key: str, device: str) -> str:
    projection = trial.projections.get(device)
    if key == "energy_mj" and projection and projection.energy_mj:
        known = "estimated" if is_estimated(trial, key, device) else "measured"
        return f"{known}: {projection.energy_mj.basis}"
    if is_estimated(trial, key, device):
        return f"estimated for {device}"
    if key == "accuracy" and trial.accuracy:
        against = baseline_text(trial)
        return (
            f"measured on {trial.accuracy.n:,} test images; the range is its 95 % interval{against and '; '}{against}"
        )
    if key == "latency_ms" and trial.latency_ms:
        tail = f"95 % of runs under {trial.latency_ms.p95:.3g} ms, 99 % under {trial.latency_ms.p99:.3g} ms"
        return f"measured: the ratio to the baseline, taken in turns with it, times the baseline’s median; {tail}"
    if key == "latency_ratio":
        return "measured in turns with the baseline; the range is its 95 % interval"
    if key == "worst_class_drop" and trial.quality and trial.quality.worst_class:
        return f"measured on the same test images: class {trial.quality.worst_class.name}"
    if key in ON_IMAGES:
        return "measured on the same test images; a range is a 95 % interval"
    return "read off the file"


def show(row: SweepRow, trial: Trial, baseline: Trial | None, device: str) -> None:
    """Draw the panel of a finished trial."""
    truth, icon, colour = _TRUTH[trial.provenance]
    with st.container(border=True):
        # A hyphen that does not break keeps `4-bit` whole.
        st.subheader(trial.label.replace("-", "\u2011"), anchor=False)
        st.badge(truth, icon=icon, color=colour)  # type: ignore[arg-type]
        st.markdown("\n".join(f"{i}. {text}" for i, text in enumerate(recipe_texts(trial.recipe), 1)))
        with st.container(horizontal=True):
            for key in TILES:
                _tile(trial, baseline, key, device)
        if trial.confirmation:
            st.caption(f":material/verified: Confirmed: {confirmation_text(trial)}.")
        if trial.seeds:
            st.caption(
                f":material/casino: {seeds_text(trial.seeds)}; file and other numbers are those of seed {trial.seeds.runs[0].seed}."
            )
        for note in trial.notes:
            st.caption(f":material/info: {note}")
        if baseline and trial.id != baseline.id:
            st.caption("Differences are to the baseline.")
        _export(row, trial)
        comparison.buttons(row, trial, baseline)
        if len(trial.stages) > 2:
            with st.expander("What each step bought or cost", icon=":material/stairs:"):
                st.table(pd.DataFrame(stage_rows(trial)).set_index("After"), border="horizontal")
        if trial.layer_bits:
            with st.expander("Bits chosen for each layer", icon=":material/layers:"):
                st.table(pd.DataFrame({"Bits": trial.layer_bits}), border="horizontal")
        with st.expander("All numbers, and how each is known", icon=":material/table_rows:"):
            _all_numbers(trial, baseline, device)
        if trial.machine:
            st.caption(f"Measured on {trial.machine.label}")


def _all_numbers(trial: Trial, baseline: Trial | None, device: str) -> None:
    st.table(numbers(trial, baseline, device), border="horizontal")
    extras = [f"{trial.throughput_per_s:,.0f} images per second" if trial.throughput_per_s else None]
    extras.append(f"{trial.peak_memory_bytes / 1e6:,.1f} MB of memory at most" if trial.peak_memory_bytes else None)
    extras.append(f"{trial.load_ms:,.0f} ms to load" if trial.load_ms is not None else None)
    st.caption(" · ".join([e for e in extras if e] + [f"trial {trial.id}"]))


def _tile(trial: Trial, baseline: Trial | None, key: str, device: str) -> None:
    metric = METRICS[key]
    estimated = is_estimated(trial, key, device)
    st.metric(
        f"{metric.name} (est.)" if estimated else metric.name,
        text_of(key, metric_value(trial, key, device)),
        change(trial, baseline, key, device),
        delta_color="normal" if metric.maximise else "inverse",
        help=f"{metric.help} Estimated: see “All numbers” for how." if estimated else metric.help,
        border=True,
        width=158,
    )


def _export(row: SweepRow, trial: Trial) -> None:
    if queries.file_of(trial) is None:
        st.caption("The file of this recipe is gone; run the sweep again to export it.")
        return
    st.download_button(
        "Export bundle",
        # Made when it is clicked: it holds a sample of the test images and its own check.
        data=access.later(lambda: bundle_bytes(row.id, trial.id)),
        file_name=f"{row.id}-{trial.id}.zip",
        mime="application/zip",
        icon=":material/download:",
        type="primary",
        width="stretch",
        on_click="ignore",
        help="A zip with the ONNX file, recipe, preprocessing, labels, a card, and verify.py, which checks it anywhere.",
    )


def bundle_bytes(sweep_id: str, trial_id: str) -> bytes:
    """The bundle of a trial; raises InputError when it cannot be made."""
    from engine.bundle import export_bundle

    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        path = export_bundle(queries.store(), queries.artifacts(), sweep_id, trial_id, Path(folder) / "bundle.zip")
        return path.read_bytes()
