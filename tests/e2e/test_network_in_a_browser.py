"""The picture of a network in a browser, as the file that `paretoscope graph -o` writes: it zooms, finds, tells and saves."""

import pytest

from engine.export.network import network_page
from engine.figures.graph_info import graph_info
from engine.graph.count_layer_graph import layer_graph
from tests.e2e.browser import browsing
from tests.figures.test_graph_together import encoder
from tests.helpers.graph_pairs import residual_net

pytestmark = pytest.mark.browser


def test_it_zooms_finds_tells_and_saves(chromium, tmp_path):
    target = tmp_path / "network.html"
    target.write_text(network_page("net", [], graph_info(layer_graph(residual_net())), []))
    with browsing(chromium, 420, 700) as page:
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(target.as_uri())
        width = lambda: float(page.locator(".pane svg").get_attribute("width"))  # noqa: E731
        before = width()
        page.get_by_label("Zoom in").click()
        assert width() == pytest.approx(before * 1.3)
        page.get_by_text("Whole").click()
        assert page.locator(".pane").evaluate("p => p.scrollHeight <= p.clientHeight + 1")
        page.locator(".mark").nth(1).click()
        assert page.locator(".about").inner_text().startswith("stem\nConv → Relu\nputs out 1×8×8×8")
        find = page.get_by_label("Find a layer")
        find.fill("softmax")
        find.press("Enter")
        assert page.locator(".about").inner_text().startswith("softmax")
        assert page.locator(".mark.picked").count() == 1
        with page.expect_download() as saved:
            page.get_by_text("Save as SVG").click()
        assert "currentColor" in saved.value.path().read_text()
        assert not wrong


def test_blocks_open_where_they_are_clicked_and_close_again(chromium, tmp_path):
    target = tmp_path / "network.html"
    target.write_text(network_page("net", [], graph_info(encoder(6)), []))
    with browsing(chromium, 420, 700) as page:
        wrong = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(target.as_uri())
        shown = lambda: page.locator(".pane svg:not([hidden]) .mark").count()  # noqa: E731
        assert shown() == 3
        assert page.locator(".legend:visible").count() == 1
        page.locator("[data-opens]").click()
        assert shown() == 20
        assert page.locator(".mark.picked text").first.text_content() == "MatMul"
        assert page.locator(".about").inner_text().startswith("6 × block of 3: 6 that are alike")
        page.get_by_text("Blocks together").click()
        assert shown() == 3
        # What lies in a block is found there.
        find = page.get_by_label("Find a layer")
        find.fill("blocks.4/down")
        find.press("Enter")
        assert shown() == 20
        assert page.locator(".about").inner_text().startswith("blocks.4/down/MatMul")
        page.get_by_text("Blocks together").click()
        page.locator("[data-opens]").press("Enter")
        assert shown() == 20
        assert not wrong
