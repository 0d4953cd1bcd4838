"""Charts in a real browser: zoom, selection, new points."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.e2e.browser import DRAWN, PATIENCE_S, asked, dashboard, idle
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)
CHART = """shape => {
    const chart = document.querySelector(`.st-key-explore-${shape} .js-plotly-plot`);
    if (!chart || !chart._fullLayout) return null;
    const layout = chart._fullLayout;
    return {
        same: chart.dataset.seen === "yes",
        across: layout.xaxis ? layout.xaxis.range : null,
        eye: layout.scene ? layout.scene._scene.getCamera().eye : null,
        rings: chart.data.filter(t => t.name === "selected").flatMap(t => t.customdata.map(owner => owner[0])),
        points: chart.querySelectorAll(".scatterlayer .point").length,
    };
}"""
"""The chart of a shape in the browser: whether it is the element that `remember` marked, its zoom, whom it shows as selected."""


def chart(page: Page, shape: str, **wanted: object) -> dict[str, object]:
    """The chart of a shape, as soon as it is as wanted."""
    found = None
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = page.evaluate(CHART, shape)
        if found and all(found[name] == value for name, value in wanted.items()):
            return dict(found)
        page.wait_for_timeout(100)
    raise AssertionError(f"the chart {shape} is {found}, not {wanted}")


def remember(page: Page, shape: str) -> None:
    page.evaluate(
        "shape => document.querySelector(`.st-key-explore-${shape} .js-plotly-plot`).dataset.seen = 'yes'", shape
    )


def zoom_in(page: Page, shape: str) -> object:
    """Press the chart's button for it; the range of the axis across afterwards."""
    before = chart(page, shape)["across"]
    page.locator(f".st-key-explore-{shape} .js-plotly-plot").hover()
    page.locator(f".st-key-explore-{shape} [data-title='Zoom in']").click()
    changed = f"([shape, before]) => JSON.stringify(({CHART})(shape).across) !== before"
    page.wait_for_function(changed, arg=[shape, json.dumps(before, separators=(",", ":"))])
    # Once the server knows, the address says it.
    page.wait_for_url(lambda url: "zoom=" in url)
    idle(page)
    return chart(page, shape)["across"]


def click_in_sight(page: Page, shape: str) -> str:
    """Click a mark near the middle of the chart, which a zoom has left in sight; the trial that is selected then."""
    before = asked(page, "trial")
    marks = page.locator(f".st-key-explore-{shape} {DRAWN}")
    area = page.locator(f".st-key-explore-{shape} .nsewdrag").first.bounding_box()
    assert area is not None
    for number in range(marks.count()):
        box = marks.nth(number).bounding_box()
        if box and all(
            area[k] + 20 < box[k] < area[k] + area[size] - 30 for k, size in (("x", "width"), ("y", "height"))
        ):
            marks.nth(number).click(force=True)
            page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("trial", [""])[0] not in {"", before})
            return asked(page, "trial")
    raise AssertionError("no mark is in sight")


def show_shape(page: Page, name: str) -> None:
    group = page.get_by_test_id("stButtonGroup").first
    group.get_by_text(name, exact=True).click()


def select_row(page: Page, number: int) -> str:
    """Tick a row of the table, a canvas with a header of 36 pixels and rows of 35; the trial that is selected then."""
    before = asked(page, "trial")
    table = page.get_by_test_id("stDataFrame").first.locator(".dvn-scroller")
    table.scroll_into_view_if_needed()
    table.click(position={"x": 16, "y": 36 + 35 * number + 17})
    page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("trial", [""])[0] not in {"", before})
    return asked(page, "trial")


