"""Take it away: any table as CSV, JSON or Parquet, any chart as SVG or PNG, and the frontier as a standalone page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from engine.errors import NotFoundError, SpecError
from engine.explain.layers import kept_layers
from engine.export import tables as table_export
from engine.frontier.columns import Trials
from engine.frontier.front import objective_points
from engine.frontier.recommendation import Choice
from engine.graph.layer_graph import LayerGraph
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import access, queries

Rows = Sequence[dict[str, Any]]

FORMATS = {"svg": "SVG", "png": "PNG"}
_FORMAT, _PICKED = "picture format", "share picture format"
# What is left of a chart's buttons where zooming says nothing.
_NO_ZOOM = ["zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"]


def picture_config(zoom: bool = False) -> dict[str, Any]:
    """A chart's `config`: its camera button saves it, in the browser, as the kind of picture that was chosen; `zoom` keeps more buttons."""
    kind = st.session_state.get(_FORMAT, "svg")
    # A picture of dots is to be put on a slide: three for each on the screen.
    scale = 3 if kind == "png" else 1
    return {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"] if zoom else _NO_ZOOM,
        "toImageButtonOptions": {"format": kind, "filename": "paretoscope", "scale": scale},
    }


def popover(name: str, tables: Mapping[str, Callable[[], Rows]], also: Callable[[], None] | None = None) -> None:
    """Draw the button of a page and what it opens: each of its tables as files, made when they are asked for, and how charts are saved.

    `name` begins the files' names; `also` draws what else the page gives away.
    """
    with st.popover("Share", icon=":material/ios_share:"):
        for title, rows in tables.items():
            st.markdown(f"**{title}**", help="Base units, nothing rounded.")
            downloads(f"{name}-{title.lower().replace(' ', '-')}", rows)
        if also:
            also()
        st.session_state[_PICKED] = st.session_state.get(_FORMAT, "svg")
        st.segmented_control(
            "Charts as",
            list(FORMATS),
            format_func=FORMATS.__getitem__,
            key=_PICKED,
            on_change=_keep_format,
            required=True,
            help="What a chart’s camera button saves. SVG stays sharp at any size; PNG goes anywhere.",
        )
        st.caption("The address of this page restores what it shows.")


def downloads(file: str, rows: Callable[[], Rows]) -> None:
    """Buttons that give a table as files of this name, made when they are asked for."""
    with st.container(horizontal=True, gap="small"):
        _download("CSV", file, "csv", "text/csv", rows, table_export.to_csv)
        _download("JSON", file, "json", "application/json", rows, table_export.to_json)
        if table_export.has_parquet():
            mime = "application/vnd.apache.parquet"
            _download("Parquet", file, "parquet", mime, rows, table_export.to_parquet)


def _keep_format() -> None:
    # Streamlit forgets a widget's value with the page.
    st.session_state[_FORMAT] = st.session_state[_PICKED]


def _download(
    label: str, file: str, ending: str, mime: str, rows: Callable[[], Rows], write: Callable[[Rows], bytes]
) -> None:
    st.download_button(
        label,
        # Made outside any session, so the role is looked at again then.
        data=access.later(lambda: write(rows())),
        file_name=f"{file}.{ending}",
        mime=mime,
        key=f"share {file} {ending}",
        icon=":material/download:",
        on_click="ignore",
    )


def of_sweep(row: SweepRow, trials: Sequence[Trial], choice: Choice) -> None:
    """The button of Explore: all its recipes, and the frontier as a page of its own."""

    def report() -> None:
        st.markdown(
            "**Frontier as a page**",
            help="One HTML file with charts to zoom and hover, and the table. It needs no network.",
        )
        keys = objectives(trials, choice)
        if len(keys) < 2:
            st.caption("Two measured objectives are needed.")
            return
        st.download_button(
            "HTML report",
            data=access.later(lambda: report_bytes(row, keys, choice.view.device)),
            file_name=f"{row.id}.html",
            mime="text/html",
            key="share html",
            icon=":material/download:",
            on_click="ignore",
        )

    popover(row.id, {"All recipes": lambda: table_export.flat_rows(trials, choice)}, report)


def objectives(trials: Sequence[Trial], choice: Choice) -> tuple[str, ...]:
    """What the report draws: what trials are judged by first, then the axes of the view and the usual costs, as far as any recipe has all
    of them.
    """
    view = choice.view
    done = Trials.of(trials).done
    kept: tuple[str, ...] = (done.judged_by,)
    for key in dict.fromkeys((view.x, view.y, "size_bytes", "latency_ms")):
        wanted = tuple(dict.fromkeys((*kept, key)))
        points = objective_points(done, wanted, view.device)
        if np.isfinite(points).all(axis=1).any():
            kept = wanted
    return kept


def report_bytes(row: SweepRow, keys: Sequence[str], device: str) -> bytes:
    """The standalone page; raises SpecError when there is nothing to draw."""
    from engine.export.report import report_html

    try:
        trials, store = queries.columns_on(row, device), queries.store()
        spec, find = store.spec(row.id), queries.artifacts().local
        layers_of = partial(kept_layers, store, spec, baseline=store.trials(row.id)[0])
        return report_html(row, spec, trials, keys, device, partial(_network, row), find, layers_of).encode()
    except SpecError as error:
        # A download that fails shows nothing, so the file says it.
        return f"<!doctype html><meta charset=utf-8><title>No report</title><p>{html.escape(str(error))}</p>".encode()


def _network(row: SweepRow, trial: Trial) -> LayerGraph:
    file = queries.network_file(row, trial)
    if file is None:
        raise NotFoundError(f"the file of {trial.label} is gone; run the sweep again to make it")
    return file.graph()
