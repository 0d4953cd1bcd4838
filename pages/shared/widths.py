"""What depends on the width of the screen: on a telephone the chart comes first, on a desk what is beside a long form stays in sight."""

from __future__ import annotations

import streamlit as st

WIDEST_PX = 640
"""Streamlit itself puts columns below each other from here down."""


def chart_first(*keys: str) -> None:
    """On a narrow screen, draw the containers of these keys before everything else on the page, in their order, wherever they are.

    What surrounds them there steps aside (`display: contents`), so that they are children of the page's own column, which has an order.
    """
    chosen = [f".st-key-{key.replace(' ', '-')}" for key in keys]
    around = ", ".join(
        f"[data-testid=stMainBlockContainer] > [data-testid=stVerticalBlock] [data-testid={kind}]:has({', '.join(chosen)})"
        for kind in ("stLayoutWrapper", "stHorizontalBlock", "stColumn", "stVerticalBlock")
    )
    places = "".join(
        f"[data-testid=stLayoutWrapper]:has(> {name}), {name} {{ order: {place - len(chosen)}; }}"
        for place, name in enumerate(chosen)
    )
    beside = f"[data-testid=stHorizontalBlock]:has({', '.join(chosen)}) > [data-testid=stColumn] {{ min-width: 100%; }}"
    own = "".join(f"{name} {{ display: flex !important; }}" for name in chosen)
    st.html(
        f"<style>@media (max-width: {WIDEST_PX}px) {{ {around} {{ display: contents; }} {places} {beside} {own} }}</style>"
    )


def stays_in_sight(key: str) -> None:
    """On a wide screen, keep the container of this key in sight while what is beside it is scrolled through."""
    name = f".st-key-{key.replace(' ', '-')}"
    wrapper = f"[data-testid=stLayoutWrapper]:has(> {name})"
    st.html(
        f"<style>@media (min-width: {WIDEST_PX + 1}px) {{ {wrapper} {{ position: sticky; top: 4.5rem; }} }}</style>"
    )
