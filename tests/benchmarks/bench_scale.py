"""Explore with many trials: page load against a bare Streamlit page, arrival from another page, limits and axes; the server's memory.

    .venv/bin/python tests/benchmarks/bench_scale.py [--trials 100 10000 100000] [--rounds 3] [--sessions 25]

For each number of trials a home is filled with made-up ones (tests/helpers/trial_factory.py; real recipes, invented numbers), a server is
started and warmed by one visit. Every load is in a fresh browser context. The bare page draws one Plotly chart of as many points, at most
10,000. A change of a limit or an axis takes until the last thing on the page, the table aside, has changed. `--sessions` opens so many
tabs at once and lets each change its view.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright  # noqa: E402

from engine.spec.recipe import Recipe  # noqa: E402
from engine.spec.sweep import Sweep, parse_sweep  # noqa: E402
from engine.store.store import Store  # noqa: E402
from engine.trials.trial import Trial  # noqa: E402
from tests.benchmarks.bench_page import BARE, drawn_after  # noqa: E402
from tests.e2e.browser import CHROMIUM_FLAGS, DRAWN, dashboard, free_port, serving  # noqa: E402
from tests.helpers.trial_factory import trial  # noqa: E402

BUDGETS = {100: (1.2, 1.0, 0.4), 10_000: (1.3, 1.5, 0.8), 100_000: (1.6, 2.5, 1.5)}
"""Trials -> (ratio of a full load, seconds from another page, seconds after a change)."""
MOST_DRAWN = 10_000
MOST_SESSION_S, MOST_BYTES = 1.5, 4e9


def made_up(count: int) -> list[Trial]:
    """So many trials of different recipes around a noisy tradeoff, the baseline first."""
    draw = random.Random(0)
    trials = {Recipe().id: trial(Recipe(), accuracy=0.93, size_bytes=313_000, latency_ms=0.62)}
    number = 0
    while len(trials) < count:
        number += 1
        ratio, samples = 0.05 + 0.9 * (number % 1000) / 1000, 1 + number // 1000
        recipe = Recipe.from_json(
            [
                {"step": "prune", "method": "magnitude", "ratio": round(ratio, 4)},
                {
                    "step": "quantize",
                    "weight_bits": 2 + number % 7,
                    "activation_bits": 8,
                    "calibration_samples": samples,
                },
            ]
        )
        size = 313_000 * (1 - ratio) * (2 + number % 7) / 32 * draw.uniform(1, 1.6) + 4_000
        trials[recipe.id] = trial(
            recipe,
            accuracy=max(0.1, 0.93 - 0.06 * math.exp(-size / 20_000) - abs(draw.gauss(0, 0.01))),
            size_bytes=int(size),
            latency_ms=0.15 + size / 9e5 + abs(draw.gauss(0, 0.03)),
        )
    return list(trials.values())


def fill(home: Path, count: int) -> Sweep:
    """A home with one finished sweep of so many trials, and a small one to come from."""
    os.environ["PARETOSCOPE_HOME"] = str(home)
    store = Store.open()
    sweep = parse_sweep({"name": f"{count} trials", "model": {"source": "resnet8"}})
    store.begin(sweep, made_up(count), nodes_total=count, nodes_done=count)
    store.end(sweep.id, "done")
    return sweep


def visit(browser: Browser, url: str) -> tuple[float, BrowserContext, Page]:
    """Seconds of a full load in a fresh browser context."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    return drawn_after(page, url), context, page


QUIET_MS = 400
# Remembers when the page last changed, the table aside, which draws itself a while later: the paint after the mutation, so that a long
# drawing counts whole.
WATCH = """() => {
  if (window.lastChange === undefined) {
    const main = document.querySelector('[data-testid="stMain"]');
    const note = () => { window.lastChange = performance.now(); };
    const counts = m => {
      const element = m.target.nodeType === Node.TEXT_NODE ? m.target.parentElement : m.target;
      return element && !element.closest('[data-testid="stDataFrame"]');
    };
    new MutationObserver(found => { if (found.some(counts)) { note(); requestAnimationFrame(note); } }).observe(main,
      {subtree: true, childList: true, attributes: true, characterData: true});
  }
  window.lastChange = 0;
  return performance.now();
}"""
SETTLED = """quiet => document.querySelector('[data-testid="stApp"]').dataset.testScriptState === 'notRunning'
  && performance.now() - window.lastChange > quiet"""


def settled(page: Page) -> None:
    """Wait until nothing has moved on the page for a while and the script behind it is done."""
    page.evaluate(WATCH)
    page.wait_for_timeout(QUIET_MS)
    page.wait_for_function(SETTLED, arg=QUIET_MS)


def after(page: Page, start: float) -> float:
    """Seconds from `start`, in the page's own time, until the last thing on the page changed."""
    page.wait_for_function(SETTLED, arg=QUIET_MS)
    return float(page.evaluate("() => window.lastChange") - start) / 1000


def change_limit(page: Page) -> float:
    """Press an arrow key on the size slider; seconds until the chart is drawn, and counted, with what remains."""
    slider = page.get_by_role("slider").nth(1)
    slider.focus()
    before = page.url
    start = page.evaluate(WATCH)
    slider.press("ArrowLeft")
    # The address says the new limit at the end of the server's work.
    page.wait_for_function("url => location.href !== url", arg=before)
    return after(page, start)


