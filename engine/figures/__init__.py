"""Trials -> plotly: `..._info` computes, a small function draws; nothing here knows of streamlit."""
