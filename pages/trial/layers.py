"""Layer by layer: where a trial's answers begin to differ, and what rounding each layer alone costs and saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from engine.errors import InputError
from engine.explain.layer_recipe import FLOAT, totals, with_layers, within
from engine.explain.layers import SAMPLES, kept_layers
from engine.explain.sensitivity import kept_sensitivity
from engine.figures import layer_divergence, layer_sensitivity
from engine.figures.layer_sensitivity import BY, HARM
from engine.spec.sweep import Sweep
from engine.store.rows import SweepRow
from engine.trials.layer_texts import bytes_text, unit_text
from engine.trials.trial import Trial
from pages.shared import access, handed_recipe, jobs, plots, queries, shell
from pages.shared.jobs import Job
from pages.trial.explanations import ask

_MOST_OPEN = 24
# Of a measure of the metric that the form of limits begins with.
_STEP = 0.1


# As in explanations.py: an answer of the command line shows within a minute, one that was asked for here at once.
@st.cache_data(ttl=60, max_entries=256, show_spinner=False)
def _kept_layers(
    job: str, revision: int, stamp: tuple[int, bool], _sweep: Sweep, _trial: Trial, _baseline: Trial
) -> dict[str, Any] | None:
    return kept_layers(queries.store(), _sweep, _trial, _baseline)


@st.cache_data(ttl=60, max_entries=256, show_spinner=False)
def _kept_sensitivity(
    job: str, revision: int, stamp: tuple[int, bool], sweep_id: str, _sweep: Sweep, _trial: Trial
) -> dict[str, Any] | None:
    return kept_sensitivity(queries.store(), _sweep, sweep_id, _trial)


def divergence(row: SweepRow, trial: Trial, baseline: Trial) -> None:
    """Where answers begin to differ: the answer, or the way to it."""
    job = Job("layers", row.id, trial.id)
    found = _kept_layers(str(job.log), row.revision, jobs.stamp(job), queries.spec(row), trial, baseline)
    with st.expander("Where the answers begin to differ", icon=":material/call_split:", expanded=_opens(found)):
        if found:
            _divergence(found)
        else:
            ask(
                job,
                "Run it beside the baseline",
                f"Runs both files on {SAMPLES} test samples, a few seconds, and holds every layer’s output against the baseline’s.",
            )


def sensitivity(row: SweepRow, trial: Trial) -> None:
    """What rounding each layer alone costs and saves: the answer, or the way to it."""
    job = Job("sensitivity", row.id, trial.id)
    try:
        found = _kept_sensitivity(str(job.log), row.revision, jobs.stamp(job), row.id, queries.spec(row), trial)
    except InputError as error:
        with st.expander("What each layer can be rounded to", icon=":material/grid_on:"):
            st.caption(shell.plain(str(error)))
        return
    with st.expander("What each layer can be rounded to", icon=":material/grid_on:", expanded=_opens(found)):
        if found:
            _sensitivity(row, trial, found)
        else:
            ask(
                job,
                "Round each layer alone",
                "Writes one file for each layer and width, counts the metric on validation samples, never on test samples, and times the "
                "kernels: a minute or two.",
            )


def _opens(found: Mapping[str, Any] | None) -> bool:
    return found is not None and len(found["layers"]) <= _MOST_OPEN


def _divergence(found: Mapping[str, Any]) -> None:
    st.markdown(f"**{shell.plain(found['sentence'])}**")
    if found["note"]:
        st.caption(shell.plain(found["note"]))
    if found["layers"]:
        info = layer_divergence.divergence_info(found)
        plots.draw(
            layer_divergence.divergence_figure(info),
            key="trial layers",
            alt=layer_divergence.divergence_alt(info, found["sentence"]),
            theme=None,
        )
    st.caption(
        f"Against {shell.plain(found['reference'])}, on {found['samples']} test samples: energy of the signal over that of the difference, "
        "20 dB are 10 %, 40 dB 1 %. What a layer hands on is taken after its activation function and its rounding."
    )


def _sensitivity(row: SweepRow, trial: Trial, found: Mapping[str, Any]) -> None:
    key = f"layers of {row.id} {trial.id}"

    @shell.fragment()
    def chosen() -> None:
        picked: dict[str, int] = st.session_state.setdefault(f"{key} picked", {})
        others = _controls(found, key)
        by = st.session_state.get(f"{key} by") or HARM
        info = layer_sensitivity.sensitivity_info(found, by)
        # Another key for another choice: a chart that stays keeps its selection, and a second click on a cell would not be told of.
        chart = f"{key} map {by} {sorted(picked.items())}"
        plots.draw(
            layer_sensitivity.sensitivity_figure(info, picked),
            key=chart,
            on_select=lambda: _clicked(chart, picked),
            selection_mode="points",
            alt=layer_sensitivity.sensitivity_alt(info),
            theme=None,
        )
        _recipe(row, trial, found, picked, others)
        _about(found)

    chosen()


def _controls(found: Mapping[str, Any], key: str) -> int:
    """Colours, a limit that picks cells, and the width of all layers that are not picked."""
    unit = found["metric"]["unit"]
    names = {HARM: found["metric"]["name"], BY[1]: found["divergence"]["name"]}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Colours", BY, default=HARM, required=True, format_func=lambda by: names[by], key=f"{key} by"
        )
        others = st.selectbox(
            "Every other layer",
            [FLOAT, *found["bits"]],
            format_func=lambda bits: "in float" if bits == FLOAT else f"{bits} bits",
            key=f"{key} others",
            width=150,
            help="What becomes of the layers of which you click no cell.",
        )
        most = st.number_input(
            f"Lose at most ({unit})" if unit else "Lose at most",
            min_value=0.0,
            value=5 * _STEP,
            step=_STEP,
            format="%.3g",
            key=f"{key} most",
            width=160,
            help="Each layer alone: together they lose more.",
        )
        st.button(
            "Pick the fewest bits",
            icon=":material/checklist:",
            key=f"{key} within",
            on_click=lambda: st.session_state.update({f"{key} picked": within(found, most)}),
            help="For every layer the narrowest width that loses no more than that.",
        )
        st.button(
            "Clear",
            icon=":material/clear_all:",
            key=f"{key} clear",
            on_click=lambda: st.session_state.update({f"{key} picked": {}}),
            disabled=not st.session_state.get(f"{key} picked"),
        )
    return int(others)


def _clicked(chart: str, picked: dict[str, int]) -> None:
    """A cell was clicked: it is picked, instead of another of its layer, or no longer."""
    points = st.session_state[chart]["selection"]["points"]
    data = points[0].get("customdata") if points else None
    if not data:
        return
    layer, bits = str(data[0]), int(data[1])
    if picked.get(layer) == bits:
        del picked[layer]
    else:
        picked[layer] = bits


def _recipe(row: SweepRow, trial: Trial, found: Mapping[str, Any], picked: Mapping[str, int], others: int) -> None:
    """What the picked cells come to, and the way to New sweep."""
    if not picked and others == FLOAT:
        st.markdown("**Click cells** to gather widths, one for each layer, and open them as a recipe in New sweep.")
        return
    try:
        recipe = with_layers(found, trial.recipe, picked, others)
    except InputError as error:
        st.caption(shell.plain(str(error)))
        return
    sums = totals(found, picked, others)
    saved = [f"**{bytes_text(sums['bytes'] or 0.0)}** of weights saved"]
    if sums["ms"] is not None and found["kernels"] != "none":
        saved.append(f"kernels {abs(sums['ms']):.2g} ms {'faster' if sums['ms'] >= 0 else 'slower'}")
    if sums["harm"] is not None:
        what = "lost" if sums["harm"] >= 0 else "gained"
        lost = unit_text(abs(sums["harm"]), found["metric"]["unit"])
        saved.append(f"about {shell.plain(lost)} {what}, if what layers lose alone adds up")
    widths = ", ".join(f"{shell.plain(n.strip('/'))} {b}" for n, b in list(picked.items())[:4])
    more = f" and {len(picked) - 4} more" if len(picked) > 4 else ""
    rest = "in float" if others == FLOAT else f"at {others} bits"
    said = f"{widths}{more}, all others {rest}" if picked else f"every layer {rest}"
    st.markdown(f"{said}: {'; '.join(saved)}.")
    if access.may("editor"):
        st.page_link(
            shell.pages()["new-sweep"],
            label="Open in New sweep",
            icon=":material/add_circle:",
            query_params=handed_recipe.to_params(row.id, recipe),
        )
    st.caption(f"The recipe: {shell.plain(recipe.label)}")


def _about(found: Mapping[str, Any]) -> None:
    step = found["step"]
    how = {"ptq": "", "dynamic": " dynamically", "block": " in blocks"}[step["method"]]
    activations = f", activations to {step['activation_bits']}" if step["activation_bits"] < FLOAT else ""
    safe = " Weights of 8 bits have 7 here, since this CPU adds in 16 bits." if found["safe"] else ""
    times = (
        "No kernel of the runtime computes in fewer bits, so that none is faster."
        if found["kernels"] == "none"
        else "Times are of kernels alone, in a network rounded throughout; narrower weights become bytes when they are loaded. Measured on "
        f"{shell.plain(found['machine'])}."
        if step["method"] != "block"
        else f"Times are of kernels alone, on {shell.plain(found['machine'])}."
    )
    bold = ", bold where more is lost than by chance" if found["metric"]["tested"] else ""
    st.caption(
        f"Each layer of {shell.plain(found['network'])} rounded{how} alone, to the nearest{activations}, all others in float; counted on "
        f"{found['samples']} validation samples{bold}. Bytes are of weights, scales and biases."
        f"{safe} {times}"
    )
    with st.popover("As a table", icon=":material/table:"):
        st.dataframe(
            _table(found),
            hide_index=True,
            alt="Every layer and width: loss with its interval, bytes and milliseconds saved.",
        )


def _table(found: Mapping[str, Any]) -> pd.DataFrame:
    cells = [(layer, cell) for layer in found["layers"] for cell in layer["cells"]]
    harm = [c["harm"] or {} for _, c in cells]
    return pd.DataFrame(
        {
            "Layer": [x["name"].strip("/") for x, _ in cells],
            "Bits": [c["bits"] for _, c in cells],
            "Lost": [h.get("value") for h in harm],
            "From": [h.get("low") for h in harm],
            "To": [h.get("high") for h in harm],
            found["divergence"]["name"]: [c["divergence"] for _, c in cells],
            "Bytes saved": [c["bytes_saved"] for _, c in cells],
            "ms saved": [c["ms_saved"] for _, c in cells],
        }
    )
