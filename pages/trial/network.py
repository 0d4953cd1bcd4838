"""The network of a trial as a graph: layers or every node, coloured by what they take."""

from __future__ import annotations

import streamlit as st

from engine.explain.layers import kept_layers
from engine.explain.network import layer_similarity, layer_times, network_rows
from engine.explain.why import kept_why
from engine.figures.graph_info import COLOURINGS, SIMILARITY, SIMILARITY_TITLE, graph_info
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import network_view, queries, shell

_TIME = "time_ms"
_TITLES = COLOURINGS | {_TIME: "Time, as profiled", SIMILARITY: SIMILARITY_TITLE}


def show(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    """A place to unfold, and in it the network; nothing where the file is gone."""
    if queries.file_of(trial) is None:
        return
    st.subheader("The network", anchor=False)
    if not st.toggle("Draw it as a graph", key="trial network"):
        return
    with shell.one_line_errors():
        _graph(row, trial, baseline)


def _graph(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    values = _values(row, trial, baseline)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level = st.segmented_control(
            "Boxes",
            ["Layers", "Every node"],
            default="Layers",
            required=True,
            key="trial network boxes",
            help="Layers: one box each, with the activation, rounding and reshapes that a runtime fuses into it.",
        )
        colour = st.selectbox(
            "Colour",
            [*COLOURINGS, *values],
            format_func=lambda key: _TITLES[key],
            key="trial network colour",
            width=220,
            help="Time is there once “Why isn’t it faster?” has profiled this recipe, similarity to the baseline once “Layer by layer” has "
            "compared their answers.",
        )
    graph = network_view.graph_of(row, trial, level == "Layers")
    if graph is None:
        return
    title = {_TIME: "Time", SIMILARITY: SIMILARITY_TITLE}.get(colour)
    info = graph_info(graph, colour, values.get(colour), title, least=colour == SIMILARITY)
    st.caption(shell.plain(". ".join(text[:1].upper() + text[1:] for text in (info.about, *graph.notes)) + "."))
    network_view.draw("trial network picture", info)
    network_view.table(f"{row.id}-{trial.id}-network", lambda: network_rows(graph))


def _values(row: SweepRow, trial: Trial, baseline: Trial | None) -> dict[str, dict[str, float]]:
    """Milliseconds by layer, and how like the baseline's its output is, as far as somebody has asked for them."""
    if baseline is None or trial.id == baseline.id:
        return {}
    store, spec = queries.store(), queries.spec(row)
    why, layers = kept_why(store, spec, trial, baseline), kept_layers(store, spec, trial, baseline)
    found = {_TIME: layer_times(why) if why else {}, SIMILARITY: layer_similarity(layers) if layers else {}}
    return {name: numbers for name, numbers in found.items() if numbers}
