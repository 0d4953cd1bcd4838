"""A page's part of the address: what it asks for, whether that is news, and the address rewritten to what is on screen."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NoReturn

import streamlit as st

ON_ITS_WAY_S = 3.0
"""How long a rewritten address may take to reach the browser and come back with the next thing that the user does."""


@dataclass(frozen=True)
class _Written:
    """The parameters that a page wrote last, and those that it replaced, each with when that was."""

    params: Mapping[str, str]
    replaced: tuple[tuple[Mapping[str, str], float], ...] = ()

    def by(self, params: Mapping[str, str], now: float) -> _Written:
        if params == self.params:
            return self
        young = tuple((p, at) for p, at in self.replaced if now - at < ON_ITS_WAY_S)
        return _Written(dict(params), (*young, (self.params, now)))


_OURS = "this run is asked for by ourselves"


def rerun() -> NoReturn:
    """Run the page again from a part that runs by itself; `st.rerun` alone would bring back the address of when that was asked for."""
    st.session_state[_OURS] = True
    st.rerun()


def _slot(page: str) -> str:
    return f"{page} address"


def _now(own: Collection[str] | None) -> dict[str, str]:
    return {k: v for k, v in st.query_params.to_dict().items() if own is None or k in own}


def read(page: str, own: Collection[str] | None = None) -> tuple[dict[str, str], bool]:
    """The parameters of a page, and whether they are news: a first visit, a link, or the Back button.

    `own` are the names of the page's parameters, all there are if None. A run is asked for with the address that the browser shows at
    that moment. One that this page has just replaced is therefore no news but a click that was faster than the answer to the one before:
    taken for news it would undo what was chosen then.
    """
    params, written = _now(own), st.session_state.get(_slot(page))
    ours = st.session_state.pop(_OURS, False)
    if written is None:
        return params, True
    if ours:
        return dict(written.params), False
    if params == written.params:
        return params, False
    now = time.monotonic()
    if any(params == before and now - at < ON_ITS_WAY_S for before, at in written.replaced):
        return dict(written.params), False
    return params, True


def write(page: str, params: Mapping[str, str], own: Collection[str] | None = None) -> None:
    """Make the page's part of the address say what is on screen; called at the end of a run, so that one cut short leaves news news."""
    now = _now(own)
    if params != now:
        st.query_params.from_dict({k: v for k, v in st.query_params.to_dict().items() if k not in now} | dict(params))
    written = st.session_state.get(_slot(page)) or _Written(now)
    st.session_state[_slot(page)] = written.by(params, time.monotonic())


def written(page: str) -> dict[str, str]:
    """The parameters of a page as it wrote them last: what is on screen."""
    found = st.session_state.get(_slot(page))
    return dict(found.params) if found else {}


def go(page: str, params: Mapping[str, str]) -> None:
    """Show what these parameters of the page that is on screen say; for a callback.

    A link of Streamlit's to the same page runs it with them and leaves the browser's address as it was (tried with 1.67), which the next
    click would then bring back.
    """
    st.session_state.pop(_slot(page), None)
    st.query_params.from_dict(params)


def amend(page: str, changes: Mapping[str, str | None]) -> None:
    """Change single parameters of the page's address, from a part of it that runs by itself; None takes one out."""
    written = st.session_state.get(_slot(page))
    params = {**(written.params if written else _now(None)), **changes}
    write(page, {key: value for key, value in params.items() if value is not None})
