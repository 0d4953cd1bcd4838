"""A network and a zip of pictures without labels, sent by a real browser, checked and ready to run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import PATIENCE_S, idle
from tests.helpers.brightness import brightness_net
from tests.helpers.uploads import picture, zipped

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)


def test_a_network_and_pictures_are_sent_and_checked(page: Page, address: str, tmp_path: Path) -> None:
    brightness_net(tmp_path / "net.onnx")
    (tmp_path / "mine.zip").write_bytes(zipped({f"mine/{n}.png": picture(n) for n in range(60)}))
    (tmp_path / "evil.zip").write_bytes(zipped({"../a.png": picture()}))
    page.goto(f"{address}/new-sweep")
    for box in ("Model", "Dataset"):
        page.get_by_role("combobox", name=box).first.click()
        page.get_by_role("option", name="upload a file").first.click()
        idle(page)
    _send(page, "ONNX", tmp_path / "net.onnx")
    expect(page.get_by_text("takes pixels N×1×8×8")).to_be_visible()
    _send(page, "Data", tmp_path / "evil.zip")
    expect(page.get_by_text("which leads out of the folder")).to_be_visible()
    _send(page, "Data", tmp_path / "mine.zip")
    expect(page.get_by_text("60 pictures without folders, so without labels")).to_be_visible()
    page.get_by_role("button", name="Check model and data").click()
    expect(page.get_by_text("Items: 1×8×8 of uint8")).to_be_visible()
    expect(page.get_by_role("button", name="Start sweep")).to_be_enabled()


def _send(page: Page, box: str, file: Path) -> None:
    """Put a file into a box once the page rests: a box that is being drawn anew drops what is put into it."""
    idle(page)
    page.get_by_role("region", name=re.compile(box)).locator("input[type=file]").set_input_files(file)
