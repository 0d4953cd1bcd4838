"""The code of charts is asked for with the pages that begin with one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import streamlit

from pages.shared.chart_code_early import BEGIN_WITH_A_CHART, ChartCodeEarly, link
from pages.shared.shell import pages

pytestmark = pytest.mark.usefixtures("home")


def links(path: str, status: int = 200) -> list[str]:
    """The `Link` headers with which a path is answered."""
    sent: list[Any] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/html")]})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "headers": []}
    asyncio.run(ChartCodeEarly(server)(scope, None, send))  # type: ignore[arg-type]
    return [value.decode() for name, value in sent[0]["headers"] if name == b"link"]


def test_pages_that_begin_with_a_chart_name_a_file_that_there_is():
    told = link()
    assert told is not None
    assert (Path(streamlit.__file__).parent / "static" / told[3:].partition(">")[0]).is_file()
    assert links("/explore") == links("/behind/a/proxy/trial") == [told]


@pytest.mark.parametrize("path", ["/", "/new-sweep", "/static/js/explore.js", "/_stcore/health"])
def test_nothing_else_does(path: str):
    assert links(path) == []


def test_an_error_does_not():
    assert links("/explore", 404) == []


def test_they_are_pages_of_ours():
    assert set(pages()) >= BEGIN_WITH_A_CHART
