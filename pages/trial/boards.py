"""What users' own boards measured of a trial, beside what was estimated for them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.metrics import text_of
from engine.store.rows import SweepRow
from engine.trials.boards import Beside, board_texts
from engine.trials.trial import Trial
from pages.shared import queries, shell


def show(row: SweepRow, trial: Trial) -> None:
    """A line for each board, and each in full; nothing where none has measured this trial."""
    found, earlier = queries.boards(row, trial)
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
    st.caption("Measured by the bundle’s verify.py on the board; `paretoscope measured` took it back.")


def _line(one: Beside) -> dict[str, str]:
    """A board in few words."""
    run = one.run
    off = "–" if one.error_percent is None else f"{one.error_percent:+.0f} %"
    return {
        "Board": shell.plain(run.board),
        "Measured, median": text_of("latency_ms", run.latency_ms.value),
        "p95": text_of("latency_ms", run.p95),
        "Estimated": text_of("latency_ms", one.projected.value) if one.projected else "–",
        "By": {None: "–", "host": "the sweep’s own machine"}.get(run.profile, run.profile or "–"),
        "Error of the estimate": off,
    }
