"""Take it away: the table of a view as CSV, JSON or Parquet, and the frontier as a standalone page."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from engine import table_export
from engine.choice import Choice
from engine.columns import Trials
from engine.errors import SpecError
from engine.record import Trial
from engine.selection import objective_points
from engine.store import SweepRow
from pages.ui import access, queries

SVG_BUTTON = {"toImageButtonOptions": {"format": "svg", "filename": "paretoscope"}}
"""For a chart's `config`: its camera button saves a vector picture, made in the browser."""


def popover(row: SweepRow, trials: Sequence[Trial], choice: Choice) -> None:
    """Draw the button and what it opens; files are made when they are asked for."""
    with st.popover("Share", icon=":material/ios_share:"):
        st.markdown(
            "**Table of all recipes**", help="Base units, nothing rounded, with standing under these axes and limits."
        )
        with st.container(horizontal=True, gap="small"):
            _download(
                "CSV", row, "csv", "text/csv", lambda: table_export.to_csv(table_export.flat_rows(trials, choice))
            )
            _download(
                "JSON",
                row,
                "json",
                "application/json",
                lambda: table_export.to_json(table_export.flat_rows(trials, choice)),
            )
            if table_export.has_parquet():
                mime = "application/vnd.apache.parquet"
                _download(
                    "Parquet",
                    row,
                    "parquet",
                    mime,
                    lambda: table_export.to_parquet(table_export.flat_rows(trials, choice)),
                )
        st.markdown(
            "**Frontier as a page**",
            help="One HTML file with charts to zoom and hover, and the table. It needs no network.",
        )
        keys = objectives(trials, choice)
        if len(keys) < 2:
            st.caption("Two measured objectives are needed.")
        else:
            _download("HTML report", row, "html", "text/html", lambda: report_bytes(row, keys, choice.view.device))
        st.caption(
            "A chart’s camera button saves it as SVG. The address of this page restores axes, limits and selection."
        )


def _download(label: str, row: SweepRow, ending: str, mime: str, make: Callable[[], bytes]) -> None:
    st.download_button(
        label,
        # Made outside any session, so the role is looked at again then.
        data=access.later(make),
        file_name=f"{row.id}.{ending}",
        mime=mime,
        key=f"share {ending}",
        icon=":material/download:",
        on_click="ignore",
    )


def objectives(trials: Sequence[Trial], choice: Choice) -> tuple[str, ...]:
    """What the report draws: accuracy first, then the axes of the view and the usual costs, as far as any recipe has all of them."""
    view = choice.view
    kept: tuple[str, ...] = ("accuracy",)
    done = Trials.of(trials).done
    for key in dict.fromkeys((view.x, view.y, "size_bytes", "latency_ms")):
        wanted = tuple(dict.fromkeys((*kept, key)))
        points = objective_points(done, wanted, view.device)
        if np.isfinite(points).all(axis=1).any():
            kept = wanted
    return kept


def report_bytes(row: SweepRow, keys: Sequence[str], device: str) -> bytes:
    """The standalone page; raises SpecError when there is nothing to draw."""
    from engine.report import report_html

    try:
        return report_html(row, queries.store().spec(row.id), queries.columns_on(row, device), keys, device).encode()
    except SpecError as error:
        # A download that fails shows nothing, so the file says it.
        return f"<!doctype html><meta charset=utf-8><title>No report</title><p>{html.escape(str(error))}</p>".encode()
