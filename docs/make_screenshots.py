"""Takes the screenshots of every page that README and the site show, of the shipped example, in a real browser.

    PYTHONPATH=. .venv/bin/python docs/make_screenshots.py [PAGE …]

Needs Chromium, as the browser tests do. Writes docs/PAGE.png at 1280 pixels, and Explore also in the dark and at 420 pixels.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from engine.store.store import Store
from tests.conftest import find_browser
from tests.e2e.browser import CHROMIUM_FLAGS, dashboard

DOCS = Path(__file__).resolve().parent
TALLEST = 1500
SETTLED_MS = 4000


@dataclass(frozen=True)
class Shot:
    """One picture: `{sweep}`, `{baseline}`, `{small}` and `{int8}` in the address stand for the example's ids; `ready` is a selector."""

    name: str
    address: str
    ready: str
    width: int = 1280
    scheme: str = "light"


CHART = ".js-plotly-plot .main-svg"
SHOTS = (
    Shot("overview", "", "img"),
    Shot("explore", "explore?sweep={sweep}&trial={int8}&max_latency_ms=0.18", CHART),
    Shot("explore-dark", "explore?sweep={sweep}&trial={int8}&max_latency_ms=0.18", CHART, scheme="dark"),
    Shot("explore-phone", "explore?sweep={sweep}&max_latency_ms=0.18", CHART, width=420),
    Shot("trial", "trial?sweep={sweep}&trial={small}", CHART),
    Shot("broke", "broke?sweep={sweep}&trial={small}", CHART),
    Shot("compare", "compare?sweep={sweep}&trials={baseline},{int8},{small}", CHART),
    Shot("devices", "devices?sweep={sweep}&scenario=medical-imager", CHART),
    Shot("playground", "playground?sweep={sweep}&trials={baseline},{int8},{small}", "img"),
    Shot("new-sweep", "new-sweep", "[data-testid=stForm], [data-testid=stMainBlockContainer] button"),
)


def example_ids() -> dict[str, str]:
    """The example's sweep, baseline, plain int8 recipe and smallest file."""
    store = Store.open()
    sweep = next(row for row in store.sweeps() if row.example)
    trials = [t for t in store.trials(sweep.id) if t.state == "done"]
    return {
        "sweep": sweep.id,
        "baseline": next(t.id for t in trials if not t.recipe.steps),
        "int8": next(t.id for t in trials if t.label == "int8"),
        "small": min(trials, key=lambda t: t.size_bytes or 0).id,
    }


def take(page: Page, shot: Shot, url: str) -> None:
    """Open, let everything be drawn, and save what there is of it down to `TALLEST` pixels."""
    page.goto(url)
    page.locator(shot.ready).first.wait_for(state="attached")
    page.wait_for_timeout(SETTLED_MS)
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": shot.width, "height": min(TALLEST, int(height) + 20)})
    page.wait_for_timeout(SETTLED_MS / 2)
    page.screenshot(path=DOCS / f"{shot.name}.png")


def main() -> None:
    """All pictures, or those named."""
    wanted = set(sys.argv[1:]) or {s.name for s in SHOTS}
    if unknown := wanted - {s.name for s in SHOTS}:
        sys.exit(f"{', '.join(sorted(unknown))} is not a picture; known: {', '.join(s.name for s in SHOTS)}")
    chromium = find_browser()
    if chromium is None:
        sys.exit("there is no Chromium on this machine; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as home, dashboard(Path(home)) as address, sync_playwright() as playwright:
        os.environ["PARETOSCOPE_HOME"] = home
        ids = example_ids()
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for shot in SHOTS:
            if shot.name in wanted:
                context = browser.new_context(
                    viewport={"width": shot.width, "height": 900},
                    color_scheme="dark" if shot.scheme == "dark" else "light",
                )
                take(context.new_page(), shot, f"{address}/{shot.address.format(**ids)}")
                context.close()
                sys.stdout.write(f"{DOCS / shot.name}.png\n")
        browser.close()


if __name__ == "__main__":
    main()
