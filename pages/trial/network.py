"""The network of a trial as a graph: layers or every node, coloured by what they take."""

from __future__ import annotations

import streamlit as st

from engine.explain.network import layer_times, network_rows
from engine.explain.why import kept_why
from engine.figures.graph_info import COLOURINGS, graph_info
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import network_view, queries, shell

_TIME = "time_ms"


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
    times = _times(row, trial, baseline)
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
            [*COLOURINGS, *([_TIME] if times else [])],
            format_func=lambda key: COLOURINGS.get(key, "Time, as profiled"),
            key="trial network colour",
            width=220,
            help="Time is there once “Why isn’t it faster?” has profiled this recipe.",
        )
    graph = network_view.graph_of(row, trial, level == "Layers")
    if graph is None:
        return
    info = graph_info(graph, colour, times if colour == _TIME else None, "Time" if colour == _TIME else None)
    st.caption(shell.plain(". ".join(text[:1].upper() + text[1:] for text in (info.about, *graph.notes)) + "."))
    network_view.draw("trial network picture", info)
    network_view.table(f"{row.id}-{trial.id}-network", lambda: network_rows(graph))


def _times(row: SweepRow, trial: Trial, baseline: Trial | None) -> dict[str, float]:
    """Milliseconds by layer, as far as somebody has asked for them."""
    if baseline is None or trial.id == baseline.id:
        return {}
    found = kept_why(queries.store(), queries.spec(row), trial, baseline)
    return layer_times(found) if found else {}
