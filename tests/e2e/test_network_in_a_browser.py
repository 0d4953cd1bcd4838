"""The picture of a network in a browser, as the file that `paretoscope graph -o` writes: it zooms, finds, tells and saves."""

import pytest

from engine.export.network import network_page
from engine.figures.graph_info import graph_info
from engine.graph.count_layer_graph import layer_graph
from tests.e2e.browser import browsing
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
