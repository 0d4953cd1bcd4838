"""Samples without labels that get another answer than from the baseline: neither is known to be right."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.figures.series import is_series
from engine.graph.inputs import is_array
from engine.quality.predictions import Predictions
from engine.quality.what_broke import Flip, flips
from pages.shared import answers, sample_picture, shell

_PICTURES, _LISTED, _SMALL_PX = 12, 200, 96


def show(before: Predictions, after: Predictions, measured_on: answers.TestImages) -> None:
    """Draw those of which the recipe is surest first, as pictures where they are such, and as a table."""
    found = flips(before, after, measured_on.split.labels)
    noun, classes, inputs = measured_on.noun, measured_on.classes, measured_on.split.inputs
    st.subheader(f"{noun.capitalize()}s with another answer", anchor=False)
    if not found:
        st.success(f"Every {noun} gets the same answer as from the baseline.", icon=":material/check:")
        return
    st.caption(f"{len(found):,} of {len(before):,}; those of which the recipe is surest first.")
    if is_array(inputs) and (measured_on.are_pictures or is_series(inputs.shape[1:])):
        scale = sample_picture.Scale.of(inputs)
        with st.container(horizontal=True, gap="small"):
            for flip in _surest(found)[:_PICTURES]:
                with st.container(width=_SMALL_PX, gap=None):
                    sample_picture.show(inputs[flip.index], scale, _SMALL_PX, f"{noun.capitalize()} {flip.index}")
                    st.caption(f"{shell.plain(classes[flip.before])} → {shell.plain(classes[flip.after])}")
    rows = [
        {
            "Sample": flip.index,
            "Baseline says": classes[flip.before],
            "This recipe says": classes[flip.after],
            "Sure (%)": None if flip.after_confidence is None else round(100 * flip.after_confidence, 1),
        }
        for flip in _surest(found)[:_LISTED]
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=min(400, 40 + 35 * len(rows)))


def _surest(found: tuple[Flip, ...]) -> list[Flip]:
    return sorted(found, key=lambda flip: (-(flip.after_confidence or 0.0), flip.index))
