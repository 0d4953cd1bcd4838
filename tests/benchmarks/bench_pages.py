"""Every page of a sweep with many recipes: first visit of a server's life, second visit, what the browser is sent, the server's memory.

    .venv/bin/python tests/benchmarks/bench_pages.py [--trials 10000 100000] [--pages trial devices ...] [--shots DIR] [--home DIR]

For each number of trials a home is filled with made-up ones (bench_scale.py) that say what they ask of a device, and their columns are kept
ready as a run leaves them. Each page has a server of its own, so the first visit pays for all that is read and computed once; the second is
from a fresh browser context. A visit ends when the page's script is done and no spinner is left. Beside it stands what the server computed
meanwhile, which other work on the machine hardly changes. `--shots` leaves pictures at 1280 and 420 pixels. `--home` keeps the homes in a
folder, or takes them from there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from engine.devices.published import reference_demands  # noqa: E402
from engine.frontier.kept_columns import SweepColumns  # noqa: E402
from engine.graph.demand import Demand, in_integers  # noqa: E402
from engine.spec.sweep import Sweep, parse_sweep  # noqa: E402
from engine.store.store import Store  # noqa: E402
from engine.trials.trial import Trial  # noqa: E402
from tests.benchmarks.bench_scale import made_up, server_bytes, server_seconds  # noqa: E402
from tests.e2e.browser import CHROMIUM_FLAGS, dashboard  # noqa: E402

PAGES = ("overview", "new-sweep", "trial", "broke", "compare", "playground", "devices", "explore")
PATIENCE_MS = 300_000
DONE = """() => document.querySelector('[data-testid="stApp"]')?.dataset.testScriptState === 'notRunning'
  && document.querySelector('[data-testid="stMain"] :is([data-testid="stSelectbox"], [data-testid="stImage"])')
  && !document.querySelector('[data-testid="stSpinner"], [data-testid="stSkeleton"]')"""


def asking(trial: Trial) -> Trial:
    """The trial with a demand like that of ResNet-8, of which its pruning leaves a share."""
    whole = reference_demands()["resnet8"]
    quantize = next((s for s in trial.recipe.steps if s.step == "quantize"), None)
    left = 1 - next((s.ratio for s in trial.recipe.steps if s.step == "prune"), 0.0)
    before: Demand = in_integers(whole) if quantize else whole
    layers = tuple(
        replace(
            x,
            weight_bits=quantize.weight_bits if quantize else 32,
            macs=int(x.macs * left),
            weights=int(x.weights * left),
        )
        for x in before.layers
    )
    return replace(trial, demand=replace(before, layers=layers))


def fill(home: Path, count: int) -> Sweep:
    """A home with one finished sweep of so many trials."""
    os.environ["PARETOSCOPE_HOME"] = str(home)
    store = Store.open()
    sweep = parse_sweep({"name": f"{count} trials", "model": {"source": "resnet8"}})
    store.begin(sweep, [asking(t) for t in made_up(count)], nodes_total=count, nodes_done=count)
    store.end(sweep.id, "done")
    SweepColumns(store, sweep.id).keep()
    return sweep


def visit(browser: Browser, url: str, shot: Path | None = None, width: int = 1280) -> tuple[float, int]:
    """Seconds until the page is done, and the bytes that its web socket brought."""
    context = browser.new_context(viewport={"width": width, "height": 900})
    page, sizes = context.new_page(), list[int]()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: sizes.append(len(frame))))
    start = time.perf_counter()
    page.goto(url, wait_until="commit")
    end = _done(page)
    if shot:
        height = page.locator("[data-testid=stMainBlockContainer]").evaluate("e => e.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(4000, height + 120)})
        page.wait_for_timeout(1000)
        page.screenshot(path=shot)
    context.close()
    return end - start, sum(sizes)


def _done(page: Page) -> float:
    """When the page was done for good: one that runs itself again at once is not."""
    while True:
        page.wait_for_function(DONE, timeout=PATIENCE_MS)
        end = time.perf_counter()
        page.wait_for_timeout(500)
        if page.evaluate(DONE):
            return end


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--pages", nargs="*", default=PAGES, choices=PAGES)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        sys.exit("no Chromium found; install it (Debian: apt-get install chromium)")
    print(
        "| trials | page | first visit, s (server) | second, s (server) | sent, MB | server, GB |\n|---|---|---|---|---|---|"
    )
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for count in options.trials:
            home = (options.home or Path(folder)) / str(count)
            made = home.exists()
            home.mkdir(parents=True, exist_ok=True)
            os.environ["PARETOSCOPE_HOME"] = str(home)
            sweep = next(r for r in Store.open().sweeps() if not r.example) if made else fill(home, count)
            for name in options.pages:
                with dashboard(home) as url:
                    address = f"{url}/{name}?sweep={sweep.id}"
                    port = int(url.rpartition(":")[2])
                    begun = server_seconds(port)
                    first, sent = visit(browser, address)
                    between = server_seconds(port)
                    second, _ = visit(browser, address)
                    computed = between - begun, server_seconds(port) - between
                    for width in (1280, 420) if options.shots else ():
                        options.shots.mkdir(parents=True, exist_ok=True)
                        visit(browser, address, options.shots / f"{count}-{name}-{width}.png", width)
                    memory = server_bytes(port) / 1e9
                cells = f"{first:.1f} ({computed[0]:.1f}) | {second:.1f} ({computed[1]:.1f})"
                print(f"| {count:,} | {name} | {cells} | {sent / 1e6:.2f} | {memory:.2f} |", flush=True)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}, Chromium {browser.version}, one visit each")
        browser.close()


if __name__ == "__main__":
    main()
