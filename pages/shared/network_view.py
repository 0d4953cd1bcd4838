"""Networks as graphs: read from a trial's file, kept, drawn with what zooms and finds, and the same as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from engine.explain import network
from engine.figures.graph import CSS, JS, graph_html
from engine.figures.graph_info import GraphInfo
from engine.graph.graph_difference import Difference
from engine.graph.layer_graph import LayerGraph
from engine.spec.recipe import Recipe
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from engine.uploads.networks import NetworkFile
from pages.shared import queries, share

MOST_ROWS = 300
"""A longer table is slow in browsers; the files have every row."""
_THEME = """
.network { --graph-text: var(--st-text-color); --graph-line: var(--st-border-color); --graph-font: var(--st-font); --graph-height: 560px; }
"""
# What is drawn was escaped where it was made (engine/figures/graph.py).
_SCRIPT = """
export default function ({ parentElement, data }) {
  const root = parentElement.querySelector(".network");
  if (root.drawn === data.html) return;
  root.drawn = data.html;
  root.innerHTML = data.html;
  (%s)(root);
}
"""
_component = st.components.v2.component(
    "paretoscope_network", html='<div class="network"></div>', css=_THEME + CSS, js=_SCRIPT % JS.strip()
)


@st.cache_resource(max_entries=32, ttl=3600, show_spinner="Reading the network …")
def _graph(home: tuple[str, str], name: str, fold: bool, _file: NetworkFile) -> LayerGraph:
    return _file.graph(fold)


def graph_of(row: SweepRow, trial: Trial, fold: bool = True) -> LayerGraph | None:
    """A trial's network; None when its file is gone. Raises as NetworkFile."""
    file = queries.network_file(row, trial)
    return _graph(queries.address(), trial.artifact or "", fold, file) if file else None


def difference_of(row: SweepRow, first: Trial, second: Trial) -> Difference | None:
    """What became of each layer of the first in the second; None when a file is gone."""
    one, other = graph_of(row, first), graph_of(row, second)
    if one is None or other is None:
        return None
    return _difference(
        queries.address(), (first.artifact or "", second.artifact or ""), first.recipe, second.recipe, one, other
    )


@st.cache_resource(max_entries=32, ttl=3600, show_spinner=False)
def _difference(
    home: tuple[str, str],
    files: tuple[str, str],
    _first: Recipe,
    _second: Recipe,
    _one: LayerGraph,
    _other: LayerGraph,
) -> Difference:
    return network.difference_of_graphs(_one, _other, _first, _second)


def draw(key: str, info: GraphInfo) -> None:
    """The picture of a network."""
    _component(key=key, data={"html": graph_html(info)})


def table(file: str, rows: Callable[[], Sequence[dict[str, Any]]], columns: Sequence[str] = ()) -> None:
    """The same as a table, folded, and as files; of `columns`, where given, and in the files of all."""
    with st.expander("The same as a table", icon=":material/table_rows:"):
        found = rows()
        shown = {
            name.replace("_", " "): [_cell(row[name]) for row in found[:MOST_ROWS]]
            for name in (columns or found[0] if found else ())
            if any(row[name] not in (None, "") for row in found)
        }
        if not shown:
            st.caption("Nothing in it computes.")
            return
        st.table(pd.DataFrame(shown), border="horizontal", hide_index=True, alt="Layers of the network")
        if len(found) > MOST_ROWS:
            st.caption(f"The first {MOST_ROWS:,} of {len(found):,} rows; the files have all.")
        share.downloads(file, rows)


def _cell(value: object) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
