"""One file per page, run by `app.py`; a level below `pages/` so that Streamlit's own scan never runs one without it."""
