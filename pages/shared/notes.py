"""Pins and notes on trials: shown to everybody, changed by editors."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from engine.frontier.columns import Trials
from engine.store.notes import LONGEST, Note
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import access, queries, shell

PIN = ":material/keep:"


def panel(row: SweepRow, trial: Trial) -> None:
    """The note of a trial and, for editors, the means to pin it and to write."""
    note = queries.store().notes.of(row.id).get(trial.id, Note())
    if not access.may("editor"):
        if note.pinned or note.text:
            st.markdown(f"{f'{PIN} ' if note.pinned else ''}{shell.plain(note.text)}")
            st.caption(_signed(note))
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "Unpin" if note.pinned else "Pin",
            icon=PIN,
            key=f"pin {row.id} {trial.id}",
            on_click=_pin,
            args=(row.id, trial.id, not note.pinned),
            help="Pinned recipes are listed on Explore and marked in its table, for everybody.",
        )
        with st.popover("Note" if note.text else "Add a note", icon=":material/edit_note:"):
            key = f"note {row.id} {trial.id} {note.changed}"
            st.text_area("What to remember of this recipe", note.text, max_chars=LONGEST, key=key)
            st.button("Save", key=f"save {key}", on_click=_say, args=(row.id, trial.id, key))
    if note.text:
        st.markdown(f"> {shell.plain(note.text)}")
        st.caption(_signed(note))


def _signed(note: Note) -> str:
    when = note.changed.replace("T", " ").removesuffix("+00:00")
    return f"{shell.plain(note.author)}, {when} UTC" if note.author else f"{when} UTC"


def _say(sweep_id: str, trial_id: str, key: str) -> None:
    access.require("editor")
    queries.store().notes.say(sweep_id, trial_id, str(st.session_state[key]), access.name())


def _pin(sweep_id: str, trial_id: str, pinned: bool) -> None:
    access.require("editor")
    queries.store().notes.pin(sweep_id, trial_id, pinned, access.name())


def pinned(row: SweepRow, trials: Trials, select: Callable[[str], None]) -> None:
    """The pinned ones of a sweep's trials, each a button that selects it; nothing where none is pinned."""
    found = {i: note for i, note in queries.store().notes.of(row.id).items() if note.pinned and i in trials.place}
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"{PIN} **Pinned**", width="content")
        for trial_id, note in found.items():
            st.button(
                shell.plain(str(trials.fact("label")[trials.place[trial_id]])),
                key=f"pinned {trial_id}",
                on_click=select,
                args=(trial_id,),
                help=shell.plain(note.text) or None,
            )
