"""What depends on the width of the screen: on a telephone the chart comes first, on a desk what is beside a long form stays in sight."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import streamlit as st

WIDEST_PX = 640
"""Streamlit itself puts columns below each other from here down."""


_NARROW = "the screen is narrow"


def set_narrow(is_narrow: bool) -> None:
    """Keep what the browser says of its width."""
    st.session_state[_NARROW] = is_narrow


def is_narrow() -> bool:
    """Whether the screen is narrow, for what a style cannot choose, such as the columns of a table; told a second into a visit."""
    return bool(st.session_state.get(_NARROW))


def fewer(frame: pd.DataFrame, names: Iterable[str]) -> list[str] | None:
    """The order of columns of a table: on a narrow screen those of the `names` that it has, all (None) elsewhere."""
    return [n for n in dict.fromkeys(names) if n in frame] if is_narrow() else None


# A tab that is not open stays hidden, whatever is in it.
_STEP_ASIDE = (
    "[data-testid=stLayoutWrapper]", "[data-testid=stHorizontalBlock]", "[data-testid=stColumn]", "[data-testid=stVerticalBlock]",
    "[data-testid=stTabs]", "[data-testid=stTabs] > div", "[data-testid=stTabPanel]:not([inert])",
)  # fmt: skip


def chart_first(*keys: str) -> None:
    """On a narrow screen, draw what has these keys before everything else on the page, in their order, wherever it is.

    What surrounds it there steps aside (`display: contents`), so that it is a child of the page's own column, which has an order. The
    names of the tabs that it is in come before it.
    """
    chosen = [f".st-key-{key.replace(' ', '-')}" for key in keys]
    around = ", ".join(
        f"[data-testid=stMainBlockContainer] > [data-testid=stVerticalBlock] {kind}:has({', '.join(chosen)})"
        for kind in _STEP_ASIDE
    )
    tabs = f"[data-testid=stTabs]:has({', '.join(chosen)}) > div > [role=tablist] {{ order: {-1 - len(chosen)}; }}"
    places = "".join(
        f"[data-testid=stLayoutWrapper]:has(> {name}), {name} {{ order: {place - len(chosen)}; }}"
        for place, name in enumerate(chosen)
    )
    beside = f"[data-testid=stHorizontalBlock]:has({', '.join(chosen)}) > [data-testid=stColumn] {{ min-width: 100%; }}"
    own = "".join(f"{name} {{ display: flex !important; }}" for name in chosen)
    st.html(
        f"<style>@media (max-width: {WIDEST_PX}px) {{ {around} {{ display: contents; }} {places} {tabs} {beside} {own} }}</style>"
    )


def narrow_only(key: str) -> None:
    """On a wide screen, leave out the container of this key: what it says is in sight there anyway."""
    name = f".st-key-{key.replace(' ', '-')}"
    st.html(
        f"<style>@media (min-width: {WIDEST_PX + 1}px) {{ [data-testid=stLayoutWrapper]:has(> {name}) {{ display: none; }} }}</style>"
    )


def stays_in_sight(key: str) -> None:
    """On a wide screen, keep the container of this key in sight while what is beside it is scrolled through."""
    name = f".st-key-{key.replace(' ', '-')}"
    wrapper = f"[data-testid=stLayoutWrapper]:has(> {name})"
    st.html(
        f"<style>@media (min-width: {WIDEST_PX + 1}px) {{ {wrapper} {{ position: sticky; top: 4.5rem; }} }}</style>"
    )
