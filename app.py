"""The dashboard: page settings, access and navigation. Start it with `paretoscope app`, or `streamlit run app.py`.

Streamlit reads this file twice: once as a module, for the server `app`, and then for every visit as a script.
"""

import streamlit as st

from engine.datasets.function import forbid_functions
from pages.shared import looks, settled, shell, shortcuts

# Whoever visits may name a dataset, so a Python function that returns one is never run here.
forbid_functions()

if __name__ == "__main__":
    st.set_page_config(page_title="Paretoscope", page_icon=shell.ICON, layout="wide")
    st.logo(shell.LOGO, size="large")
    page = st.navigation(list(shell.pages().values()), position=shell.navigation_position())
    shell.guard()
    shell.who_am_i()
    looks.mend()
    shortcuts.listen()
    page.run()
    settled.settle(page.url_path)
else:
    shell.check_server()
    app = st.App(__file__, lifespan=shell.lifespan, middleware=shell.MIDDLEWARE, on_script_error=shell.unexpected)
