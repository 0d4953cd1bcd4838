"""Every chart of the pages: drawn, said in words, and beside it, for who cannot see it, the same numbers as a table."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from engine.figures.table_twin import Twin, table_twin, twin_html
from pages.shared import share

# There for who listens to a page; of no size for who looks at it.
_UNSEEN = "position:absolute;width:1px;height:1px;margin:-1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap"
_TOOLBAR_PX = 28
_ABOVE_PX = 64
"""Room above a chart for its toolbar and, below that, a legend of one row: with less, Plotly would draw everything twice."""


def draw(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    twin: Twin | None = None,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Draw a figure and its table; `alt` says in words what it shows, `twin` is read off the figure where it is not given.

    `config` is that of Plotly, by default `share.picture_config()`; the other options, and what comes back, are those of `st.plotly_chart`.
    """
    _keep_clear_of_toolbar(figure)
    with st.container(gap=None):
        event = st.plotly_chart(figure, key=key, alt=alt, config=config or share.picture_config(), **options)
        table = twin_html(twin or table_twin(figure), "The numbers of the chart.")
        if table:
            st.html(f'<div style="{_UNSEEN}">{table}</div>')
    return event


def _keep_clear_of_toolbar(figure: go.Figure) -> None:
    """Put a legend that lies above a chart below the toolbar, which covers its right end whenever the pointer is over the chart."""
    layout = figure.layout
    legend = layout.legend
    if legend.orientation != "h" or legend.yanchor != "bottom" or not layout.height:
        return
    top = max(_ABOVE_PX, layout.margin.t or 0)
    # An entry of the legend begins a few pixels below its edge.
    place = {"yref": "container", "yanchor": "top", "y": 1 - (_TOOLBAR_PX - 4) / layout.height}
    figure.update_layout(margin_t=top, legend=place)
