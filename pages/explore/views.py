"""Saved views of Explore: the page as it is under a name, for everybody or for oneself; opened, renamed, renewed, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from engine.errors import AccessError, InputError
from engine.store.rows import SweepRow
from engine.store.views import EVERYBODY, LONGEST_NAME, SavedView
from pages.shared import access, address, queries, shell

_NAME, _WHOSE, _SAID, _CHOSEN = (f"explore view {part}" for part in ("name", "whose", "said", "chosen"))
_MORE, _MOST_LINKED = "explore view more", 20
_MINE, _ALL = "For me", "For everybody"


def picker(row: SweepRow) -> None:
    """Draw the button that lists the views, those of this sweep first, saves what is shown, and changes those that one may change."""
    with st.popover("Views", icon=":material/bookmark:"):
        found = queries.store().views.of(access.identity() or EVERYBODY)
        if said := st.session_state.pop(_SAID, None):
            kind, text = said
            (st.error if kind == "error" else st.success)(shell.plain(text))
        here = [v for v in found if v.sweep_id == row.id]
        elsewhere = [v for v in found if v.sweep_id != row.id]
        if not found:
            st.caption(
                "No view is saved yet: chart, axes, colour, limits, brush, filter, columns and zoom, under a name."
            )
        _links(here[:_MOST_LINKED], "")
        if elsewhere:
            _links(elsewhere[: _MOST_LINKED // 2], "Of other sweeps")
        if left_out := [*here[_MOST_LINKED:], *elsewhere[_MOST_LINKED // 2 :]]:
            by_id = {v.id: v for v in left_out}
            chosen = st.selectbox(
                f"{len(left_out)} more",
                list(by_id),
                format_func=lambda i: by_id[i].name,
                index=None,
                key=_MORE,
                placeholder="Find a view",
            )
            _links([by_id[chosen]] if chosen in by_id else [], "")
        _save_form()
        if changeable := [v for v in found if _may_change(v)]:
            _change_form(row, changeable)


def _links(found: Sequence[SavedView], heading: str) -> None:
    if heading:
        st.caption(heading)
    for view in found:
        st.button(
            shell.plain(view.name),
            icon=":material/group:" if view.owner == EVERYBODY else ":material/person:",
            key=f"explore view open {view.id}",
            type="tertiary",
            on_click=address.go,
            args=("explore", view.params),
            help=_about(view),
        )


def _about(view: SavedView) -> str:
    when = view.changed.replace("T", " ").removesuffix("+00:00")
    whose = "Everybody sees it" if view.owner == EVERYBODY else "You alone see it"
    return f"{whose}. Saved {when} UTC{f' by {shell.plain(view.author)}' if view.author else ''}."


def _scopes() -> list[str]:
    """For whom whoever is here may save: for oneself where one has signed in, for everybody as an editor."""
    mine = [_MINE] if access.identity() is not None else []
    return [*mine, *([_ALL] if access.may("editor") else [])]


def _save_form() -> None:
    scopes = _scopes()
    if not scopes:
        return
    st.text_input("Save what is shown as", key=_NAME, max_chars=2 * LONGEST_NAME, placeholder="a name")
    if len(scopes) > 1:
        st.segmented_control("Who sees it", scopes, key=_WHOSE, required=True, default=scopes[0])
    st.button("Save this view", key="explore view save", icon=":material/bookmark_add:", on_click=_save)


def _change_form(row: SweepRow, found: Sequence[SavedView]) -> None:
    by_id = {v.id: v for v in found}
    if st.session_state.get(_CHOSEN) not in by_id:
        st.session_state[_CHOSEN] = None
    with st.expander("Change a view"):
        chosen = st.selectbox(
            "View",
            list(by_id),
            format_func=lambda i: f"{by_id[i].name}{'' if by_id[i].owner == EVERYBODY else ' (mine)'}",
            key=_CHOSEN,
            index=None,
            placeholder="Which one",
        )
        if chosen is None:
            return
        name = f"{_CHOSEN} {chosen}"
        st.text_input("Its name", by_id[chosen].name, key=name, max_chars=2 * LONGEST_NAME)
        with st.container(horizontal=True, gap="small"):
            st.button("Rename", key="explore view rename", on_click=_rename, args=(chosen, name))
            st.button(
                "Save over it", key="explore view replace", on_click=_replace, args=(chosen, row.id),
                help="The view shows what this page shows now.",
            )  # fmt: skip
            st.button("Delete", key="explore view delete", icon=":material/delete:", on_click=_delete, args=(chosen,))


def _may_change(view: SavedView) -> bool:
    return access.may("editor") if view.owner == EVERYBODY else view.owner == access.identity() and access.may("viewer")


def _changeable(view_id: str) -> SavedView:
    """The view, if whoever is here may change it now; AccessError otherwise."""
    view = queries.store().views.find(view_id)
    access.require("editor" if view.owner == EVERYBODY else "viewer")
    if not _may_change(view):
        raise AccessError("this view is somebody else's; nothing was done")
    return view


def _save() -> None:
    def save() -> str:
        scopes = _scopes()
        access.require("viewer" if _MINE in scopes else "editor")
        whose = st.session_state.get(_WHOSE) if len(scopes) > 1 else next(iter(scopes), None)
        if whose != _MINE:
            access.require("editor")
        owner = (access.identity() or EVERYBODY) if whose == _MINE else EVERYBODY
        params = address.written("explore")
        made = queries.store().views.save(
            str(st.session_state.get(_NAME, "")), params.get("sweep", ""), params, owner, access.name()
        )
        st.session_state[_NAME] = ""
        return f"{made.name} is saved."

    _do(save)


def _do(work: Callable[[], str]) -> None:
    try:
        st.session_state[_SAID] = ("success", work())
    except InputError as error:
        st.session_state[_SAID] = ("error", str(error))


def _rename(view_id: str, name_key: str) -> None:
    def rename() -> str:
        before = _changeable(view_id).name
        queries.store().views.rename(view_id, str(st.session_state[name_key]), access.name())
        return f"{before} has another name now."

    _do(rename)


def _replace(view_id: str, sweep_id: str) -> None:
    def renew() -> str:
        found = _changeable(view_id)
        queries.store().views.replace(view_id, sweep_id, address.written("explore"), access.name())
        return f"{found.name} shows this page now."

    _do(renew)


def _delete(view_id: str) -> None:
    def delete() -> str:
        found = _changeable(view_id)
        queries.store().views.delete(view_id)
        return f"{found.name} is deleted."

    _do(delete)
