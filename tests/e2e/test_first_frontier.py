"""The main job in a real browser: see the example's frontier, run a small sweep, pick a recipe, take it home."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import DRAWN, PATIENCE_S, at_rest, browsing, dashboard, idle, in_address, start_small_sweep
from tests.helpers.places import ROOT

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)
RUN_S = 420
# The charts by the keys that the pages give them: the form of a new sweep has a small chart of its own.
EXPLORE, LIVE = f".st-key-explore-chart {DRAWN}", f"[class*='st-key-live'] {DRAWN}"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    home = tmp_path / "home"
    home.mkdir()
    with dashboard(home) as url:
        yield url


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with browsing(chromium) as opened:
        yield opened


def outside_requests(page: Page) -> list[str]:
    """Collects the addresses of requests that leave this machine."""
    found: list[str] = []

    def check(url: str) -> None:
        if urlsplit(url).hostname not in {"localhost", "127.0.0.1", None}:
            found.append(url)

    page.on("request", lambda request: check(request.url))
    return found


def click_point(page: Page, number: int) -> None:
    """Click a drawn point once all of the page is there; its trial goes into the address."""
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    idle(page)
    before = in_address(page, "trial")
    page.locator(EXPLORE).nth(number).click(force=True)
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("trial", [None])[0] not in {before, None})


def select_row(page: Page, number: int) -> None:
    """Tick a table row's box. The table is a canvas: a header of 36 pixels, then rows of 35."""
    table = page.get_by_test_id("stDataFrame").first.locator(".dvn-scroller")
    table.scroll_into_view_if_needed()
    table.click(position={"x": 16, "y": 36 + 35 * number + 17})


def test_from_first_visit_to_a_bundle(page: Page, address: str, tmp_path: Path) -> None:
    left = outside_requests(page)
    page.goto(address)
    page.get_by_role("button", name="Open the example").click()
    expect(page.get_by_text("Example that ships with Paretoscope, really run")).to_be_visible()
    page.locator(EXPLORE).nth(5).wait_for(state="attached")

    start_small_sweep(page)
    # Counted in the moment in which there are any: the next one may have none, while the chart is drawn anew.
    seen = page.wait_for_function("shown => document.querySelectorAll(shown).length", arg=LIVE, timeout=RUN_S * 1000)
    first_seen = int(seen.json_value())
    expect(page.get_by_text("The sweep is done")).to_be_visible(timeout=RUN_S * 1000)
    # The chart may be drawn anew just now: once it is there again, no recipe that was seen is missing.
    page.locator(LIVE).nth(first_seen - 1).wait_for(state="attached")
    sweep = in_address(page, "run")

    page.get_by_role("link", name="Explore its frontier").click()
    page.wait_for_url(re.compile(f"sweep={sweep}"))
    page.locator(EXPLORE).first.wait_for(state="attached")
    click_point(page, 0)
    expect(page.get_by_role("button", name="Export bundle")).to_be_visible()
    clicked = in_address(page, "trial")

    select_row(page, 1 if clicked == row_trial(page, tmp_path, sweep, 0) else 0)
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query)["trial"][0] != clicked)
    bundle = tmp_path / "bundle.zip"
    with page.expect_download() as download:
        page.get_by_role("button", name="Export bundle").click()
    download.value.save_as(bundle)
    check_bundle(bundle, tmp_path / "bundle")
    assert left == []


def row_trial(page: Page, tmp_path: Path, sweep: str | None, row: int) -> str:
    """The trial in a table row: the table has the order of `paretoscope trials`."""
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "trials", str(sweep), "--json"],
        cwd=ROOT,
        env={**os.environ, "PARETOSCOPE_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout)[row]["id"])


def check_bundle(bundle: Path, folder: Path) -> None:
    """All its parts are there, and its own check passes."""
    with zipfile.ZipFile(bundle) as archive:
        names = {Path(n).name for n in archive.namelist()}
        archive.extractall(folder)
    assert {"model.onnx", "recipe.yaml", "preprocess.json", "labels.txt", "card.md", "verify.py"} <= names
    script = next(folder.rglob("verify.py"))
    done = subprocess.run([sys.executable, str(script)], cwd=script.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_shared_link_restores_axes_limits_and_trial(page: Page, address: str) -> None:
    page.goto(f"{address}/explore?x=size_bytes&colour=energy_mj")
    page.locator(EXPLORE).first.wait_for(state="attached")
    click_point(page, 0)
    page.wait_for_url(re.compile("trial="))
    # What is known of the recipe stands before the options, whose heading is the first until it is drawn.
    expect(page.get_by_role("heading").first).not_to_have_text("Which option matters")
    idle(page)
    heading = page.get_by_role("heading").first.inner_text()
    slider = page.get_by_role("slider", name="File size")
    slider.press("ArrowLeft")
    page.wait_for_url(re.compile("max_size_bytes="))
    expect(page.get_by_text("recipes remain.")).to_be_visible()
    expect(page.get_by_role("heading").first).to_have_text(heading)
    idle(page)
    shared = page.url
    assert "trial=" in shared
    page.context.clear_cookies()
    page.goto("about:blank")
    page.goto(shared)
    expect(page.get_by_role("heading").first).to_have_text(heading)
    expect(page.get_by_text("recipes remain.")).to_be_visible()
    # The address is rewritten, if at all, at the end of a run.
    at_rest(page)
    assert page.url == shared
