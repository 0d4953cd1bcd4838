"""The boxes of a form whose values are the fields of a `Draft`: one key for each, kept over a visit to another page.

What a box shows is in the session's state alone, put there by `put`: no box has a default of its own that could differ from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Literal

import streamlit as st

from pages.new_sweep.draft import BOUNDS, Draft

KEEP: dict[str, Any] = {"persist_state": "session"}
"""For every box: its value survives a visit to another page."""


def key(field: str) -> str:
    """The key of a field's box."""
    return f"form {field.replace('_', ' ')}"


def put(draft: Draft) -> None:
    """Make the boxes show a draft; to be called before they are drawn."""
    for field in fields(Draft):
        value = getattr(draft, field.name)
        st.session_state[key(field.name)] = list(value) if isinstance(value, tuple) else value
        # A value that is not among a box's own is offered beside them.
        st.session_state[f"{key(field.name)} offered"] = value if isinstance(value, tuple) else (value,)


def _offered(field: str, options: Sequence[Any], is_open: bool) -> list[Any]:
    """The options of a box, and what was put into it beside them; a choice that is no option any more is dropped."""
    more = st.session_state.get(f"{key(field)} offered", ()) if is_open else ()
    offered = [*options, *(v for v in more if v not in options)]
    if is_open and all(isinstance(o, int | float) and o for o in offered):
        offered.sort(reverse=list(options) != sorted(options))
    chosen = st.session_state.get(key(field))
    if isinstance(chosen, list):
        kept = [v for v in chosen if v in offered]
        if kept != chosen:
            st.session_state[key(field)] = kept
    elif chosen not in offered:
        st.session_state[key(field)] = offered[0]
    return offered


def chips(
    label: str,
    field: str,
    options: Sequence[Any],
    help: str,
    format_func: Callable[[Any], str] = str,
    is_open: bool = False,
    place: Any = st,
) -> tuple[Any, ...]:
    """Any number of options, in their order; `is_open`: a spec may hold others, which are then offered too."""
    offered = _offered(field, options, is_open)
    chosen = place.pills(
        label, offered, selection_mode="multi", format_func=format_func, help=help, key=key(field), wrap=True, **KEEP
    )
    return tuple(o for o in offered if o in chosen)


def choice(
    label: str,
    field: str,
    options: Sequence[Any],
    help: str,
    format_func: Callable[[Any], str] = str,
    is_open: bool = False,
    place: Any = st,
    kind: Literal["box", "buttons"] = "box",
) -> Any:
    """One of the options."""
    offered = _offered(field, options, is_open)
    if kind == "buttons":
        return place.segmented_control(
            label, offered, format_func=format_func, help=help, key=key(field), required=True, **KEEP
        )
    return place.selectbox(label, offered, format_func=format_func, help=help, key=key(field), **KEEP)


def number(label: str, field: str, help: str, step: float | None = None, place: Any = st) -> Any:
    """A number within `BOUNDS`."""
    low, high = BOUNDS[field]
    shown = "%g" if isinstance(low, float) else None
    return place.number_input(label, low, high, step=step, format=shown, help=help, key=key(field), **KEEP)


def tick(label: str, field: str, help: str | None = None, place: Any = st) -> bool:
    """Yes or no."""
    ticked: bool = place.checkbox(label, help=help, key=key(field), **KEEP)
    return ticked


def text(label: str, field: str, help: str, placeholder: str = "", place: Any = st) -> str:
    """A line of text."""
    written: str = place.text_input(
        label, key=key(field), placeholder=placeholder, help=help, max_chars=200 if field == "name" else 1000, **KEEP
    )
    return written
