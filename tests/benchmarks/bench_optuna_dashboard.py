"""How long Optuna Dashboard takes to draw the frontier of a study with as many trials, for comparison with bench_scale.py.

    .venv/bin/python tests/benchmarks/bench_optuna_dashboard.py PYTHON [--trials 100 10000] [--rounds 3] [--limit 120]

PYTHON is the interpreter of an environment of its own that has it (`pip install optuna optuna-dashboard`). The study has two objectives
and three parameters, all finished. Every load is in a fresh browser context with a warm server; a load that draws nothing within the
limit is told as such. Prints medians; run it when nothing else runs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playwright.sync_api import Browser, sync_playwright  # noqa: E402
from playwright.sync_api import TimeoutError as TooLong  # noqa: E402

from tests.conftest import find_browser  # noqa: E402
from tests.e2e.browser import CHROMIUM_FLAGS, free_port  # noqa: E402

STUDY = """
import random, sys
import optuna
optuna.logging.set_verbosity(optuna.logging.WARNING)
random.seed(0)
study = optuna.create_study(storage=sys.argv[1], study_name="s", directions=["maximize", "minimize"])
spaces = {name: optuna.distributions.FloatDistribution(0, 1) for name in "abc"}
def trial():
    values = {name: random.random() for name in spaces}
    return optuna.trial.create_trial(
        params=values, distributions=spaces, values=[values["a"] - 0.3 * values["b"], values["a"] + values["c"]])
study.add_trials([trial() for _ in range(int(sys.argv[2]))])
"""
DRAWN = ".js-plotly-plot .scatterlayer .point, .js-plotly-plot canvas.gl-canvas"


def load_s(browser: Browser, url: str, limit_s: float) -> float | None:
    """Seconds until the first chart has points; None when it has none within the limit."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    start = time.perf_counter()
    try:
        page.goto(url, wait_until="commit")
        page.locator(DRAWN).first.wait_for(state="attached", timeout=limit_s * 1000)
        return time.perf_counter() - start
    except TooLong:
        return None
    finally:
        context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", type=Path)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0)
    given = parser.parse_args()
    chromium = find_browser()
    if chromium is None:
        sys.exit("no Chromium found; install it (Debian: apt-get install chromium)")
    for trials in given.trials:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
            storage, port = f"sqlite:///{folder}/study.db", free_port()
            subprocess.run([given.python, "-c", STUDY, storage, str(trials)], check=True)
            command = [given.python.parent / "optuna-dashboard", storage, "--port", str(port), "--host", "127.0.0.1"]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                url = f"http://127.0.0.1:{port}/dashboard/studies/1"
                wait_until_up(f"http://127.0.0.1:{port}/dashboard")
                browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
                load_s(browser, url, given.limit)  # warms the server
                taken = [load_s(browser, url, given.limit) for _ in range(given.rounds)]
                browser.close()
            finally:
                server.terminate()
                server.wait(timeout=30)
        drawn = [t for t in taken if t is not None]
        told = f"{statistics.median(drawn):.2f} s" if drawn else f"not drawn after {given.limit:g} s"
        print(f"{trials:7} trials: {told} ({len(drawn)} of {len(taken)} loads drawn)")


def wait_until_up(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{url} did not answer")


if __name__ == "__main__":
    main()
