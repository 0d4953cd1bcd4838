"""What users' own boards measured of a trial, beside what was estimated for them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.devices.boards import beside, current_runs
from engine.metrics import text_of
from engine.store.rows import SweepRow
from engine.trials.boards import Beside, board_texts
from engine.trials.text import with_minus
from engine.trials.trial import Trial
from pages.shared import queries, shell


def show(row: SweepRow, trial: Trial) -> None:
    """A line for each board, and each in full; nothing where none has measured this trial."""
    found, earlier = _measured(row, trial)
    if not found and not earlier:
        return
    st.subheader("On your own boards", anchor=False)
    if found:
        st.table(pd.DataFrame([_line(one) for one in found]), border="horizontal", hide_index=True, alt="Boards")
    for one in found:
        if one.run.failed:
            st.warning(
                f"{shell.plain(one.run.board)} did not pass the bundle’s own checks: {shell.plain('; '.join(one.run.failed))}",
                icon=":material/report:",
            )
        with st.expander(f"Everything from {shell.plain(one.run.board)}", icon=":material/developer_board:"):
            st.markdown("\n".join(f"- {shell.plain(text)}" for text in board_texts(one)))
    if earlier:
        st.caption(
            f"{earlier} of the measurements that were taken back are of an earlier file of this recipe and not shown; export the bundle "
            "anew and measure that."
        )
    st.caption(
        "Median latency, measured by the bundle’s verify.py on the board; `paretoscope measured` took it back. The error is the estimate’s."
    )


def _measured(row: SweepRow, trial: Trial) -> tuple[list[Beside], int]:
    """What boards measured of a trial beside what was estimated, and how many measurements are of an earlier file of it."""
    artifacts = queries.artifacts()
    runs = [run for run in queries.store().boards.of(row.id) if run.trial == trial.id]
    current = current_runs(runs, {trial.id: trial.artifact}, artifacts).get(trial.id, [])
    return [beside(trial, run, artifacts) for run in current], len(runs) - len(current)


def _line(one: Beside) -> dict[str, str]:
    """A board in few words."""
    run = one.run
    off = "–" if one.error_percent is None else with_minus(f"{one.error_percent:+,.0f} %")
    said = "–"
    if one.projected:
        by = "the sweep’s own machine" if run.profile == "host" else run.profile
        said = f"{text_of('latency_ms', one.projected.value)} by {by}"
    return {
        "Board": shell.plain(run.board),
        "Measured": text_of("latency_ms", run.latency_ms.value),
        "Estimated": said,
        "Error": off,
    }
