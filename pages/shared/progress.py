"""A sweep while it runs: how far it is, how long it still takes, its points as they appear, and a way to stop it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

import streamlit as st

from engine.errors import NotFoundError
from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import frontier_info
from engine.figures.progress import HELP, progress_alt, progress_figure, progress_info, progress_text
from engine.frontier.recommendation import View
from engine.store.rows import SweepRow
from engine.trials.text import duration
from engine.trials.trial import Trial
from pages.shared import access, how_far, plots, queries, runner, shell, trial_table

POLL_S = 1.0
LEAST_STEPS = 2
_PROCESS = "runner of "


def remember(sweep_id: str, process: subprocess.Popen[bytes]) -> None:
    """Keep the runner's handle in this session, to notice when it ends before the store hears of it."""
    st.session_state[_PROCESS + sweep_id] = process


def starting(sweep_id: str) -> bool:
    """Whether this session started a runner for the sweep that has not ended."""
    process = st.session_state.get(_PROCESS + sweep_id)
    return process is not None and process.poll() is None


def find(sweep_id: str) -> SweepRow | None:
    """The sweep's row, None as long as its runner has not entered it."""
    try:
        return queries.store().sweep(sweep_id)
    except NotFoundError:
        return None


def under_way(sweep_id: str, row: SweepRow | None) -> bool:
    """Whether there is something to wait for."""
    return starting(sweep_id) or (row is not None and row.state == "running")


def follow(sweep_id: str) -> None:
    """Draw the sweep's progress; polls the store while it runs, and reruns the page once when it has ended."""
    waiting = under_way(sweep_id, find(sweep_id))

    @shell.fragment(run_every=POLL_S if waiting else None)
    def poll() -> None:
        row = find(sweep_id)
        if waiting and not under_way(sweep_id, row):
            st.rerun()
        if row is None:
            _before_the_first_node(sweep_id, waiting)
        else:
            _progress(row, waiting)

    poll()


def doing_text(row: SweepRow) -> str:
    """What the sweep's runner is doing now, `training channels −50 %, timing int8`; empty where it has not said."""
    if row.state != "running" or not row.under_way:
        return ""
    return ", ".join(shell.plain(str(words)) for words in json.loads(row.under_way))


def _before_the_first_node(sweep_id: str, waiting: bool) -> None:
    if waiting:
        st.progress(0.0, "Starting …")
    else:
        reason = runner.last_words(sweep_id) or "it printed nothing"
        st.error(f"The sweep {sweep_id} did not start: {reason}", icon=":material/error:")


def _progress(row: SweepRow, waiting: bool) -> None:
    done = row.nodes_done / row.nodes_total if row.nodes_total else 0.0
    remaining = f", about {duration(row.remaining_s)} to go" if row.remaining_s is not None and waiting else ""
    st.progress(
        min(1.0, done),
        f"{row.nodes_done} of {row.nodes_total} nodes done · {row.trials} of {row.recipes} recipes measured · "
        f"{duration(row.elapsed_s)} so far{remaining}",
    )
    if doing := doing_text(row):
        st.caption(f":material/autorenew: Now: {doing}")
    if row.state == "running":
        _cancel(row)
    how_far.found(row)
    how_far.missed(row)
    trials = queries.columns(row)
    view = View(x="latency_ms" if "latency_ms" in trials.measured() else "size_bytes")
    info = frontier_info(trials, view)
    if info.points:
        # Nothing can be selected here, so it may be drawn anew as points appear.
        plots.draw(
            frontier_figure(info, height=380),
            key=f"live {row.id}",
            alt=frontier_alt(info),
        )
        _hypervolume(row, trials, view)
    elif waiting:
        st.info("The first point appears when the baseline has been measured.", icon=":material/hourglass_top:")
    if not waiting:
        trial_table.unfinished(trials)


def _hypervolume(row: SweepRow, trials: Sequence[Trial], view: View) -> None:
    """How the frontier grew, from the second recipe on; nothing for sweeps of before finish times were kept."""
    found = progress_info(trials, view)
    if len(found.steps) < LEAST_STEPS:
        return
    st.markdown("**How far the frontier has come**", help=HELP)
    plots.draw(
        progress_figure(found, 220),
        key=f"hypervolume {row.id}",
        alt=progress_alt(found),
    )
    st.caption(progress_text(found))


def _cancel(row: SweepRow) -> None:
    asked = f"cancel asked {row.id}"
    if st.session_state.get(asked):
        st.caption("Stopping: what runs now is finished first. Everything finished is kept.")
    elif access.may("editor") and st.button(
        "Cancel", icon=":material/stop_circle:", help="Finished nodes stay; a later start goes on from there."
    ):
        runner.cancel(row.id)
        st.session_state[asked] = True
        st.rerun(scope="fragment")
