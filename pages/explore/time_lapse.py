"""The frontier's growth, to be played below the chart of the progress."""

from __future__ import annotations

import streamlit as st

from engine.figures.style import style
from engine.figures.time_lapse import time_lapse_alt, time_lapse_figure, time_lapse_info, time_lapse_text
from engine.frontier.columns import Trials
from engine.frontier.joined import without_points
from engine.frontier.recommendation import View
from engine.store.rows import SweepRow
from pages.shared import plots


def show(row: SweepRow, trials: Trials, view: View) -> None:
    """Draw it when it is asked for, where two recipes or more have a finish time."""
    info = time_lapse_info(without_points(trials), view)
    if len(info.frames) < 2:
        return
    if not st.toggle("Play how the frontier grew", key="explore time-lapse"):
        return
    figure = time_lapse_figure(info)
    style(figure)
    plots.draw(figure, key=f"time-lapse {row.id}", alt=time_lapse_alt(info), theme=None)
    if said := time_lapse_text(info):
        st.caption(said)
