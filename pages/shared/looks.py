"""The few looks that Streamlit's theme cannot say: contrast of words on the primary colour and in charts, and where the focus is."""

from __future__ import annotations

import streamlit as st

# In the dark the primary colour is bright enough to be read as words on the page, so words on it have to be dark: white has 3.0 to 1.
# Streamlit writes them white in both. `light-dark` follows `color-scheme`, which Streamlit sets with its theme.
# Plotly writes numbers grey in cells that it takes for light ones. Those of mistakes are see-through in the dark: there they have a rim.
# The text of a chart has one colour for both (`style.TEXT`), as pictures of it need, or Streamlit's own grey, which has 3.7 to 1 on white.
_CSS = """
.js-plotly-plot .heatmap-label text[style*="rgb(68, 68, 68)"] { fill: #14181E !important; }
.st-key-broke-confusion .heatmap-label text[style*="rgb(68, 68, 68)"] { fill: light-dark(#14181E, #FFFFFF) !important;
  stroke: light-dark(transparent, #10151C) !important; stroke-width: 2px !important; paint-order: stroke; }
.js-plotly-plot text[style*="rgb(115, 123, 136)"] { fill: light-dark(#57606D, #A6AEBA) !important; }
.js-plotly-plot text[style*="rgb(128, 132, 149)"] { fill: light-dark(#57606D, #A6AEBA) !important; }
[data-testid=stApp] button[kind^=primary], [data-testid=stApp] button[kind^=primary] p, [data-testid=stApp] button[kind^=primary] span,
[data-testid=stApp] [data-tag-index], [data-testid=stApp] [data-tag-index] span { color: light-dark(#FFFFFF, #0B1118); }
[data-testid=stApp] button[kind=tertiary] p { text-align: left; }
@media (max-width: 640px) { .st-key-explore-where { min-width: 100%; } }
a:focus-visible, button:focus-visible, summary:focus-visible, [role=radio]:focus-visible, [role=tab]:focus-visible,
[role=slider]:focus-visible { outline: 2px solid #3D9BDA; outline-offset: 2px; }
"""


def mend() -> None:
    """To be called once in a run, before a page draws anything."""
    st.html(f"<style>{_CSS}</style>")
