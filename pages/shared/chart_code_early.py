"""The code of charts, asked for with the page: Streamlit asks for it when the first chart has come, seconds of reading it later.

A piece of the web server around Streamlit's own: pages that begin with a chart are answered with a `Link` header (`rel=modulepreload`, HTML
standard), so that the browser fetches and compiles those 4.7 MB while the page's script runs. Without the file it adds nothing.
"""

from __future__ import annotations

from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BEGIN_WITH_A_CHART = frozenset({"explore", "trial", "broke", "devices", "compare"})
"""Pages by their names in the address."""


def link() -> str | None:
    """The header's value; None where Streamlit keeps its code otherwise than we know."""
    found = sorted((Path(streamlit.__file__).parent / "static" / "static" / "js").glob("PlotlyChart.*.js"))
    # Relative, as Streamlit's own page names its files.
    return f"<./static/js/{found[0].name}>; rel=modulepreload; crossorigin" if len(found) == 1 else None


class ChartCodeEarly:
    """Wraps the server (an ASGI middleware)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._link = link()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = self._link
        if not told or scope["type"] != "http" or scope["path"].rpartition("/")[2] not in BEGIN_WITH_A_CHART:
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in {200, 304}:
                MutableHeaders(scope=message).append("link", told)
            await send(message)

        await self.app(scope, receive, sending)
