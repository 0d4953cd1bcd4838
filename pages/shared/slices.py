"""Figures by slice, as What broke and Trial show them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from engine.figures.slices import (
    MOST_DRAWN,
    Mark,
    changes_figure,
    changes_info,
    levels_figure,
    levels_info,
    slices_alt,
)
from engine.metrics import METRICS
from engine.trials.slice_texts import flat_slices, slice_rows
from engine.trials.slices import Slices
from engine.trials.trial import Trial
from pages.shared import plots


def tables(trial: Trial) -> dict[str, Any]:
    """What is to be taken away, by its title."""
    slices = trial.slices
    return {"By slice": lambda: flat_slices(slices)} if slices else {}


def show_changes(trial: Trial) -> None:
    """How every slice changed against the baseline; nothing where the data have none."""
    if trial.slices is None:
        return
    marks = changes_info(trial.slices)
    st.subheader("By slice", anchor=False)
    if marks:
        st.caption(
            "Behind each name, its samples. Filled bars: the change is more than chance (95 %, each slice alone). Outlined: it may be none."
        )
        key = trial.slices.key
        plots.draw(
            changes_figure(marks, key),
            key="broke slices",
            alt=slices_alt(f"Change of {METRICS[key].name}", marks),
        )
    _rest(trial.slices, marks)


def show_levels(trial: Trial, baseline: Trial | None) -> None:
    """What every slice has; nothing where the data have none."""
    if trial.slices is None:
        return
    other = baseline.slices if baseline and baseline.id != trial.id else None
    marks, key = levels_info(trial.slices, other), trial.slices.key
    st.subheader("By slice", anchor=False)
    if marks:
        name = METRICS[key].name
        plots.draw(levels_figure(marks, key), key="trial slices", alt=slices_alt(name, marks))
        st.caption("The worst slice first, behind its name its samples; lines are 95 % intervals of each slice alone.")
    _rest(trial.slices, marks)


def _rest(slices: Slices, marks: tuple[Mark, ...]) -> None:
    """Every number, and what is not drawn."""
    rows = pd.DataFrame(slice_rows(slices))
    with st.expander(f"All {len(rows)} slices", icon=":material/table_rows:", expanded=not marks):
        st.dataframe(rows, hide_index=True, height=min(400, 40 + 35 * len(rows)))
    if len(marks) > MOST_DRAWN:
        st.caption(f"Of {len(marks)} slices the {MOST_DRAWN} worst are drawn.")
