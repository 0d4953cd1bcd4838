"""What is in another order on a telephone than on a desk: there is room for one thing at a time, and that is the chart."""

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
    own = "".join(f"{name} {{ display: flex !important; }}" for name in chosen)
    st.html(f"<style>@media (max-width: {WIDEST_PX}px) {{ {around} {{ display: contents; }} {places} {own} }}</style>")
