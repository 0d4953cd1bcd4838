"""New sweep: choose model, data and steps, see what that would run, start it, and watch it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from engine.figures.frontier import frontier_alt, frontier_figure
from engine.frontier.recommendation import View, usual_view
from engine.run.forecast import Preview, preview
from engine.run.planner import providers_here
from engine.spec.goals import Target
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.rows import SweepRow
from engine.trials.text import duration
from pages.new_sweep import check_panel, handed_over, presets, spec_editor, spec_text, sweep_form
from pages.new_sweep.draft import Draft, to_spec
from pages.new_sweep.fields import KEEP
from pages.shared import access, deletion, plots, progress, queries, reach, runner, shell, widths
from pages.shared import explore_address as state

FORM, TEXT = "Form", "As YAML"
LIVE = 1_000
"""More recipes than these are planned on request: with every click it would take seconds."""


def render() -> None:
    """Draw the page: the sweep that the address names, or the form."""
    followed = st.query_params.get("run")
    if followed:
        _follow(followed)
        return
    # The form reads files of the server that it is told of, and starts work on it.
    shell.guard("editor")
    _running_elsewhere()
    sweep_form.open_with(presets.FIRST_LOOK.fill(Draft()))
    with shell.one_line_errors():
        handed_over.take()
    above = st.container()
    left, right = st.columns([3, 2], gap="large")
    with left:
        said: list[Sweep] = []
        with shell.one_line_errors():
            said.append(_spec())
    # After the form, whose model and limits it speaks of.
    with above:
        _ready_ways()
    widths.stays_in_sight("new sweep outlook")
    with right, st.container(key="new sweep outlook"):
        st.subheader("What this will run", anchor=False)
        with shell.one_line_errors():
            for sweep in said:
                _plan(sweep)
        if not said:
            st.info("Nothing, until the mistake is put right.", icon=":material/edit:")
        _what_was_found()


def _spec() -> Sweep:
    """The sweep as the form or the text says it; raises InputError for a mistake."""
    st.session_state.setdefault("form shown as", FORM)
    shown = st.segmented_control(
        "Show the sweep as",
        [FORM, TEXT],
        required=True,
        key="form shown as",
        help="The same sweep as boxes, or as the text that `paretoscope run` reads. What is on screen is what is run.",
        **KEEP,
    )
    if shown == TEXT:
        return spec_editor.edit()
    held = spec_editor.held()
    if held:
        st.caption(
            f":material/code: Your text under **{TEXT}** is kept; the form does not show it: {shell.plain(spec_editor.held() or '')}."
        )
    # Relative paths are taken from where the server was started, as on the command line.
    return parse_sweep(to_spec(sweep_form.fill_in()), Path.cwd())


def _ready_ways() -> None:
    """Presets and scenarios: one click fills the form in."""
    now = sweep_form.current()
    steps, uses = st.tabs(["Presets", "Ready uses"])
    with steps:
        offered = presets.presets(providers_here())
        for preset, column in zip(offered, st.columns(len(offered), gap="small"), strict=True):
            with column, st.container(border=True, height="stretch", gap="small"):
                _fill_button(preset.title, preset.fill, preset.icon)
                st.caption(f"{preset.says} About {presets.count(preset.fill(now))} recipes.")
    with uses:
        st.caption("Each sets device, limits and data for a use; the steps stay. Every figure in it is an assumption.")
        with st.container(horizontal=True, gap="small"):
            for scenario in queries.scenarios().values():
                title = scenario.title.partition(" ")[2].capitalize()
                _fill_button(title, partial(presets.under, scenario), ":material/flag:")
        for scenario in queries.scenarios().values():
            if (now.target_device, dict(now.limits)) == (scenario.device, scenario.limits):
                st.caption(
                    f"**{scenario.title.capitalize()}**. Assumed: {'; '.join(scenario.assumptions)}. {presets.about_data(scenario)}"
                )


def _fill_button(title: str, fill: Callable[[Draft], Draft], icon: str) -> None:
    st.button(title, icon=icon, key=f"fill {title}", on_click=_fill, args=(fill,), width="stretch")


def _fill(fill: Callable[[Draft], Draft]) -> None:
    sweep_form.show(fill(sweep_form.stated()))
    st.session_state["form shown as"] = FORM


def _running_elsewhere() -> None:
    for row in queries.sweeps():
        if row.state == "running":
            with st.container(horizontal=True, vertical_alignment="center"):
                st.info(f"{shell.plain(repr(row.name))} is running: {row.trials} of {row.recipes} recipes measured.")
                st.page_link(shell.pages()["new-sweep"], label="Follow it", query_params={"run": row.id})


def _plan(sweep: Sweep) -> None:
    """The plan in numbers, the spec as YAML, and the start button."""
    # Before any file that it names is looked at.
    reach.require(sweep)
    recipes = len(sweep.all_recipes)
    if recipes > LIVE and st.session_state.get("form planned") != sweep.id:
        st.metric(
            "Recipes", f"{recipes:,}", help="Every combination of the chosen steps, and the baseline.", border=True
        )
        st.caption("So many take a while to plan, so it is not done with every click.")
        if st.button("Work out nodes and forecast", icon=":material/account_tree:", width="stretch"):
            st.session_state["form planned"] = sweep.id
            st.rerun()
        return
    found = preview(sweep, queries.store(), queries.artifacts())
    limited = found.run_nodes < found.missing_nodes or sweep.search.minutes is not None
    with st.container(horizontal=True):
        st.metric(
            "Recipes",
            f"{found.recipes:,}",
            help="Every combination of the chosen steps, and the baseline.",
            width=108,
            border=True,
        )
        st.metric(
            "Nodes",
            f"{found.unique_nodes:,}",
            help="Units of work. Recipes that begin alike share them.",
            width=108,
            border=True,
        )
        st.metric(
            "Forecast",
            duration(found.forecast_s),
            help="From what finished nodes took on this machine, or typical values until there are any."
            + (" The mean over all recipes that the search may choose." if found.is_estimate else ""),
            width=160,
            border=True,
        )
    st.markdown(_in_words(found))
    if limited:
        st.markdown(_budget_in_words(sweep, found))
    keep = _keep_old_code(found)
    ready = check_panel.ready(sweep)
    if ready is not None:
        _start(ready, keep)
    with st.expander("The spec, for `paretoscope run`", icon=":material/code:"):
        text = spec_text.write(sweep)
        st.code(text, language="yaml")
        st.download_button(
            "Download",
            text,
            file_name=f"{sweep.id}.yaml",
            mime="application/yaml",
            icon=":material/download:",
            on_click="ignore",
        )


def _start(sweep: Sweep, keep_old_code: bool) -> None:
    running = _is_running(sweep)
    if st.button(
        "It is running" if running else "Start sweep",
        type="primary",
        icon=":material/play_arrow:",
        disabled=running,
        width="stretch",
    ):
        progress.remember(sweep.id, runner.start(sweep, keep_old_code))
        st.query_params["run"] = sweep.id
        st.rerun()


def _what_was_found() -> None:
    """The newest finished sweep as a small chart, to see what can be expected; it also has the browser load the chart's code early."""
    row = next((r for r in queries.sweeps() if r.trials and r.state != "running"), None)
    if row is None:
        return
    info = queries.info(row, usual_view(View(), queries.columns_on(row, View.device)))
    if info.points:
        st.caption(f"What {shell.plain(repr(row.name))} found:")
        figure = frontier_figure(info, height=300)
        plots.draw(figure, key="what was found", config={"staticPlot": True}, alt=frontier_alt(info))


