"""A few trials of one sweep, chosen to be looked at together: in the address, and collected on the way there.

?sweep=ID&trials=a,b,c
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.figures.compare import MOST
from engine.frontier.columns import Trials
from engine.frontier.recommendation import View, choose
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import address, pickers, queries, shell
from pages.shared.explore_address import LONGEST

LETTERS = "ABCDEF"
_ID = re.compile(r"[0-9a-f]{1,64}")
_COLLECTED = "collected trials"
_OWN = frozenset({"sweep", "trials"})


@dataclass(frozen=True)
class Chosen:
    """What an address asks for. Nothing in it need exist."""

    sweep: str | None = None
    trials: tuple[str, ...] = ()


def parse(params: Mapping[str, str]) -> Chosen:
    """An address's parameters -> what it asks for; what cannot be an id is left out, and so is all beyond six."""
    sweep = params.get("sweep", "")
    # Nobody's six ids are longer; no need to look through more.
    ids = [i for i in params.get("trials", "")[: 100 * MOST].split(",") if _ID.fullmatch(i)]
    return Chosen(
        sweep=sweep if 0 < len(sweep) <= LONGEST and sweep.isprintable() else None,
        trials=tuple(dict.fromkeys(ids))[:MOST],
    )


def to_params(sweep_id: str, trial_ids: Sequence[str]) -> dict[str, str]:
    """The inverse of `parse`."""
    return {"sweep": sweep_id} | ({"trials": ",".join(trial_ids)} if trial_ids else {})


def collected(sweep_id: str) -> list[str]:
    """The trials of a sweep that this session has put aside to be compared."""
    found: list[str] = st.session_state.setdefault(_COLLECTED, {}).get(sweep_id, [])
    return found


def _toggle(sweep_id: str, trial_id: str) -> None:
    kept = collected(sweep_id)
    changed = [i for i in kept if i != trial_id] if trial_id in kept else [*kept, trial_id]
    st.session_state[_COLLECTED][sweep_id] = changed[-MOST:]


def buttons(row: SweepRow, trial: Trial, baseline: Trial | None) -> None:
    """Put a trial aside, or take it out again; and the way to the pages that show several."""
    kept = collected(row.id)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button(
            "Take out of comparison" if trial.id in kept else "Add to comparison",
            icon=":material/remove:" if trial.id in kept else ":material/add:",
            key=f"collect {row.id} {trial.id}",
            on_click=_toggle,
            args=(row.id, trial.id),
            help=f"Up to {MOST} recipes of a sweep can be put side by side; a seventh takes the place of the first.",
        )
        link(row)
        wanted = list(dict.fromkeys(t.id for t in (baseline, trial) if t))
        st.page_link(
            shell.pages()["playground"],
            label="Try it",
            icon=":material/image_search:",
            query_params=to_params(row.id, wanted),
        )


def link(row: SweepRow) -> None:
    """The way to the trials that were put aside, when there are two or more; with one, what is missing."""
    kept = collected(row.id)
    if len(kept) >= 2:
        st.page_link(
            shell.pages()["compare"],
            label=f"Compare {len(kept)} recipes",
            icon=":material/compare_arrows:",
            query_params=to_params(row.id, kept),
        )
    elif kept:
        st.caption("Add one more to compare.")


def link_to_sweeps(row: SweepRow) -> None:
    """The ways to this sweep beside others, and to what changed since its run before the last one, where that was kept."""
    ways = [("Beside other sweeps", ":material/stacked_line_chart:", {"mode": "sweeps", "sweeps": row.id})]
    if queries.store().earlier.kept(row.id):
        ways.append(
            ("What changed", ":material/difference:", {"mode": "runs", "then": f"{row.id}@before", "now": row.id})
        )
    for label, icon, params in ways:
        st.page_link(shell.pages()["compare"], label=label, icon=icon, query_params=params)


def pick(page: str, least: int) -> tuple[SweepRow, Trials, list[Trial]] | None:
    """Draw the pickers of a page and keep its address: the sweep, its measured trials, those chosen; None when there is nothing to choose.

    Fewer than `least` may be chosen: the page then says what it needs.
    """
    rows = [r for r in queries.sweeps() if r.trials]
    if not rows:
        st.info(
            "Nothing has been measured yet. Start a sweep; its recipes can then be chosen here.", icon=":material/info:"
        )
        st.page_link(shell.pages()["new-sweep"], label="New sweep", icon=":material/add_circle:")
        return None
    params, news = address.read(page, _OWN)
    asked = parse(params)
    row = pickers.pick_sweep(rows, asked.sweep, news, f"{page} sweep", "stretch")
    done = queries.columns(row).done
    name = f"{page} trials {row.id}"
    if news or name not in st.session_state:
        wanted = [i for i in asked.trials if i in done.place] if asked.trials else []
        missing = [i for i in asked.trials if i not in done.place] if news and not _other_sweep(row, asked) else []
        if missing:
            st.warning(f"This sweep has no measured trial {', '.join(missing)}.", icon=":material/link_off:")
        kept = [i for i in collected(row.id) if i in done.place]
        st.session_state[name] = wanted or (kept if len(kept) >= least else default_trials(done))
    st.session_state[name] = [i for i in st.session_state[name] if i in done.place]
    # One above the other: beside the search, a telephone would leave no room for what is chosen.
    ids, said = pickers.offered(done, pickers.find_box(name, done), st.session_state[name])
    chosen = st.multiselect(
        f"Recipes{said}",
        ids,
        format_func=pickers.name_of(done),
        max_selections=MOST,
        key=name,
        placeholder=f"Choose up to {MOST}",
        help=f"Up to {MOST} recipes of the sweep; the address of this page keeps them.",
    )
    address.write(page, to_params(row.id, chosen), _OWN)
    return row, done, list(done.take(np.array([done.place[i] for i in chosen], np.intp)))


def _other_sweep(row: SweepRow, asked: Chosen) -> bool:
    """Whether the trials asked for are of a sweep that is not here."""
    return asked.sweep is not None and row.id != asked.sweep and row.name != asked.sweep


def default_trials(done: Sequence[Trial]) -> list[str]:
    """Where nobody has chosen: the baseline, the knee, and the smallest file among the frontier's better half."""
    choice = choose(done, View(x="size_bytes"))
    better = choice.front[len(choice.front) // 2 :]
    wanted = [choice.baseline, choice.knee, *better[:1], *choice.front]
    found = list(dict.fromkeys(i for i in wanted if i))
    return found[:3] if len(found) >= 2 else list(Trials.of(done).ids[:2])
