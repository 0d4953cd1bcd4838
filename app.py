"""The dashboard: page settings and navigation. Start it with `paretoscope app`."""

import streamlit as st

from pages.ui import shell

st.set_page_config(page_title="Paretoscope", page_icon=shell.ICON, layout="wide")
st.logo(shell.LOGO, size="large")
page = st.navigation(list(shell.pages().values()), position="top")
page.run()