def _keep_old_code(found: Preview) -> bool:
    """Whether the run shall take what an earlier version of the program has finished; asked where there is such a thing."""
    if not found.old_code_nodes:
        return False
    st.info(
        f"{found.old_code_nodes:,} of these nodes were finished by an earlier version of Paretoscope, "
        f"{duration(found.old_code_s)} of work. Its code has changed since, so results may differ.",
        icon=":material/history:",
    )
    return st.checkbox("Keep them as they are", help="Recipes that rest on them say so in their notes.")


def _in_words(found: Preview) -> str:
    shared = found.naive_nodes - found.unique_nodes
    if found.missing_nodes == 0:
        return "All of it has been measured before: starting it finds everything done."
    words = (
        f"One by one the recipes would take {found.naive_nodes:,} nodes, about {duration(found.naive_forecast_s)}; "
        f"{shared:,} are shared, which saves {100 * shared / found.naive_nodes:.0f} % of them."
    )
    known = found.unique_nodes - found.missing_nodes
    return f"{words} {known:,} are done already." if known else words


def _budget_in_words(sweep: Sweep, found: Preview) -> str:
    """What one run does of it, where it is told to stop before the end."""
    about = "about " if found.is_estimate else ""
    words = (
        f"This run takes on {found.run_recipes:,} recipes that are not measured yet, {about}{found.run_nodes:,} nodes"
    )
    if sweep.search.minutes is not None:
        words += f", and stops after {duration(sweep.search.minutes * 60)}"
    words += ". The rest stays for the next run."
    if found.is_estimate:
        words += " Which recipes, the search decides as it goes, so nodes and forecast are means over all that it may choose."
    return words


