"""The samples that a recipe answers worse than the baseline by the most: what goes in, what should come out, and what does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from engine.figures.answer_maps import answer_map, apart_map, is_map, most_changed, target_map
from engine.figures.series import is_series
from engine.graph.inputs import is_array
from engine.metrics import METRICS, shown
from engine.quality.changed_values import Change, Changes
from engine.quality.values import Values
from engine.trials.text import with_minus
from pages.shared import answers, sample_picture, shell

_PICTURES, _MAPS, _SMALL_PX, _MAP_PX = 8, 6, 96, 120
Array = npt.NDArray[Any]


def show(found: Changes, key: str | None, measured_on: answers.TestImages, before: Values, after: Values) -> None:
    """Draw them, as maps, lines or pictures where they are such, and all as a table."""
    if not found.worst:
        st.caption("No sample changed for the worse.")
        return
    st.subheader("Samples that changed most", anchor=False)
    by_metric = METRICS[key].name if key and found.by_metric else None
    st.caption(
        f"The largest loss of {by_metric} against the baseline first."
        if by_metric
        else "Those whose outputs moved furthest from the baseline’s first."
    )
    shape = before.outputs.shape[1:]
    if not before.parts and (is_map(shape) or is_series(shape)):
        _answers(found.worst[:_MAPS], key, found.by_metric, measured_on, before, after)
    elif _can_be_seen(measured_on):
        _inputs(found.worst[:_PICTURES], measured_on)
    unit = METRICS[key].unit if by_metric and key else "of the typical length"
    rows = [
        {"Sample": c.index}
        | ({} if c.target is None else {"Target": c.target})
        | {"Baseline says": c.before, "This recipe says": c.after}
        | _most(before, after, c.index)
        | {f"Change ({unit})" if unit else "Change": _change(c, key, found.by_metric)}
        for c in found.worst
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=min(400, 40 + 35 * len(rows)))
    if len(before.outputs) < len(before):
        st.caption(
            f"Of the first {len(before.outputs):,} of {len(before):,} samples: the answers to the others are too large to be kept."
        )


def _most(before: Values, after: Values, index: int) -> dict[str, str]:
    text = "" if before.parts else most_changed(before.outputs[index], after.outputs[index])
    return {"Furthest apart": text} if text else {}


def _change(change: Change, key: str | None, by_metric: bool) -> float:
    return shown(key, change.change) if key and by_metric else change.change


def _can_be_seen(measured_on: answers.TestImages) -> bool:
    inputs = measured_on.split.inputs
    return measured_on.are_pictures or (is_array(inputs) and is_series(inputs.shape[1:]))


def _inputs(worst: tuple[Change, ...], measured_on: answers.TestImages) -> None:
    """What goes in, and the few numbers that come out."""
    inputs = measured_on.split.inputs
    assert is_array(inputs)  # of pictures, or of series
    scale = sample_picture.Scale.of(inputs)
    with st.container(horizontal=True, gap="small"):
        for change in worst:
            with st.container(width=_SMALL_PX, gap=None):
                sample_picture.show(inputs[change.index], scale, _SMALL_PX, f"Sample {change.index}")
                st.caption(shell.plain(f"{change.before} → {change.after}"))


def _answers(
    worst: tuple[Change, ...],
    key: str | None,
    by_metric: bool,
    measured_on: answers.TestImages,
    before: Values,
    after: Values,
) -> None:
    """A row for each sample: input, target, both answers, and where they are apart."""
    inputs, targets = measured_on.split.inputs, measured_on.split.targets
    of_inputs = sample_picture.Scale.of(inputs) if _can_be_seen(measured_on) and is_array(inputs) else None
    for change in worst:
        i = change.index
        target = None if targets is None else np.asarray(targets[i])
        pictures = _pictures(before.outputs[i], after.outputs[i], target)
        said = [array for title, array in pictures.items() if title != "Apart"]
        scale = sample_picture.Scale.of(np.stack([a.astype(np.float64) for a in said]))
        moved = _change(change, key, by_metric)
        unit = f" {METRICS[key].unit}" if key and by_metric else " of the typical length"
        st.markdown(f"**Sample {i}**: {with_minus(f'{moved:+.4g}')}{unit}")
        with st.container(horizontal=True, gap="small"):
            if of_inputs is not None and is_array(inputs):
                _one("Input", inputs[i], of_inputs, i)
            for title, array in pictures.items():
                # What is apart has a scale of its own: nothing is black.
                own = sample_picture.Scale(0.0, float(array.max()) or 1.0, None) if title == "Apart" else scale
                _one(title, array, own, i)


def _pictures(before: Array, after: Array, target: Array | None) -> dict[str, Array]:
    """Target, both answers and, of maps, where these are apart, by their titles; lines stay (channels, time)."""
    if is_series(before.shape):
        wanted = None if target is None or target.shape != before.shape else target
        return ({} if wanted is None else {"Target": wanted}) | {"Baseline": before, "This recipe": after}
    first, second = answer_map(before, target), answer_map(after, target)
    assert first is not None  # `is_map` said so of the shape
    assert second is not None
    found: dict[str, Array] = {"Baseline": first, "This recipe": second, "Apart": apart_map(first, second)}
    wanted = target_map(target, before.shape)
    return found if wanted is None or wanted.shape != first.shape else {"Target": wanted, **found}


def _one(title: str, array: Array, scale: sample_picture.Scale, index: int) -> None:
    with st.container(width=_MAP_PX, gap=None):
        sample_picture.show(array, scale, _MAP_PX, f"{title} of sample {index}")
        st.caption(title)
