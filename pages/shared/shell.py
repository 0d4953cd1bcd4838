"""The frame around every page: which pages there are, who is let in, and how mistakes are told."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Literal

import streamlit as st
from starlette.middleware import Middleware
from streamlit.navigation.page import StreamlitPage
from streamlit.runtime.pages_manager import PagesManager

from engine.access import Role
from engine.errors import InputError, SetupError, StepError
from engine.scratch import own_temporary_files
from pages.shared import access, address
from pages.shared.return_to_page import ReturnToPage

PAGES = Path(__file__).resolve().parent.parent

# Drawn here because Streamlit fetches a page icon that is named rather than given from the network.
_MARK = """<path d="M3 21 V3 M3 21 H21" stroke="#8C95A3" stroke-width="1.6" fill="none"/>
<path d="M6 17 H10 V12 H14 V8 H20" stroke="#1F83C6" stroke-width="2" fill="none"/>
<circle cx="6" cy="17" r="2.2" fill="#1F83C6"/><circle cx="14" cy="8" r="2.2" fill="#1F83C6"/>
<path d="M10 8.6 L13.4 12 L10 15.4 L6.6 12 Z" fill="none" stroke="#E08A00" stroke-width="1.8"/>"""
ICON = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="24" height="24">{_MARK}</svg>'
LOGO = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 136 24" width="136" height="24">{_MARK}
<text x="29" y="17.5" font-family="sans-serif" font-weight="600" font-size="16" fill="#1F83C6" textLength="104"
lengthAdjust="spacingAndGlyphs">Paretoscope</text></svg>"""

MIDDLEWARE = [Middleware(ReturnToPage)]


def pages() -> dict[str, StreamlitPage]:
    """Every page by its name in the address. The default page answers at `/` only, so links by its name have a page too.

    Who may not run anything does not see the page for it in the navigation; it is there all the same, and says why it is empty.
    """
    overview = PAGES / "overview" / "page.py"
    return {
        "overview": st.Page(overview, title="Overview", icon=":material/home:", url_path="home", default=True),
        "overview by name": st.Page(overview, title="Overview", url_path="overview", visibility="hidden"),
        "explore": _page("explore", "Explore", ":material/scatter_plot:"),
        "trial": _page("trial", "Trial", ":material/science:"),
        "broke": _page("broke", "What broke", ":material/broken_image:"),
        "devices": _page("devices", "Devices", ":material/memory:"),
        "compare": _page("compare", "Compare", ":material/compare_arrows:"),
        "playground": _page("playground", "Playground", ":material/image_search:"),
        "new-sweep": _page("new-sweep", "New sweep", ":material/add_circle:", is_listed=access.may("editor")),
    }


def _page(name: str, title: str, icon: str, is_listed: bool = True) -> StreamlitPage:
    view = PAGES / title.lower().replace(" ", "_") / "page.py"
    return st.Page(view, title=title, icon=icon, url_path=name, visibility="visible" if is_listed else "hidden")


def check_server() -> None:
    """Before the server begins: where its access file asks for a login that cannot work, one line and exit code 2."""
    try:
        access.check_server()
    except SetupError as error:
        sys.stderr.write(f"paretoscope: {error}\n")
        sys.exit(2)


def navigation_position() -> Literal["top", "hidden"]:
    """Pages are listed for who may look at them, and not in a presentation."""
    return "top" if access.may("viewer") and st.query_params.get("present") != "1" else "hidden"


