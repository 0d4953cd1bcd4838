"""New sweep: choose model, data and steps, see what that would run, start it, and watch it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from engine.choice import View
from engine.figures import frontier_alt, frontier_figure
from engine.forecast import Preview, preview
from engine.spec import Sweep, parse_sweep, to_yaml
from engine.words import duration
from pages.ui import access, progress, queries, runner, shell, sweep_form
from pages.ui.draft import to_spec


def render() -> None:
    """Draw the page: the sweep that the address names, or the form."""
    followed = st.query_params.get("run")
    if followed:
        _follow(followed)
        return
    # The form reads files of the server that it is told of, and starts work on it.
    shell.guard("editor")
    _running_elsewhere()
    left, right = st.columns([3, 2], gap="large")
    with left:
        draft = sweep_form.fill_in()
    with right:
        st.subheader("What this will run", anchor=False)
        with shell.one_line_errors():
            # Relative paths are taken from where the server was started, as on the command line.
            _plan(parse_sweep(to_spec(draft), Path.cwd()))
        _what_was_found()


def _running_elsewhere() -> None:
    for row in queries.sweeps():
        if row.state == "running":
            with st.container(horizontal=True, vertical_alignment="center"):
                st.info(f"{row.name!r} is running: {row.trials} of {row.recipes} recipes measured.")
                st.page_link(shell.pages()["new-sweep"], label="Follow it", query_params={"run": row.id})


def _plan(sweep: Sweep) -> None:
    """The plan in numbers, the spec as YAML, and the start button."""
    found = preview(sweep, queries.store(), queries.artifacts())
    with st.container(horizontal=True):
        st.metric(
            "Recipes",
            found.recipes,
            help="Every combination of the chosen steps, and the baseline.",
            width=108,
            border=True,
        )
        st.metric(
            "Nodes",
            found.unique_nodes,
            help="Units of work. Recipes that begin alike share them.",
            width=108,
            border=True,
        )
        st.metric(
            "Forecast",
            duration(found.forecast_s),
            help="From what finished nodes took on this machine, or typical values until there are any.",
            width=160,
            border=True,
        )
    st.markdown(_in_words(found))
    running = _is_running(sweep)
    if st.button(
        "It is running" if running else "Start sweep",
        type="primary",
        icon=":material/play_arrow:",
        disabled=running,
        width="stretch",
    ):
        progress.remember(sweep.id, runner.start(sweep))
        st.query_params["run"] = sweep.id
        st.rerun()
    with st.expander("The spec, for `paretoscope run`", icon=":material/code:"):
        st.code(to_yaml(sweep), language="yaml")


def _what_was_found() -> None:
    """The newest finished sweep as a small chart, to see what can be expected; it also has the browser load the chart's code early."""
    row = next((r for r in queries.sweeps() if r.trials and r.state != "running"), None)
    if row is None:
        return
    info = queries.info(row, View())
    if info.points:
        st.caption(f"What {row.name!r} found:")
        figure = frontier_figure(info, height=300)
        st.plotly_chart(figure, key="what was found", config={"staticPlot": True}, alt=frontier_alt(info))


def _in_words(found: Preview) -> str:
    shared = found.naive_nodes - found.unique_nodes
    if found.missing_nodes == 0:
        return "All of it has been measured before: starting it finds everything done."
    words = f"One by one the recipes would take {found.naive_nodes} nodes; {shared} are shared."
    known = found.unique_nodes - found.missing_nodes
    return f"{words} {known} are done already." if known else words


def _is_running(sweep: Sweep) -> bool:
    return progress.under_way(sweep.id, progress.find(sweep.id))


def _follow(ref: str) -> None:
    """A sweep's progress and, when it has ended, what to do with it."""
    row = progress.find(ref)
    if row is None and not runner.known(ref):
        st.warning(f"There is no sweep {ref!r} here.", icon=":material/link_off:")
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    sweep_id = row.id if row else ref
    st.subheader(row.name if row else sweep_id, anchor=False)
    if progress.under_way(sweep_id, row):
        st.caption("You may leave this page, or close it: the sweep goes on.")
    elif row is not None:
        _ended(row.id, row.state, row.error)
    progress.follow(sweep_id)


def _ended(sweep_id: str, state: str, error: str | None) -> None:
    told = {
        "done": (st.success, "The sweep is done."),
        "cancelled": (st.info, "The sweep was cancelled. What was finished is kept."),
        "failed": (st.error, f"The sweep failed: {error}"),
        "interrupted": (
            st.warning,
            "The sweep was interrupted: its process has gone silent. What was finished is kept.",
        ),
    }
    show, text = told[state]
    show(text)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            shell.pages()["explore"],
            label="Explore its frontier",
            icon=":material/scatter_plot:",
            query_params={"sweep": sweep_id},
        )
        st.page_link(shell.pages()["new-sweep"], label="Another sweep", icon=":material/add_circle:")
        if state != "done" and access.may("editor") and st.button("Go on with it", icon=":material/play_arrow:"):
            progress.remember(sweep_id, runner.start(queries.store().spec(sweep_id)))
            st.rerun()


with shell.one_line_errors():
    shell.guard()
    render()
