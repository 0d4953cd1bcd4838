"""How long until the frontier is drawn: ratio to a bare Streamlit page with one Plotly chart of as many points.

    .venv/bin/python tests/benchmarks/bench_page.py [--rounds 7]

Both servers run at once and are opened in turns, each time in a fresh browser context (nothing cached) and again in the same one (warm
cache). "From another page" is a click on Explore in the running app. Prints medians; the budget is issue 2's: 1.3 times, and 1 s.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright  # noqa: E402

from tests.e2e.browser import CHROMIUM_FLAGS, DRAWN, dashboard, free_port, serving  # noqa: E402

BARE = """
import plotly.graph_objects as go
import streamlit as st

figure = go.Figure(go.Scatter(x=list(range({points})), y=list(range({points})), mode="markers"))
st.plotly_chart(figure)
"""


def drawn_after(page: Page, url: str) -> float:
    """Seconds from asking for the address until the points are in the page."""
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.locator(DRAWN).first.wait_for(state="attached")
    return time.perf_counter() - start


def open_twice(browser: Browser, url: str) -> tuple[float, float, BrowserContext]:
    """Cold and warm browser cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    seconds = []
    for _ in range(2):
        page = context.new_page()
        seconds.append(drawn_after(page, url))
        # What the page goes on to do must not slow the next one.
        page.close()
    return seconds[0], seconds[1], context


def from_another_page(context: BrowserContext, url: str) -> float:
    page = context.new_page()
    page.goto(f"{url}/new-sweep")
    page.get_by_role("button", name="Start sweep").wait_for()
    # The page is complete when its own small chart is there.
    page.locator(DRAWN).first.wait_for(state="attached")
    start = time.perf_counter()
    page.get_by_role("link", name="Explore", exact=True).click()
    page.locator(f".st-key-explore-chart {DRAWN}").first.wait_for(state="attached")
    return time.perf_counter() - start


def count_points(browser: Browser, url: str) -> int:
    page = browser.new_page()
    drawn_after(page, url)
    page.wait_for_timeout(1000)
    found = page.locator(DRAWN).count()
    page.close()
    return found


def measure(browser: Browser, app: str, bare: str, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {
        k: [] for k in ("app cold", "app warm", "bare cold", "bare warm", "from another page")
    }
    for _ in range(rounds):
        for name, url in (("app", f"{app}/explore"), ("bare", bare)):
            cold, warm, context = open_twice(browser, url)
            times[f"{name} cold"].append(cold)
            times[f"{name} warm"].append(warm)
            if name == "app":
                times["from another page"].append(from_another_page(context, app))
            context.close()
    return times


def report(times: dict[str, list[float]], points: int) -> None:
    median = {k: statistics.median(v) for k, v in times.items()}
    print(f"{points} points drawn; {len(times['app cold'])} rounds; seconds, median (fastest to slowest)")
    for name, values in times.items():
        print(f"  {name:18} {median[name]:6.2f}  ({min(values):.2f} to {max(values):.2f})")
    for cache in ("cold", "warm"):
        print(
            f"ratio to the bare page, {cache} browser cache: {median[f'app {cache}'] / median[f'bare {cache}']:.2f} (budget 1.3)"
        )
    print(f"from another page: {median['from another page']:.2f} s (budget 1 s)")
    print(json.dumps({k: round(v, 3) for k, v in median.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--home", type=Path, help="a home with sweeps to measure on; default: an empty one, so the example"
    )
    rounds, given = (arguments := parser.parse_args()).rounds, arguments.home
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        sys.exit("no Chromium found; install it (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home, script = Path(given or folder), Path(folder) / "bare.py"
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        with dashboard(home) as app:
            points = count_points(browser, f"{app}/explore")
            script.write_text(BARE.format(points=points))
            port = free_port()
            command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
            with serving([*command, "--server.headless", "true"], Path(folder), port) as bare:
                drawn_after(browser.new_page(), bare)
                report(measure(browser, app, bare, rounds), points)
        print(f"{os.cpu_count()} cores, Chromium {browser.version}")
        browser.close()


if __name__ == "__main__":
    main()
