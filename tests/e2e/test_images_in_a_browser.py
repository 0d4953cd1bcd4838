"""Pages about single images in a real browser: the gallery of flips, and drawing in the playground."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import PATIENCE_S, at_rest, browsing, dashboard

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard(tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    with browsing(chromium) as opened:
        yield opened


def test_images_that_flipped_are_shown_with_what_both_said_and_by_class(page: Page, address: str) -> None:
    page.goto(f"{address}/broke")
    told = page.get_by_text(re.compile("^true: "))
    expect(told.first).to_be_visible()
    picture = page.get_by_test_id("stImage").locator("img").first
    expect(picture).to_be_visible()
    # There before it has arrived.
    page.wait_for_function("() => document.querySelector('[data-testid=stImage] img')?.naturalWidth > 0")
    # Charts that are still being drawn move the page, which closes a list.
    page.locator(".js-plotly-plot .main-svg").nth(4).wait_for(state="attached")
    at_rest(page)
    box, name = page.get_by_role("combobox", name="True class"), "Coat"
    box.click()
    box.fill(name)
    expect(page.get_by_role("option", name=name)).to_be_visible()
    box.press("Enter")
    expect(told.filter(has_not_text=f"true: {name}")).to_have_count(0)
    expect(told.first).to_contain_text(f"true: {name}")


def test_a_drawing_is_answered_by_every_recipe_and_can_be_wiped(page: Page, address: str) -> None:
    page.goto(f"{address}/playground")
    page.get_by_text("A drawing", exact=True).click()
    square = page.get_by_role("img", name=re.compile("to draw in"))
    square.scroll_into_view_if_needed()
    box = square.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    for x, y in ((220, 60), (220, 220), (60, 220), (60, 60)):
        page.mouse.move(box["x"] + x, box["y"] + y, steps=5)
    page.mouse.up()
    expect(page.get_by_text("Your drawing, 28 × 28 pixels")).to_be_visible()
    expect(page.get_by_text(re.compile(r"· \d+\.\d %")).first).to_be_visible()
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_text("Your drawing, 28 × 28 pixels")).to_have_count(0)
