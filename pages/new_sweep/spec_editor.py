"""The spec of a new sweep as text: edited, uploaded, and carried over into the form where the form can show it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
import yaml

from engine.errors import InputError
from engine.spec.sweep import Sweep, parse_sweep
from pages.new_sweep import spec_text, sweep_form
from pages.new_sweep.draft import to_spec
from pages.new_sweep.fields import KEEP
from pages.shared import access, shell

_TEXT, _BY_FORM, _HELD, _UPLOADS = "form text", "form text shows", "form text held", "form uploads"


def open_text() -> None:
    """Before the text is drawn: take the form's spec, unless the text holds more than the form, or is the form's still."""
    if st.session_state.get(_HELD) is None and st.session_state.get(_BY_FORM) != sweep_form.current():
        rewrite()


def rewrite() -> None:
    """Make the text say what the form says."""
    draft = sweep_form.current()
    try:
        text = spec_text.write(parse_sweep(to_spec(draft)))
    except InputError:
        # The form has a mistake, which the text then has as well.
        text = yaml.safe_dump(to_spec(draft), sort_keys=False, allow_unicode=True, default_flow_style=None)
    st.session_state[_TEXT], st.session_state[_BY_FORM], st.session_state[_HELD] = text, draft, None


def held() -> str | None:
    """Why the form does not show what the text says; None where it does."""
    why: str | None = st.session_state.get(_HELD)
    return why


def take(sweep: Sweep) -> None:
    """Make the text say a sweep, and the form where it can; before either is drawn."""
    st.session_state[_TEXT] = spec_text.write(sweep)
    st.session_state.setdefault(_BY_FORM, None)
    _carry_over()


def edit() -> Sweep:
    """Draw the editor; the sweep that the text stands for. Raises InputError in one line for a mistake in it."""
    open_text()
    st.text_area(
        "Spec",
        height=560,
        key=_TEXT,
        max_chars=spec_text.LONGEST,
        on_change=_carry_over,
        help="The same as a file for `paretoscope run`; docs/reference-spec.md names every key. It is read when you click elsewhere or "
        "press Ctrl+Enter.",
        **KEEP,
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        number = st.session_state.setdefault(_UPLOADS, 0)
        st.file_uploader(
            "Read it from a file",
            type=["yaml", "yml"],
            key=f"form upload {number}",
            max_upload_size=1,
            on_change=_upload,
            help="A spec as text; it replaces the one above.",
        )
        st.button(
            "Write it anew from the form",
            icon=":material/undo:",
            on_click=rewrite,
            help="Drops what you typed and takes what the form says.",
            disabled=st.session_state[_BY_FORM] == sweep_form.current() and held() is None,
        )
    if st.session_state.get("form upload error"):
        st.error(st.session_state.pop("form upload error"), icon=":material/error:")
    sweep = spec_text.parse(st.session_state[_TEXT], Path.cwd())
    why = held()
    if why:
        st.info(
            f"The form cannot show this: {shell.plain(why)}. It is planned and run from the text.",
            icon=":material/code:",
        )
    else:
        st.caption(":material/sync: The form shows the same.")
    return sweep


def _carry_over() -> None:
    """Put an edited text into the form where that is possible; the form stays as it is where not."""
    if not access.may("editor"):
        return
    try:
        draft = spec_text.to_draft(spec_text.parse(st.session_state[_TEXT], Path.cwd()))
    except spec_text.CannotShow as why:
        st.session_state[_HELD] = str(why)
    except InputError:
        st.session_state[_HELD] = "the text has a mistake"
    else:
        sweep_form.show(draft)
        st.session_state[_BY_FORM], st.session_state[_HELD] = draft, None


def _upload() -> None:
    """Take a file's text. Its name is never looked at; what it holds is read like what is typed."""
    uploaded = st.session_state.get(f"form upload {st.session_state[_UPLOADS]}")
    if uploaded is None or not access.may("editor"):
        return
    # A fresh uploader: the text is what counts from now on.
    st.session_state[_UPLOADS] += 1
    raw = uploaded.getvalue()
    try:
        if len(raw) > 4 * spec_text.LONGEST:
            raise ValueError
        text = raw.decode("utf-8")
        if len(text) > spec_text.LONGEST or not all(c.isprintable() or c in "\n\r\t\ufeff" for c in text):
            raise ValueError
    except ValueError:
        st.session_state["form upload error"] = (
            f"That file is not a spec: it must be text in UTF-8 of at most {spec_text.LONGEST:,} characters. Nothing was changed."
        )
        return
    st.session_state[_TEXT] = text.removeprefix("\ufeff")
    _carry_over()