def _is_running(sweep: Sweep) -> bool:
    return progress.under_way(sweep.id, progress.find(sweep.id))


def _follow(ref: str) -> None:
    """A sweep's progress and, when it has ended, what to do with it."""
    row = progress.find(ref)
    if row is None and not runner.known(ref):
        st.warning(f"There is no sweep {shell.plain(repr(ref))} here.", icon=":material/link_off:")
        st.page_link(shell.pages()["new-sweep"], label="New sweep")
        return
    sweep_id = row.id if row else ref
    st.header(shell.plain(row.name if row else sweep_id), anchor=False)
    if progress.under_way(sweep_id, row):
        st.caption("You may leave this page, or close it: the sweep goes on.")
    elif row is not None:
        _ended(row)
    progress.follow(sweep_id)


def _ended(row: SweepRow) -> None:
    spec = queries.spec(row)
    left = 0
    if row.state == "done" and spec.search.is_limited:
        store = queries.store()
        left = row.recipes - row.trials - len(store.in_state(row.id, "failed")) - len(store.in_state(row.id, "stopped"))
    told = {
        "done": (st.success, "The sweep is done."),
        "cancelled": (st.info, "The sweep was cancelled. What was finished is kept."),
        "failed": (st.error, f"The sweep failed: {shell.plain(row.error or '')}"),
        "interrupted": (
            st.warning,
            "The sweep was interrupted: its process has gone silent. What was finished is kept.",
        ),
    }
    show, text = told[row.state]
    if left:
        show, text = st.info, _budget_used(row, spec, left)
    show(text)
    may_go_on = bool(row.state != "done" or left) and access.may("editor")
    keep = row.keep_old_code
    if may_go_on and not keep:
        with shell.one_line_errors():
            reach.require(spec)
            keep = _keep_old_code(preview(spec, queries.store(), queries.artifacts()))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            shell.pages()["explore"],
            label="Explore its frontier",
            icon=":material/scatter_plot:",
            query_params=state.to_params(state.Explore(row.id, None, _view(spec.target))),
        )
        st.page_link(shell.pages()["new-sweep"], label="Another sweep", icon=":material/add_circle:")
        if may_go_on and st.button("Go on with it", icon=":material/play_arrow:"):
            progress.remember(row.id, runner.start(spec, keep))
            st.rerun()
        deletion.button(row, "ended")


def _budget_used(row: SweepRow, spec: Sweep, left: int) -> str:
    text = f"The budget of this run is used. {left} of {row.recipes} recipes are not measured yet."
    if spec.search.method == "grid":
        return text
    learnt = "" if spec.search.method == "random" else ", with all that it has learnt"
    return f"{text} Another run takes the search on from the {row.trials} that are{learnt}."


def _view(target: Target | None) -> View:
    """What the sweep is for, as Explore shows it."""
    return View(device=target.device, limits=target.limits) if target else View()


with shell.one_line_errors():
    shell.guard()
    render()