def test_a_recipe_that_is_selected_in_one_chart_is_selected_in_all(page: Page, address: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/explore")
    page.locator(f".st-key-explore-chart {DRAWN}").first.wait_for(state="attached")
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()

    # The chart in which one clicks is not drawn anew, so it is as far in as before.
    zoomed = zoom_in(page, "chart")
    remember(page, "chart")
    first = click_in_sight(page, "chart")
    # Until the recipe is drawn, the first heading is that of the options.
    expect(page.get_by_role("heading").first).not_to_have_text("Which option matters")
    heading = page.get_by_role("heading").first.inner_text()
    page.wait_for_timeout(1000)
    assert chart(page, "chart", same=True)["across"] == zoomed

    # A link shows it to somebody else as far in, and with the same recipe.
    shared = page.url
    other = page.context.browser.new_page() if page.context.browser else page
    other.goto(shared)
    assert chart(other, "chart", rings=[first])["across"] == pytest.approx(zoomed, rel=1e-3)
    assert other.url == shared
    other.close()

    # In a chart of several panes each shows it; a click there moves all of them.
    show_shape(page, "Matrix")
    assert chart(page, "matrix", rings=[first] * 6)["points"]
    second = click_in_sight(page, "matrix")
    assert second != first
    chart(page, "matrix", rings=[second] * 6)
    expect(page.get_by_role("heading").first).not_to_have_text(heading)

    # Lines: one mark on each axis.
    show_shape(page, "Parallel")
    chart(page, "parallel", rings=[second] * 4)
    third = click_in_sight(page, "parallel")
    chart(page, "parallel", rings=[third] * 4)

    # The table says the same, and selects in the chart above it.
    show_shape(page, "Map of steps")
    chart(page, "map", rings=[third])
    fourth = select_row(page, 2)
    chart(page, "map", rings=[fourth])

    # In space it is there, too; and back in the first chart, with the zoom that was left, or all of it where that would hide the mark.
    show_shape(page, "3-D")
    chart(page, "3d", rings=[fourth])
    show_shape(page, "Frontier")
    chart(page, "chart", rings=[fourth])
    assert errors == []


def test_a_mark_in_space_is_selected_by_a_click_and_the_view_stays_as_turned(page: Page, address: str) -> None:
    page.goto(f"{address}/explore?chart=3d")
    straight = chart(page, "3d", rings=[])["eye"]
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    page.locator(".st-key-explore-3d .js-plotly-plot").scroll_into_view_if_needed()
    box = page.locator(".st-key-explore-3d .js-plotly-plot").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 60, y + 150)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, y + 140, steps=5)
    page.mouse.up()
    page.wait_for_url(lambda url: "zoom=eye" in url)
    turned = chart(page, "3d")["eye"]
    assert turned != straight
    assert asked(page, "trial") == ""
    for across in range(-150, 151, 12):
        for up in range(-150, 151, 12):
            page.mouse.move(x + across, y + up)
            page.wait_for_timeout(30)
            # Drawing without a graphics card lags behind the pointer, so that not every hit is one.
            if not asked(page, "trial") and page.locator(".st-key-explore-3d .hovertext").count():
                page.wait_for_timeout(300)
                page.mouse.down()
                page.wait_for_timeout(300)
                page.mouse.up()
                page.wait_for_timeout(1500)
            if asked(page, "trial"):
                found = chart(page, "3d", rings=[asked(page, "trial")])
                assert found["eye"] == pytest.approx(turned)
                return
    raise AssertionError("there is no mark under the pointer anywhere")


def test_recipes_that_are_new_are_shown_when_asked_and_the_zoom_stays(page: Page, tmp_path: Path) -> None:
    # A home of its own: on other pages the newest sweep is the one that is shown.
    with dashboard(tmp_path) as address:
        watch_a_sweep(page, address, Store(f"sqlite:///{tmp_path / 'paretoscope.db'}"))


def watch_a_sweep(page: Page, address: str, store: Store) -> None:
    sweep = parse_sweep({"name": "running", "model": {"source": "resnet8"}, "space": SPACE})
    trials = [replace(t, finished_s=10.0 * i) for i, t in enumerate(sweep_trials())]
    store.begin(sweep, [Trial(id=t.id, recipe=t.recipe) for t in trials], nodes_total=110, nodes_done=0)
    for made in trials[:20]:
        store.save_trial(sweep.id, made)
    page.goto(f"{address}/explore?sweep={sweep.id}")
    points = chart(page, "chart")["points"]
    expect(page.get_by_text("what is measured so far is shown")).to_be_visible()
    store.beat(sweep.id, nodes_done=80, elapsed_s=200.0, remaining_s=40.0)
    zoomed = zoom_in(page, "chart")
    store.beat(sweep.id, nodes_done=81, elapsed_s=201.0, remaining_s=39.0)
    chosen = click_in_sight(page, "chart")
    remember(page, "chart")
    for made in trials[20:23]:
        store.save_trial(sweep.id, made)
    store.beat(sweep.id, nodes_done=90, elapsed_s=230.0, remaining_s=10.0)
    button = page.get_by_role("button", name="3 new recipes: show them")
    expect(button).to_be_visible()
    # Until asked for, the chart is left alone.
    assert chart(page, "chart", same=True)["points"] == points
    store.beat(sweep.id, nodes_done=91, elapsed_s=231.0, remaining_s=9.0)
    button.click()
    found = chart(page, "chart", same=False, rings=[chosen])
    assert found["across"] == pytest.approx(zoomed)
    assert isinstance(points, int)
    assert found["points"] >= points + 3
    store.end(sweep.id, "done")
    expect(page.get_by_text("This sweep is still running")).to_have_count(0)
    show_shape(page, "Progress")
    chart(page, "progress", rings=[chosen])
