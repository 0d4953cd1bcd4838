"""A dashboard of one's own on a free port, and a headless Chromium to look at it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect, sync_playwright

from tests.helpers.places import ROOT

PATIENCE_S = 120
DRAWN = ".js-plotly-plot .scatterlayer .point"
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with code {process.returncode}"
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the server at {url} did not answer within {PATIENCE_S} s")


@contextmanager
def serving(command: list[str], home: Path, port: int) -> Iterator[str]:
    """Run a server until the block ends; its address. What it printed is in `home/server.log`."""
    url = f"http://localhost:{port}"
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PARETOSCOPE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_up(url, process)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=30)


@contextmanager
def dashboard(home: Path) -> Iterator[str]:
    """`paretoscope app`, on a free port."""
    port = free_port()
    command = [sys.executable, "-m", "engine.cli", "app", "--headless", "--port", str(port)]
    with serving(command, home, port) as url:
        yield url


@contextmanager
def browsing(chromium: str, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A fresh page in the system's Chromium; no request of it may leave this machine."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
        page.set_default_timeout(PATIENCE_S * 1000)
        yield page
        browser.close()


def idle(page: Page) -> None:
    """Wait until the page's script has done what the last click asked of it."""
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(state="attached")


_STILL_MS = 700
# Counts from the last change of the page on; what is only pointed at changes nothing.
_AT_REST = """still => {
  if (window.changedAt === undefined) {
    window.changedAt = performance.now();
    new MutationObserver(() => { window.changedAt = performance.now(); }).observe(document.body,
      {subtree: true, childList: true, characterData: true});
  }
  return document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid=stSkeleton], [data-stale=true]') && performance.now() - window.changedAt > still;
}"""


def at_rest(page: Page) -> None:
    """Wait until the script is done, in as many runs as it takes, and nothing has been drawn for a while."""
    page.wait_for_function(_AT_REST, arg=_STILL_MS, polling=100)


def unfold(page: Page, title: str) -> None:
    """Open what is folded under a heading."""
    page.locator("summary").filter(has_text=title).first.click()


def asked(page: Page, name: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(name, [""])[0]


def in_address(page: Page, name: str) -> str | None:
    return parse_qs(urlsplit(page.url).query).get(name, [None])[0]


def start_small_sweep(page: Page) -> None:
    """Quantization alone, measured on 500 images: seconds instead of minutes."""
    page.get_by_role("link", name="New sweep").click()
    expect(page.get_by_role("button", name="Start sweep")).to_be_enabled()
    for chip in ("ds_cnn", "25 %", "50 %", "70 %"):
        page.get_by_role("button", name=chip, exact=True).first.click()
        expect(page.get_by_role("button", name=chip, exact=True).first).to_have_attribute("aria-pressed", "false")
    page.get_by_role("radio", name="500", exact=True).or_(page.get_by_role("button", name="500", exact=True)).click()
    expect(page.get_by_test_id("stMetric").filter(has_text="Recipes")).to_contain_text("3")
    page.get_by_role("button", name="Start sweep").click()
    page.wait_for_url(re.compile("run="))