def guard(role: Role = "viewer") -> None:
    """Go on only for who has the role; for everybody else say what to do, and end the run.

    To be called first by every page, by `app.py` before any page, and again where a part of a page takes a higher role.
    """
    try:
        found = access.standing()
    except SetupError as error:
        access.log_unusable(error)
        st.error(
            "Nobody can be let in: the access file of this server has a mistake. The server’s log names it, for whoever runs it.",
            icon=":material/lock:",
        )
        st.stop()
    if found in {"anonymous", "expired"}:
        _sign_in("Your sign-in has run out." if found == "expired" else "Sign in to see the sweeps of this server.")
    elif found == "unknown":
        st.error(
            f"You are signed in, but {plain(access.name() or '')} has no role here. Whoever runs this server gives roles; "
            "with another account, sign out first.",
            icon=":material/lock:",
        )
        _sign_out()
    elif found == "editor" or role == "viewer":
        return
    else:
        st.info(
            "Your role here is viewer: you may look at everything and export it. Starting, cancelling and deleting take the role "
            "editor, which whoever runs this server gives.",
            icon=":material/lock:",
        )
        st.page_link(pages()["explore"], label="Explore what there is")
    st.stop()


def fragment(run_every: float | None = None) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """`st.fragment` for pages: it runs without `app.py` and without its page, so it looks at access and mistakes by itself."""

    def decorate(draw: Callable[[], None]) -> Callable[[], None]:
        @st.fragment(run_every=run_every)
        def guarded() -> None:
            if not access.may("viewer"):
                # The whole page says why.
                st.rerun()
            with one_line_errors():
                draw()

        return guarded

    return decorate


def who_am_i() -> None:
    """Who is signed in, with which role, and the way out; nothing where there is no login."""
    name = access.name()
    if name is None:
        return
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center", key="who am i"):
        st.caption(f"{plain(name)} · {access.standing()}", width="content")
        _sign_out()


def _sign_in(why: str) -> None:
    st.subheader("Paretoscope", anchor=False)
    st.markdown(f"{why} You come back to this page afterwards.")
    for provider in access.providers():
        label = "Sign in" if provider is None else f"Sign in with {provider}"
        if st.button(label, key=f"sign in {provider}", type="primary", icon=":material/login:"):
            st.login(provider)


def _sign_out() -> None:
    if st.button("Sign out", key="sign out", icon=":material/logout:", type="tertiary"):
        st.logout()


@asynccontextmanager
async def lifespan(_server: st.App) -> AsyncIterator[None]:
    """What the server does before the first visit."""
    own_temporary_files()
    # Until `st.navigation` has run once, Streamlit takes our folder `pages/` for its own old kind of pages, and greets whoever comes
    # first by a link to a page with "Page not found" (streamlit issue 8860; tried with 1.67).
    PagesManager.uses_pages_directory = False
    # Paid here, these imports are not paid by the first visitor.
    for module in (
        "pandas",
        "plotly.graph_objects",
        "engine.figures.frontier",
        "engine.run.forecast",
        "engine.store.store",
    ):
        import_module(module)
    yield


def chart_first(page: str) -> bool:
    """Whether to leave out all but the chart: true on the first run of a page in a visit, which is run again at once.

    The browser needs seconds to read the code of the chart, of tables and of tiles; told of all at once, it draws the chart last.
    A second is what the code of the chart takes to arrive; from then on the timer of the second run waits for it to be drawn.
    """
    seen = f"seen {page}"
    if st.session_state.get(seen):
        return False

    @st.fragment(run_every=1.0)
    def again() -> None:
        if st.session_state.get(seen):
            address.rerun()

    again()
    st.session_state[seen] = True
    return True


def unexpected(error: Exception) -> bool:
    """Tell of a defect of ours in plain words, and log it whole; True says that nothing more need be shown."""
    logging.getLogger("paretoscope").error("a page failed", exc_info=error)
    st.error(
        "Something went wrong on our side. The server’s log says what; reloading the page may help.",
        icon=":material/bug_report:",
    )
    return True


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show what is wrong with the user's input as one line; anything else is a defect and goes to the log."""
    try:
        yield
    except (InputError, StepError) as error:
        # A message quotes what somebody wrote.
        st.error(plain(str(error)), icon=":material/error:")


def plain(text: str) -> str:
    """Text of a user's for Markdown: what Markdown, or Streamlit's own extras of it, would read in it is escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+-.!|~:$" else c for c in " ".join(text.split()))
