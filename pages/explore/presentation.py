"""Presentation mode of Explore: the frontier large, the best recipe and the pinned ones, and no controls. For a wall or a meeting.

`present=1` in the address, beside the view that is presented.
"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import FrontierInfo
from engine.frontier.brush import brush_words
from engine.frontier.columns import Trials
from engine.frontier.recommendation import View, usual_view
from engine.metrics import METRICS, limits_text, text_of
from engine.store.rows import SweepRow
from engine.trials.metric_values import judged_by, metric_value
from engine.trials.text import is_estimated
from engine.trials.trial import Trial
from pages.shared import explore_address as state
from pages.shared import narrowed, plots, queries, shell
from pages.shared.narrowed import Narrowed
from pages.shared.narrowing_address import Narrowing

HEIGHT = 600
REFRESH_S = 5.0
_COSTS = ("size_bytes", "latency_ms", "energy_mj")


def is_on() -> bool:
    """Whether the address asks for it."""
    return st.query_params.get("present") == "1"


def link(row: SweepRow, view: View, by: Narrowing) -> None:
    """The way there, with the view as it is, and narrowed as it is."""
    st.page_link(
        shell.pages()["explore"],
        label="Present",
        icon=":material/slideshow:",
        query_params=state.to_params(state.Explore(row.id, None, view, narrowing=by)) | {"present": "1"},
    )


def show(row: SweepRow, view: View, by: Narrowing) -> None:
    """Draw it; while the sweep runs, again and again with what is new. Nothing here is selected, so nothing can be lost."""

    @shell.fragment(run_every=REFRESH_S if row.state == "running" else None)
    def slide() -> None:
        now = queries.store().sweep(row.id)
        _slide(now, view, by)

    slide()
    st.page_link(
        shell.pages()["explore"],
        label="Leave the presentation",
        icon=":material/close_fullscreen:",
        query_params=state.to_params(state.Explore(row.id, None, view, narrowing=by)),
    )


def _slide(row: SweepRow, view: View, by: Narrowing) -> None:
    trials = queries.explored(row, view.device)
    view = usual_view(view, trials)
    only = narrowed.narrowed(row, view.device, trials.done, by)
    info = queries.info(row, view, None, only.trials, only.key)
    st.header(shell.plain(row.name), anchor=False)
    running = f"; running, {row.trials} of {row.recipes} measured" if row.state == "running" else ""
    machines = sorted(set(trials.machines.values()))
    some = f"{len(only.trials):,} of " if len(only.trials) < only.total else ""
    st.caption(f"{some}{row.trials} recipes{_left_by(by, only)}{running}. {' and '.join(machines)}")
    if not info.points:
        nothing = "No recipe has both numbers yet." if len(only.trials) or not only.total else "None of these is left."
        st.info(nothing, icon=":material/hourglass_top:")
        return
    plots.draw(
        frontier_figure(info, height=HEIGHT), key="presented", config={"displayModeBar": False}, alt=frontier_alt(info)
    )
    rows = _worth_telling(row, info, trials)
    if rows:
        told = pd.DataFrame([_told(why, trial, view.device) for trial, why in rows])
        st.table(told.set_index("Recipe"), border="horizontal")
    if view.limits:
        st.caption(
            f"Limits: {limits_text(view.limits)}. {len(info.choice.kept)} of {len(info.choice.measured)} recipes keep them."
        )


def _left_by(by: Narrowing, only: Narrowed) -> str:
    """What leaves these recipes alone to look at, for people who see no controls."""
    parts = [f"{'with' if cut.keep else 'without'} {brush_words(cut.brush)}" for cut in by.cuts]
    if by.where and not only.mistake:
        parts.append(f"matching {by.where}")
    return f" ({shell.plain('; '.join(parts))})" if parts else ""


def _worth_telling(row: SweepRow, info: FrontierInfo, trials: Trials) -> list[tuple[Trial, str]]:
    """Baseline, best under the limits or the knee, and what is pinned, each with why it is there."""
    choice, pins = info.choice, queries.store().notes.of(row.id)
    found: dict[str, str] = {}
    for trial_id, why in (
        (choice.baseline, "baseline"),
        (choice.best if choice.view.limits else None, "best under the limits"),
        (choice.knee, "knee"),
        *((i, f"pinned{f': {note.text}' if note.text else ''}") for i, note in pins.items() if note.pinned),
    ):
        if trial_id is not None and trial_id in trials.place:
            found[trial_id] = f"{found[trial_id]}; {why}" if trial_id in found else why
    return [(trials[trials.place[i]], why) for i, why in found.items()]


def _told(why: str, trial: Trial, device: str) -> dict[str, str]:
    row = {"Recipe": shell.plain(trial.label), "": shell.plain(why)}
    for key in (judged_by(trial), *_COSTS):
        text = text_of(key, metric_value(trial, key, device))
        row[METRICS[key].name] = f"{text} (est.)" if text != "–" and is_estimated(trial, key, device) else text
    return row