def change_axis(page: Page, name: str) -> float:
    """Choose another metric across; seconds until the chart is drawn with it."""
    box = page.get_by_role("combobox", name="Across")
    option = page.get_by_role("option", name=name, exact=True)
    box.click()
    # Typed, since a long list holds in the page only what is in sight of it.
    box.fill(name)
    option.wait_for()
    start = page.evaluate(WATCH)
    option.click()
    page.locator(".st-key-explore-chart .xtitle", has_text=name).wait_for(state="attached")
    return after(page, start)


def arrive(page: Page, url: str) -> float:
    """Seconds from the click on Explore, on another page, until its frontier is drawn."""
    page.goto(f"{url}/new-sweep")
    page.get_by_role("button", name="Start sweep").wait_for()
    page.locator(DRAWN).first.wait_for(state="attached")
    settled(page)
    start = time.perf_counter()
    page.get_by_role("link", name="Explore", exact=True).click()
    page.locator(f".st-key-explore-chart {DRAWN}").first.wait_for(state="attached")
    return time.perf_counter() - start


def p95(values: list[float]) -> float:
    """The value below which 95 % of them lie, by linear interpolation."""
    ordered = sorted(values)
    place = 0.95 * (len(ordered) - 1)
    low = math.floor(place)
    return ordered[low] + (ordered[min(low + 1, len(ordered) - 1)] - ordered[low]) * (place - low)


def server_bytes(port: int) -> int:
    """Resident memory of the processes that listen on a port."""
    return sum(psutil.Process(pid).memory_info().rss for pid in _listening(port))


def server_seconds(port: int) -> float:
    """Processor seconds of the processes that listen on a port, since they began."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in _listening(port))


def _listening(port: int) -> set[int]:
    found = psutil.net_connections("tcp")
    return {c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port and c.pid}


def measure(browser: Browser, url: str, bare: str, sweep: Sweep, rounds: int) -> dict[str, list[float]]:
    address = f"{url}/explore?sweep={sweep.id}"
    times: dict[str, list[float]] = {k: [] for k in ("app", "bare", "arrive", "change")}
    visit(browser, address)[1].close()
    visit(browser, bare)[1].close()
    for _ in range(rounds):
        seconds, context, _ = visit(browser, bare)
        times["bare"].append(seconds)
        context.close()
        seconds, context, page = visit(browser, address)
        times["app"].append(seconds)
        page.get_by_test_id("stDataFrame").first.wait_for()
        settled(page)
        change_limit(page)
        for name in ("File size", "Latency"):
            times["change"] += [change_limit(page) for _ in range(4)]
            times["change"].append(change_axis(page, name))
            settled(page)
        times["arrive"].append(arrive(page, url))
        context.close()
    return times


def crowd(browser: Browser, url: str, sweep: Sweep, sessions: int) -> list[float]:
    """Every session open at once, each changing a limit in turn while the others stay connected."""
    address = f"{url}/explore?sweep={sweep.id}"
    open_ones = [visit(browser, address) for _ in range(sessions)]
    for _, _, page in open_ones:
        page.get_by_test_id("stDataFrame").first.wait_for()
    seconds = [change_limit(page) for _ in range(2) for _, _, page in open_ones]
    for _, context, _ in open_ones:
        context.close()
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="*", default=list(BUDGETS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=0)
    options = parser.parse_args()
    chromium = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if chromium is None:
        sys.exit("no Chromium found; install it (Debian: apt-get install chromium)")
    print("| trials | full load, × bare page | from another page, s | after a change, p95 s | server, GB |")
    print("|---|---|---|---|---|")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        for count in options.trials:
            with tempfile.TemporaryDirectory() as folder:
                home, script = Path(folder) / "home", Path(folder) / "bare.py"
                home.mkdir()
                sweep = fill(home, count)
                script.write_text(BARE.format(points=min(count, MOST_DRAWN)))
                port = free_port()
                command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
                with (
                    dashboard(home) as url,
                    serving([*command, "--server.headless", "true"], Path(folder), port) as bare,
                ):
                    times = measure(browser, url, bare, sweep, options.rounds)
                    memory = server_bytes(int(url.rpartition(":")[2]))
                    report(count, times, memory)
                    if options.sessions:
                        seconds = crowd(browser, url, sweep, options.sessions)
                        memory = server_bytes(int(url.rpartition(":")[2]))
                        print(
                            f"{options.sessions} sessions: p95 {p95(seconds):.2f} s (budget {MOST_SESSION_S}), "
                            f"{memory / 1e9:.2f} GB (budget {MOST_BYTES / 1e9:.0f})"
                        )
        print(f"{os.cpu_count()} cores, Chromium {browser.version}, {options.rounds} rounds, medians")
        browser.close()


def report(count: int, times: dict[str, list[float]], memory: int) -> None:
    """One row of the table, with the budgets where there are any."""
    ratio = statistics.median(times["app"]) / statistics.median(times["bare"])
    found = (ratio, statistics.median(times["arrive"]), p95(times["change"]))
    budgets = BUDGETS.get(count)
    cells = [f"{v:.2f}" + (f" (≤ {b:g})" if b else "") for v, b in zip(found, budgets or (None,) * 3, strict=True)]
    print(f"| {count:,} | {' | '.join(cells)} | {memory / 1e9:.2f} |", flush=True)
    print(json.dumps({k: [round(v, 2) for v in values] for k, values in times.items()}), file=sys.stderr)


if __name__ == "__main__":
    main()
