"""A sweep while it runs, two sweeps on one chart, and the time-lapse, in a real browser."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.e2e.browser import PATIENCE_S, dashboard, idle
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_S * 1000)
DRAWN = """(() => {
    const chart = document.querySelector('.st-key-explore-chart .js-plotly-plot');
    return new Set((chart?.data ?? []).flatMap(trace => (trace.customdata ?? []).map(owner => owner[0]))).size;
})()"""
"""How many recipes the chart of Explore has marks of."""
SEVERAL = DRAWN.replace(".st-key-explore-chart", ".st-key-compare-sweeps-chart").replace(
    "owner[0]", "owner[1] + owner[0]"
)
"""The same of the chart of several sweeps."""
LAPSE = "document.querySelector('[class*=st-key-time-lapse] .js-plotly-plot')"
FRONT = f"{LAPSE}?.calcdata?.[2]?.length"


def begin(store: Store, name: str, count: int) -> tuple[str, list[Trial]]:
    """A sweep that runs, with so many of its recipes measured."""
    sweep = parse_sweep({"name": name, "model": {"source": "resnet8"}, "space": SPACE})
    trials = [replace(t, finished_s=10.0 * i) for i, t in enumerate(sweep_trials())]
    store.begin(sweep, [Trial(id=t.id, recipe=t.recipe) for t in trials], nodes_total=110, nodes_done=0)
    for made in trials[:count]:
        store.save_trial(sweep.id, made)
    return sweep.id, trials


def test_points_move_by_themselves_what_is_under_way_is_named_and_the_growth_is_played(
    page: Page, tmp_path: Path
) -> None:
    with dashboard(tmp_path) as address:
        store = Store(f"sqlite:///{tmp_path / 'paretoscope.db'}")
        sweep, trials = begin(store, "running", 10)
        store.beat(sweep, 40, 100.0, 60.0, json.dumps(["training channels −50 %", "timing int8"], ensure_ascii=False))
        page.goto(f"{address}/explore?sweep={sweep}")
        expect(page.get_by_text("now training channels −50 %, timing int8")).to_be_visible()
        page.wait_for_function(f"{DRAWN} === 10")
        for made in trials[10:20]:
            store.save_trial(sweep, made)
        store.beat(sweep, 80, 200.0, 10.0, None)
        # Nothing was zoomed or selected, so nobody need ask.
        page.wait_for_function(f"{DRAWN} === 20")
        # Asked to stay as it is, it does.
        page.get_by_text("Follow", exact=True).click()
        for made in trials[20:22]:
            store.save_trial(sweep, made)
        expect(page.get_by_role("button", name="2 new recipes: show them")).to_be_visible()
        store.end(sweep, "done")
        expect(page.get_by_text("This sweep is still running")).to_have_count(0)

        page.goto(f"{address}/explore?sweep={sweep}&chart=progress")
        page.get_by_text("Play how the frontier grew").click()
        page.wait_for_function(f"{FRONT} > 1")
        last = page.evaluate(FRONT)
        page.evaluate(
            f"() => {{ window.played = []; {LAPSE}.on('plotly_animatingframe', shown => window.played.push(shown.name)); }}"
        )
        page.locator("[class*=st-key-time-lapse] .updatemenu-button").first.click()
        # From the first recipe alone to where it was.
        page.wait_for_function("window.played.length === 22")
        assert page.evaluate("window.played") == [str(i) for i in range(22)]
        page.wait_for_function(f"{FRONT} === {last}")

        other, _ = begin(store, "another", 24)
        store.end(other, "done")
        page.goto(f"{address}/compare?mode=sweeps&sweeps={sweep},{other}")
        expect(page.get_by_text("Who beats whom")).to_be_visible()
        expect(page.get_by_text(re.compile("The joint frontier over accuracy and file size"))).to_be_visible()
        # Written at the end of a run, after the words have been drawn.
        page.wait_for_url(re.compile("x=size_bytes"))

        third, trials = begin(store, "third", 10)
        page.goto(f"{address}/compare?mode=sweeps&sweeps={third},{other}")
        page.wait_for_function(f"{SEVERAL} === 34")
        idle(page)
        for made in trials[10:20]:
            store.save_trial(third, made)
        page.wait_for_function(f"{SEVERAL} === 44")
        store.end(third, "done")
        expect(page.get_by_text("third is still running")).to_have_count(0)
        page.get_by_role("radio", name="What changed").or_(page.get_by_role("button", name="What changed")).click()
        expect(page.get_by_text("Nothing that both runs have is told apart.")).to_be_visible()
        page.wait_for_url(re.compile("mode=runs"))
