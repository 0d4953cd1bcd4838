"""Overview, the charts of Explore, compare, playground and the standalone report in a real browser."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import DRAWN, PATIENCE_S, asked, browsing, unfold
from tests.helpers.places import ROOT

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)


def test_a_card_has_its_picture_and_leads_to_the_frontier(page: Page, address: str) -> None:
    page.goto(address)
    picture = page.get_by_alt_text(re.compile("Small chart of accuracy")).first
    expect(picture).to_be_visible()
    # There before it has arrived.
    page.wait_for_function("() => document.querySelector('img[alt*=\"Small chart of accuracy\"]')?.naturalWidth > 0")
    page.get_by_role("link", name="Explore", exact=True).last.click()
    page.wait_for_url(re.compile(r"/explore\?.*sweep="))
    page.locator(f".st-key-explore-chart {DRAWN}").first.wait_for(state="attached")


def test_recipes_put_aside_on_explore_are_compared_and_a_link_restores_it(page: Page, address: str) -> None:
    page.goto(f"{address}/explore")
    chart = page.locator(f".st-key-explore-chart {DRAWN}")
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    picked: list[str] = []
    # Marks that lie apart: of those that lie upon each other a click takes the one on top.
    for number in (3, 5):
        chart.nth(number).click(force=True)
        page.wait_for_url(lambda url: parse_qs(urlsplit(url).query).get("trial", [""])[0] not in {"", *picked})
        picked.append(asked(page, "trial"))
        page.get_by_role("button", name="Add to comparison").click()
        expect(page.get_by_role("button", name="Take out of comparison")).to_be_visible()
    page.get_by_role("link", name="Compare 2 recipes").first.click()
    page.wait_for_url(re.compile(r"/compare\?.*trials="))
    expect(page.get_by_text("Can the test samples tell them apart?")).to_be_visible()
    page.locator(".st-key-compare-costs .barlayer .point").first.wait_for(state="attached")
    shared = page.url
    assert sorted(asked(page, "trials").split(",")) == sorted(picked)
    page.goto("about:blank")
    page.goto(shared)
    expect(page.get_by_text("Can the test samples tell them apart?")).to_be_visible()
    assert asked(page, "trials") == parse_qs(urlsplit(shared).query)["trials"][0]


def test_a_link_to_a_trial_says_where_its_bytes_are_and_why_it_is_not_faster(page: Page, address: str) -> None:
    page.goto(f"{address}/explore")
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
    page.locator(f".st-key-explore-chart {DRAWN}").nth(3).click(force=True)
    page.get_by_role("link", name="Everything about this recipe").click()
    page.wait_for_url(re.compile(r"/trial\?.*trial="))
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    unfold(page, "Why: speed and bytes")
    expect(page.get_by_text("bytes: the whole file").first).to_be_visible()
    page.locator(".st-key-trial-types .barlayer .point").first.wait_for(state="attached")
    assert page.url == link
    page.get_by_role("button", name="Profile it beside the baseline").click()
    expect(page.get_by_text(re.compile("so far")).first).to_be_visible()
    page.locator(".st-key-trial-Time-by-operator-type .barlayer .point").first.wait_for(state="attached")
    expect(page.get_by_text(re.compile("ms in kernels per sample against")).first).to_be_visible()
    # The next visitor finds the answer.
    page.goto("about:blank")
    page.goto(link)
    unfold(page, "Why: speed and bytes")
    page.locator(".st-key-trial-Time-by-operator-type .barlayer .point").first.wait_for(state="attached")
    expect(page.get_by_role("button", name="Profile it beside the baseline")).to_have_count(0)


def test_nothing_on_the_trial_page_is_wider_than_a_phone(chromium: str, address: str) -> None:
    with browsing(chromium, width=420) as phone:
        phone.goto(f"{address}/trial")
        phone.locator(".st-key-trial-recall .point").first.wait_for(state="attached")
        for title in ("Where it breaks", "Why: speed and bytes", "Layers and network"):
            unfold(phone, title)
        phone.locator(".st-key-trial-types .barlayer .point").first.wait_for()
        wide = phone.evaluate(
            "[...document.querySelectorAll('[data-testid=stMain] *')].filter(e => e.scrollWidth > e.clientWidth + 1 &&"
            # A table of many columns scrolls by itself.
            " getComputedStyle(e).overflowX === 'auto' && !e.matches(':has(> table)')).map(e => e.outerHTML.slice(0, 120))"
        )
        assert wide == []


def test_a_picture_of_mine_is_answered_and_a_wrong_file_refused(page: Page, address: str, tmp_path: Path) -> None:
    from PIL import Image

    picture, program = tmp_path / "shoe.png", tmp_path / "program.png"
    Image.new("RGB", (80, 60), (120, 120, 120)).save(picture)
    program.write_bytes(b"MZ this is a program")
    page.goto(f"{address}/playground")
    expect(page.get_by_text(re.compile("It is: "))).to_be_visible()
    page.get_by_text("A picture of mine").click()
    chooser = page.locator("input[type=file]")
    chooser.set_input_files(picture)
    expect(page.get_by_text("Your picture, 28 × 28 pixels")).to_be_visible()
    expect(page.get_by_text(re.compile(r"[\d.]+ ms")).first).to_be_visible()
    chooser.set_input_files(program)
    expect(page.get_by_text("not a whole PNG or JPEG")).to_be_visible()


def test_the_report_works_from_a_file_without_a_network(page: Page, tmp_path: Path) -> None:
    home, report = tmp_path / "home", tmp_path / "report.html"
    home.mkdir()
    command = [sys.executable, "-m", "engine.cli", "report", "latest", "-o", str(report)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PARETOSCOPE_HOME": str(home)}, check=True)
    errors: list[str] = []
    asked_for: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked_for.append(request.url))
    page.context.set_offline(True)
    page.goto(report.as_uri())
    points = page.locator(f".chart{DRAWN}")
    points.first.wait_for(state="attached")
    page.locator(".chart .main-svg").nth(1).wait_for(state="attached")
    points.nth(3).click(force=True)
    expect(page.locator("tr.picked details[open]")).to_have_count(1)
    # A limit hides rows, fades points and names the best; the address keeps it, and a link opens the file so.
    size = page.get_by_label("Limit of File size (kB)")
    size.press("End")
    expect(page.locator("#recipes tbody tr:visible")).to_have_count(1)
    expect(page.locator("#verdict")).to_contain_text("1 of 24 recipes keep the limits. Best by Accuracy")
    faded = page.evaluate(
        "document.querySelector('.chart').data.flatMap(t => t.marker?.opacity ?? []).filter(o => o < 1).length"
    )
    assert faded >= 23
    link = page.evaluate("location.href")
    assert "size_bytes=" in link
    size.press("Home")
    expect(page.locator("#recipes tbody tr:visible")).to_have_count(24)
    # The growth of the frontier is moved by keys, and nothing moves by itself where that is asked for.
    page.get_by_label("Moment of the sweep").press("Home")
    expect(page.locator(".lapse output")).to_contain_text("1 measured, 1 on the frontier")
    play = page.locator(".lapse button")
    play.press("Enter")
    expect(page.locator(".lapse output")).to_contain_text("24 measured, ")
    expect(play).to_have_text("▶ Play")
    page.emulate_media(reduced_motion="reduce")
    expect(play).to_have_text("Next step")
    play.press("Enter")
    expect(page.locator(".lapse output")).to_contain_text("1 measured, 1 on the frontier")
    page.get_by_label("Find a recipe").fill("distil 4-bit")
    shown = page.locator("#recipes tbody tr:visible")
    expect(shown).not_to_have_count(24)
    expect(shown.first).to_be_visible()
    page.get_by_role("button", name="File size (kB)").click()
    sizes = [float(v) for v in shown.locator("td:nth-child(4)").evaluate_all("cells => cells.map(c => c.dataset.v)")]
    assert sizes == sorted(sizes)
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("MACs (M)", exact=True).uncheck()
    expect(page.get_by_role("button", name="MACs (M)")).to_be_hidden()
    page.goto("about:blank")
    page.goto(link)
    # The recipe that was picked is shown whether it keeps the limits or not.
    expect(page.locator("#recipes tbody tr.picked")).to_be_visible()
    expect(page.locator("#recipes tbody tr:not(.picked):visible")).to_have_count(1)
    points.first.wait_for(state="attached")
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.wait_for_function(
        "colour => document.querySelector('.chart').layout.paper_bgcolor === '#10151c' && colour", arg=dark
    )
    # On a phone the names of devices stand beside each other, and the chart scrolls.
    page.set_viewport_size({"width": 420, "height": 900})
    names = page.locator(".wide .chart .xtick text")
    ends = names.evaluate_all("all => all.map(e => e.getBoundingClientRect()).map(r => [r.left, r.right])")
    assert len(ends) > 30
    assert all(left > right - 1 for (_, right), (left, _) in itertools.pairwise(sorted(ends)))
    # The other charts follow the window a moment later.
    page.wait_for_function("() => document.documentElement.scrollWidth <= 420")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as SVG").first.click()
    assert download.value.suggested_filename.endswith(".svg")
    assert [url for url in asked_for if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
