"""Dragging on charts in a real browser: what is marked in one chart is marked in all and in the table, and a saved view brings it back."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine.frontier.brush import brush_of, inside
from engine.frontier.columns import Trials
from engine.store.example import add_examples
from engine.store.store import Store
from tests.e2e.browser import PATIENCE_S, asked, idle

pytestmark = pytest.mark.browser
STATE = """shape => {
    const chart = document.querySelector(`.st-key-explore-${shape} .js-plotly-plot`);
    if (!chart) return {};
    const marks = [...chart.querySelectorAll(".scatterlayer .trace")].flatMap(group => {
        const trace = group.__data__[0].trace;
        if (!trace.customdata || trace.name === "selected") return [];
        return [...group.querySelectorAll(".point")].map(p => [trace.customdata[p.__data__.i][0], p]);
    });
    const bright = marks.filter(([, p]) => !p.classList.contains("brush-out") && getComputedStyle(p).opacity > 0.5);
    return {
        same: chart.dataset.seen === "yes",
        lit: [...new Set(bright.map(([id]) => id))].sort(),
        all: new Set(marks.map(([id]) => id)).size,
        outlines: chart.querySelectorAll(".brush-over .area").length,
        lines: chart.querySelectorAll(".brush-over .line").length,
    };
}"""


def state(page: Page, shape: str) -> dict[str, object]:
    return dict(page.evaluate(STATE, shape))


def settled(page: Page, shape: str, marked: set[str]) -> dict[str, object]:
    """The chart, as soon as it shows just these as marked."""
    page.wait_for_function(
        f"([shape, ids]) => JSON.stringify(({STATE})(shape).lit) === JSON.stringify(ids)", arg=[shape, sorted(marked)]
    )
    return state(page, shape)


def pane(page: Page, shape: str, number: int = 0) -> tuple[float, float, float, float]:
    """Left, top, width and height of the area of a pane, in sight."""
    area = page.locator(f".st-key-explore-{shape} .nsewdrag").nth(number)
    area.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box = area.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def drag(page: Page, path: list[tuple[float, float]]) -> None:
    before = page.url
    page.mouse.move(*path[0])
    page.mouse.down()
    for at in path[1:]:
        page.mouse.move(*at, steps=4)
    page.mouse.up()
    page.wait_for_url(lambda url: url != before)
    idle(page)


def show(page: Page, name: str) -> None:
    page.get_by_test_id("stButtonGroup").first.get_by_text(name, exact=True).click()


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    """Those of the shipped sweep, which the dashboard opens with."""
    store = Store(f"sqlite:///{tmp_path / 'paretoscope.db'}")
    add_examples(store._engine)
    return Trials.of(store.trials(next(r.id for r in store.sweeps() if "resnet8" in r.id)))


def marked(page: Page, trials: Trials) -> set[str]:
    """Who is in the brush of the address."""
    brush = brush_of(asked(page, "brush"))
    assert brush is not None
    return {trials.ids[i] for i in inside(trials, brush).nonzero()[0]}


def test_what_is_dragged_over_is_marked_everywhere_and_a_saved_view_brings_it_back(
    page: Page, address: str, trials: Trials
) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/explore?chart=parallel&sweep=example-resnet8")
    page.get_by_test_id("stDataFrame").first.wait_for()
    idle(page)

    # Along an axis: the third from above is latency.
    x, y, width, height = pane(page, "parallel")
    row = y + height * (3.5 - 1) / 3.95
    page.evaluate("document.querySelector('.st-key-explore-parallel .js-plotly-plot').dataset.seen = 'yes'")
    drag(page, [(x + width * 0.5, row), (x + width * 0.8, row + 3), (x + width * 0.95, row)])
    assert re.match(r"latency_ms~[0-9.]+~[0-9.]+$", asked(page, "brush"))
    fast = marked(page, trials)
    assert 3 < len(fast) < 24
    found = settled(page, "parallel", fast)
    assert (found["same"], found["all"], found["outlines"], found["lines"]) == (True, 24, 1, len(fast))
    page.get_by_text(f"{len(fast)} of 24 recipes are marked").wait_for()

    # The end of a drag is no click on what lies there.
    assert asked(page, "trial") == ""

    # A second axis narrows it further.
    top = y + height * 0.5 / 3.95
    drag(page, [(x + width * 0.4, top), (x + width * 0.99, top)])
    both = marked(page, trials)
    assert both < fast
    settled(page, "parallel", both)
    show(page, "Matrix")
    settled(page, "matrix", both)
    show(page, "Map of steps")
    settled(page, "map", both)

    # A loop on the frontier takes the brush's place; the chart stays the element that it was, and the table lists what is in the loop.
    show(page, "Frontier")
    settled(page, "chart", both)
    page.locator(".st-key-explore-tool").get_by_role("radio", name="Lasso").click()
    page.locator(".brush-tool").wait_for()
    page.evaluate("document.querySelector('.st-key-explore-chart .js-plotly-plot').dataset.seen = 'yes'")
    x, y, width, height = pane(page, "chart")
    around = [math.pi * k / 15 for k in range(31)]
    drag(page, [(x + width * (0.45 + 0.35 * math.cos(a)), y + height * (0.4 + 0.35 * math.sin(a))) for a in around])
    assert asked(page, "brush").startswith("lasso~latency_ms~lin~accuracy~lin~")
    looped = marked(page, trials)
    assert looped != both
    assert settled(page, "chart", looped)["same"] is True
    page.get_by_text(f"{len(looped)} of 24 recipes are marked").wait_for()
    page.get_by_role("button", name="Keep", exact=True).click()
    page.wait_for_url(lambda url: "cuts=keep" in url)
    page.wait_for_function(f"([shape, n]) => ({STATE})(shape).all === n", arg=["chart", len(looped)])
    idle(page)

    # Under a name, and in another session from there.
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Save what is shown as").fill("round *[1]")
    page.get_by_label("Save what is shown as").press("Enter")
    page.get_by_role("button", name="Save this view").click()
    page.get_by_text("is saved").wait_for()
    kept, url = state(page, "chart"), page.url
    other = page.context.browser.new_page() if page.context.browser else page
    other.set_default_timeout(PATIENCE_S * 1000)
    other.goto(f"{address}/explore?chart=map")
    other.get_by_test_id("stDataFrame").first.wait_for()
    idle(other)
    other.get_by_role("button", name="Views").click()
    other.get_by_role("button", name="round *[1]").click()
    other.locator(".st-key-explore-chart .js-plotly-plot .point").first.wait_for(state="attached")
    other.wait_for_function(f"([shape, n]) => ({STATE})(shape).all === n", arg=["chart", len(looped)])
    idle(other)
    assert state(other, "chart")["lit"] == kept["lit"]
    other.wait_for_url(url)
    assert errors == []
