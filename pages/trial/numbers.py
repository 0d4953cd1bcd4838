"""Every number of a recipe as one table: value, range, baseline, difference, and how it is known."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.metrics import METRICS
from engine.trials.number_table import Number, number_table
from engine.trials.text import with_minus
from engine.trials.trial import Trial
from pages.shared import shell, widths

COLUMNS = ("Number", "Value", "Range", "Baseline", "Difference", "How it is known")


def show(trial: Trial, baseline: Trial | None) -> None:
    """Draw the table, a bold line before each group, and below it what the numbers mean."""
    found = number_table(trial, baseline)
    is_baseline = baseline is not None and baseline.id == trial.id
    # A narrow screen has room for four columns; ranges and the baseline's numbers are also on Compare, where cells wrap.
    left_out = ("Baseline", "Difference") if is_baseline else ("Range", "Baseline") if widths.is_narrow() else ()
    columns = [c for c in COLUMNS if c not in left_out]
    table = pd.DataFrame(_rows(found), columns=list(COLUMNS))[columns].set_index("Number")
    st.table(table, border="horizontal")
    st.caption(
        "Ranges are 95 % intervals, or 90 % where the last column says so. Shares and a metric’s own unit differ by subtraction, "
        "everything else in percent of the baseline."
    )
    meanings = {METRICS[n.key].name: METRICS[n.key].help for n in found if n.key in METRICS}
    st.caption("**What they mean**")
    st.caption("\n".join(f"- **{shell.plain(name)}**: {shell.plain(text)}" for name, text in meanings.items()))


def _rows(found: list[Number]) -> list[dict[str, str]]:
    rows, group = [], None
    for number in found:
        if number.group != group:
            group = number.group
            rows.append(dict.fromkeys(COLUMNS, "") | {"Number": f"**{group}**"})
        rows.append(
            dict(
                zip(
                    COLUMNS,
                    (
                        shell.plain(number.name),
                        shell.plain(with_minus(number.value_text)),
                        shell.plain(with_minus(number.range_text)),
                        shell.plain(with_minus(number.baseline_text)),
                        shell.plain(with_minus(number.difference_text)),
                        shell.plain(with_minus(number.how)),
                    ),
                    strict=True,
                )
            )
        )
    return rows
