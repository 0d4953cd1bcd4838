"""The recommendation in one sentence, with the ways to take it home and to look at it. What several pages begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from engine.errors import SpecError
from engine.frontier.certainty import Certainty
from engine.frontier.columns import Trials
from engine.frontier.joined import without_points
from engine.frontier.recommendation import View, usual_view
from engine.frontier.verdict import Verdict, verdict
from engine.spec.goals import Target
from engine.store.rows import SweepRow
from engine.store.target import target_of
from pages.shared import queries, shell, trial_panel


@st.cache_resource(max_entries=64, ttl=3600, show_spinner=False)
def _target(address: tuple[str, str], sweep_id: str, created: str) -> Target | None:
    return target_of(queries.store(), sweep_id)


def target(row: SweepRow) -> Target | None:
    """What the sweep's network is for, where its spec says so."""
    return _target(queries.address(), row.id, row.created)


@st.cache_resource(max_entries=128, ttl=3600, show_spinner=False)
def _verdict(
    address: tuple[str, str],
    at: tuple[str, str, int],
    axes: tuple[str, str, str],
    limits: tuple[tuple[str, float], ...],
    profile: str,
    only: str,
    _known: Trials,
    _sure: Certainty,
    _whole: Trials,
) -> Verdict:
    # The other arguments follow from these.
    y, x, device = axes
    return verdict(_known, (y, x), dict(limits), device, queries.artifacts().local, _sure, _whole)


def recommended(row: SweepRow, view: View | None = None, left: Trials | None = None, only: str = "") -> Verdict:
    """What to ship within the limits of a view or, where it has none, for the target of the spec, or else the knee; among the trials that
    are `left`, where they were narrowed by `only`.

    Without a view that is the target's, on the axes that the sweep has. Raises SpecError where times of two machines would be compared.
    """
    aim = target(row)
    if view is None:
        view = View(device=aim.device) if aim else View()
        view = usual_view(view, queries.columns_on(row, view.device).done)
    if not view.limits and aim and aim.device == view.device:
        view = replace(view, limits=aim.limits)
    whole = queries.columns_on(row, view.device).done
    known = without_points(whole if left is None else left)
    sure = queries.sureness(row, replace(view, imported=False), known, only)
    limits = tuple(sorted(view.limits.items()))
    at = (row.id, row.created, row.revision)
    axes = (view.y, view.x, view.device)
    return _verdict(queries.address(), at, axes, limits, queries.profile_key(view.device), only, known, sure, whole)


def box(row: SweepRow, found: Verdict, key: str, show: Callable[[str], None] | None = None) -> None:
    """Draw the sentence with "Ship this", which exports, and "Show it", which calls `show`; nothing where nothing is measured."""
    if not found.sentence:
        return
    lead, _, rest = found.sentence.partition("; ")
    with st.container(border=True, key=key, gap="small"):
        text = f"**{shell.plain(lead)}**{f'; {shell.plain(rest)}' if rest else ''}"
        st.markdown(f":material/recommend: {text}" if found.trial else f":material/block: {text}")
        looked_at = found.trial or found.nearest
        if looked_at is None:
            return
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            trials = queries.columns(row)
            if found.trial and found.trial in trials.place:
                trial_panel.ship(row, trials[trials.place[found.trial]], f"{key} ship")
            if show is not None:
                st.button("Show it", on_click=show, args=(looked_at,), key=f"{key} show")
            else:
                asked = {"sweep": row.id, "trial": looked_at}
                st.page_link(
                    shell.pages()["explore"],
                    label="On the frontier",
                    icon=":material/scatter_plot:",
                    query_params=asked,
                )


def unless_refused(row: SweepRow) -> Verdict:
    """The same without a view; by file size where times of two machines cannot be compared."""
    try:
        return recommended(row)
    except SpecError:
        try:
            return recommended(row, View(x="size_bytes", y=queries.columns(row).judged_by))
        except SpecError:
            # The target itself limits a time.
            return Verdict()
