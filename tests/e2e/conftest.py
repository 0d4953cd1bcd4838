"""What browser tests start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.e2e.browser import browsing, dashboard


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with dashboard(home) as url:
        yield url


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with browsing(chromium) as opened:
        yield opened
