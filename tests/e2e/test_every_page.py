"""Every page in a real browser, wide and light, narrow and dark: it fits the screen, logs no error, can be reached by keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.e2e.axe import faint_chart_text, violations
from tests.e2e.browser import CHROMIUM_FLAGS, PATIENCE_S, at_rest, browsing, dashboard, idle, in_address

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)
CHART = ".js-plotly-plot .main-svg"
PAGES = {
    "": "Small chart of accuracy",
    "explore": CHART,
    "trial": CHART,
    "broke": CHART,
    "devices": CHART,
    "compare": CHART,
    "playground": "img",
    "new-sweep": "Start sweep",
}
CHART_AND_PICKER = {
    "devices": ("devices-heat-map", "devices-sweep"),
    "compare": ("compare-accuracy", "compare-sweep"),
}
# On a deep link Streamlit's own script asks for this at each level of the path, to find out where the server lives.
PROBE = re.compile(r"/_stcore/(health|host-config)")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard(tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture(scope="module", params=[(1280, "light"), (420, "dark")], ids=["wide", "narrow"])
def screen(chromium: str, request: pytest.FixtureRequest) -> Iterator[tuple[Page, int, str]]:
    width, scheme = request.param
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(PATIENCE_S * 1000)
        yield page, width, scheme
        browser.close()


def is_ours(message: ConsoleMessage) -> bool:
    return message.type == "error" and not PROBE.search(message.location.get("url", ""))


def what_is_drawn(page: Page, name: str) -> Locator:
    """What must be there before the page counts as drawn."""
    wanted = PAGES[name]
    found = {
        "Small chart of accuracy": page.get_by_alt_text(re.compile(wanted)),
        "Start sweep": page.get_by_role("button", name=wanted),
    }.get(wanted, page.locator(wanted))
    return found.first


# A server each, so not every page: the first, one of a sweep, and one with an address other than its file's name.
@pytest.mark.parametrize("name", ["", "trial", "broke"])
def test_a_link_to_a_page_works_on_a_fresh_server(chromium: str, tmp_path: Path, name: str) -> None:
    """Streamlit greets the first visitor of a deep link with "Page not found" unless the server is told otherwise."""
    with dashboard(tmp_path) as url, browsing(chromium) as page:
        page.goto(f"{url}/{name}")
        what_is_drawn(page, name).wait_for(state="attached")
        expect(page.get_by_text("Page not found")).to_have_count(0)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_and_logs_no_error(screen: tuple[Page, int, str], address: str, name: str) -> None:
    page, width, scheme = screen
    errors: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if is_ours(message):
            errors.append(f"{message.text} {message.location}")

    page.on("console", listen)
    page.goto(f"{address}/{name}")
    what_is_drawn(page, name).wait_for(state="attached")
    # Until nothing more is drawn: Explore and others draw in two runs.
    page.wait_for_timeout(1500)
    at_rest(page)
    page.remove_listener("console", listen)
    assert not errors
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nothing may stick out of the page, unless it scrolls by itself.
    assert not page.evaluate(
        """width => [...document.querySelectorAll('[data-testid=stMainBlockContainer] > * > *')]
        .map(e => [e.getBoundingClientRect().right, e.textContent.slice(0, 40)]).filter(([right]) => right > width + 1)""",
        width,
    )
    background = page.evaluate("getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    red, green, blue = map(int, re.findall(r"\d+", background)[:3])
    assert (red + green + blue < 200) == (scheme == "dark")
    # Charts say in words what they show.
    assert not page.evaluate(
        """() => [...document.querySelectorAll('[data-testid=stPlotlyChart]')]
        .filter(e => !e.querySelector('[aria-label]') && !e.closest('[aria-label]')).length"""
    )
    # And have their numbers beside them, for who listens.
    assert not page.evaluate(
        """() => [...document.querySelectorAll('[data-testid=stPlotlyChart]')]
        .filter(e => !e.closest('[data-testid=stVerticalBlock]').querySelector(':scope table tbody tr')).length"""
    )
    assert not violations(page)
    assert not faint_chart_text(page)
    if pair := CHART_AND_PICKER.get(name):
        # On a telephone the chart comes before what it is picked with.
        chart, picker = (page.locator(f".st-key-{key}").bounding_box() for key in pair)
        assert chart
        assert picker
        assert (chart["y"] < picker["y"]) == (width < 640)


def test_keys_go_to_pages_walk_through_recipes_and_are_listed(screen: tuple[Page, int, str], address: str) -> None:
    page, _, _ = screen
    page.goto(f"{address}/explore")
    page.locator(CHART).first.wait_for(state="attached")
    page.keyboard.press("Tab")
    expect(page.get_by_test_id("stSkipToContent")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert not violations(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url(re.compile("/trial"))
    page.locator(CHART).first.wait_for(state="attached")
    page.wait_for_url(re.compile("trial="))
    # The browser draws a moment after the script has ended: before that there is nothing to go through.
    page.locator("[class*=next-recipe] button").locator("visible=true").first.wait_for()
    before = in_address(page, "trial")
    page.keyboard.press("j")
    page.wait_for_url(lambda url: f"trial={before}" not in url)
    # The address changes before the ways to the neighbours do.
    idle(page)
    page.keyboard.press("k")
    page.wait_for_url(re.compile(f"trial={before}"))
    idle(page)
    with page.expect_download() as waiting:
        page.keyboard.press("e")
    assert waiting.value.suggested_filename.endswith(f"{before}.zip")
    # Where somebody writes, letters are letters.
    page.keyboard.press("/")
    page.keyboard.type("gd?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
    assert "/trial" in page.url


def test_the_keyboard_reaches_the_controls_of_explore(screen: tuple[Page, int, str], address: str) -> None:
    page, width, _ = screen
    page.goto(f"{address}/explore")
    page.get_by_role("slider", name="File size").wait_for()
    # On a telephone the chart comes before what it is picked with.
    page.wait_for_function(
        """isAbove => {
          const [chart, pickers] = ['.st-key-explore-chart', '.st-key-pick-x'].map(name => document.querySelector(name));
          return chart && pickers && (chart.getBoundingClientRect().y < pickers.getBoundingClientRect().y) === isAbove;
        }""",
        arg=width < 640,
    )
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent")
        )
    said = " | ".join(r for r in reached if r)
    for control in ("Sweep", "Across", "Up", "Colour", "Device", "File size"):
        assert control in said
