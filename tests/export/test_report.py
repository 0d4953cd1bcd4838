"""The standalone report: one file, nothing from outside, nothing unescaped, the numbers of the sweep."""

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from engine.errors import InputError, SpecError
from engine.explain.network import network
from engine.export.report import report_html, write_report
from engine.export.report_table import MOST_ROWS
from engine.export.tables import flat_rows, has_parquet, to_csv, to_json, to_parquet
from engine.frontier.front import OBJECTIVES, find_front
from engine.frontier.recommendation import View, choose
from engine.metrics import METRICS
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill, Prune
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.evidence import Interval
from engine.trials.slices import Slice, Slices, WorstSlice
from tests.helpers.places import ROOT
from tests.helpers.trial_factory import SPACE, sweep_trials, trial


def from_files():
    return partial(network, artifacts=Artifacts.open())


@pytest.fixture
def stored(home):
    """(row, spec, trials) of a sweep in a store of its own, with failed and pending recipes."""

    def make(name="first", trials=None):
        store = Store.open()
        sweep = parse_sweep({"name": name, "model": {"source": "resnet8"}, "space": SPACE})
        trials = trials if trials is not None else sweep_trials(failed=2, pending=1)
        store.begin(sweep, trials, 1, 1)
        for made in trials:
            store.save_trial(sweep.id, made)
        store.end(sweep.id, "done")
        return store.sweep(sweep.id), sweep, store.trials(sweep.id)

    return make


class Page(HTMLParser):
    """What a browser would make of the file: table rows, scripts, and addresses that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[dict[str, str | None]] = []
        self.figures: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.loads += [v for k, v in found.items() if k in {"src", "href", "data", "action", "poster"} and v]
        self._inside = "json" if found.get("type") == "application/json" else tag
        if tag == "tr" and found.get("id"):
            self.rows.append(found)

    def handle_data(self, data):
        if self._inside == "json":
            self.figures.append(data)
        elif self._inside not in {"script", "style"}:
            self.words.append(data)


def without_plotly(text: str) -> str:
    """The page without the three million letters of the library."""
    return re.sub(r"</main>\s*<script id=\"plotly\".*?</script>", "</main>", text, count=1, flags=re.S)


def test_the_table_lists_every_measured_recipe_and_marks_the_frontier(stored):
    row, sweep, trials = stored()
    page = Page(without_plotly(report_html(row, sweep, trials)))
    done = [t for t in trials if t.state == "done"]
    assert [r["id"] for r in page.rows] == [f"t-{t.id}" for t in done]
    on_front = {r["id"] for r in page.rows if r.get("class") == "front"}
    assert on_front == {f"t-{t.id}" for t in find_front(done, OBJECTIVES).trials}
    words = " ".join(page.words)
    assert "Test CPU, 2 cores, Linux" in words
    assert "Remove whole channels until 25 % of the parameters are gone" in words
    assert "layer conv1 would have 0 channels" in words


def test_slices_have_columns_that_name_the_worst(stored):
    worst, drop = (
        WorstSlice("site", name, Interval(v, v - 0.02, v + 0.02)) for name, v in (("<b>", 0.81), ("c", 0.05))
    )
    slices = Slices("accuracy", (Slice("site", "<b>", 9),), worst, drop)
    row, sweep, trials = stored(trials=[replace(t, slices=slices) if t.state == "done" else t for t in sweep_trials()])
    text = without_plotly(report_html(row, sweep, trials))
    words = " ".join(Page(text).words)
    assert "Accuracy of the worst slice (%)" in words
    assert text.count(
        '<td data-v="0.81">81.00 <small>(79.00 to 83.00)</small> <small>site &lt;b&gt;</small></td>'
    ) == len(trials)
    assert "site c" in words
    assert "worst slice" not in " ".join(Page(without_plotly(report_html(*stored("plain")))).words)


def test_each_other_objective_has_a_chart_against_the_first(stored):
    row, sweep, trials = stored()
    figures = [json.loads(f) for f in Page(without_plotly(report_html(row, sweep, trials))).figures]
    # Behind them the maps of steps and of devices.
    figures = figures[: len(OBJECTIVES) - 1]
    titles = [(f["layout"]["yaxis"]["title"]["text"], f["layout"]["xaxis"]["title"]["text"]) for f in figures]
    for (up, across), key in zip(titles, OBJECTIVES[1:], strict=True):
        assert METRICS["accuracy"].name in up
        assert METRICS[key].name in across
    marks = {row[0] for trace in figures[0]["data"] for row in trace.get("customdata") or []}
    assert marks == {t.id for t in trials if t.state == "done"}


def test_the_library_is_inlined_once_and_nothing_is_loaded(stored):
    text = report_html(*stored())
    (packed,) = re.findall(r'<script id="plotly" type="application/gzip">(.*?)</script>', text)
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert Page(without_plotly(text)).loads == []
    assert "default-src 'none'" in text


def test_what_users_wrote_is_text(stored):
    evil = "</script><img src=x onerror=alert(1)><script>alert(1)</script>"
    hostile = [trial(), trial(Recipe(steps=(Distill(student=evil),)), accuracy=0.95, size_bytes=1_000, notes=(evil,))]
    hostile.append(trial(Recipe(steps=(Prune(method="channel", ratio=0.5),)), state="failed", error=evil))
    page = Page(without_plotly(report_html(*stored(evil[:199], hostile))))
    assert "img" not in page.tags
    # The data of two charts, of the options, of the map of steps and of that of devices, and the script at the end.
    assert page.tags.count("script") == len(page.figures) + 1 == 6
    assert all(json.loads(f) for f in page.figures)


def test_the_same_sweep_gives_the_same_bytes(stored):
    made = stored()
    assert report_html(*made) == report_html(*made)


def test_too_few_objectives_and_nothing_measured_are_one_line(stored):
    row, sweep, trials = stored()
    with pytest.raises(SpecError, match="two or more"):
        report_html(row, sweep, trials, ("accuracy", "accuracy"))
    with pytest.raises(SpecError, match="nothing to report yet"):
        report_html(row, sweep, sweep_trials(pending=24))


def test_a_long_table_keeps_the_frontier_and_says_what_it_leaves_out(stored):
    row, sweep, _ = stored()
    many = [trial(accuracy=0.95)] + [
        trial(
            Recipe(steps=(Prune(method="magnitude", ratio=i / 10_000),)),
            accuracy=0.9,
            size_bytes=200_000 + i,
            latency_ms=2.0,
        )
        for i in range(1, MOST_ROWS + 50)
    ]
    best = trial(Recipe(steps=(Prune(method="channel", ratio=0.5),)), accuracy=0.94, size_bytes=10, latency_ms=0.1)
    page = Page(without_plotly(report_html(row, sweep, [*many, best])))
    assert len(page.rows) == MOST_ROWS
    assert page.rows[-1]["id"] == f"t-{best.id}"
    assert "51 more recipes" in " ".join(page.words)


def test_a_thousand_recipes_stay_below_five_megabytes(home, stored):
    row, sweep, _ = stored()
    shipped = Store.open().trials(Store.open().sweep("example-resnet8").id)
    many = [replace(t, id=f"{t.id[:6]}{i:06}" if i else t.id) for i in range(42) for t in shipped][:1000]
    text = report_html(row, sweep, many, network_of=from_files())
    assert len(text.encode()) < 5_000_000
    assert len(Page(without_plotly(text)).rows) == 1000


def test_a_folder_is_no_target(stored, tmp_path):
    with pytest.raises(InputError, match=r"report\.html"):
        write_report(tmp_path, *stored())


def test_the_command_writes_it_and_refuses_what_is_no_objective(home, tmp_path):
    def paretoscope(*words):
        command = [sys.executable, "-m", "engine.cli", "report", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    target = tmp_path / "out.html"
    done = paretoscope("latest", "-o", str(target), "--objectives", "accuracy,macs", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"report": str(target), "bytes": target.stat().st_size}
    assert "Accuracy against MACs" in target.read_text()
    refused = paretoscope("latest", "-o", str(target), "--objectives", "accuracy,beauty")
    assert refused.returncode == 2
    assert "'beauty' is not an objective" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.fixture
def rows():
    trials = sweep_trials(failed=2, pending=1)
    return flat_rows(trials, choose(trials, View(limits={"size_bytes": 60_000})))


def test_tables_have_every_recipe_with_base_units(rows):
    trials = sweep_trials(failed=2, pending=1)
    assert [r["id"] for r in rows] == [t.id for t in trials]
    assert rows[0]["accuracy"] == trials[0].accuracy.value
    assert rows[0]["accuracy_low"] == trials[0].accuracy.low
    assert rows[0]["size_bytes"] == trials[0].size_bytes
    assert rows[0]["within_limits"] is False
    assert "size_bytes_low" not in rows[0]
    assert rows[-1]["accuracy"] is None
    assert {frozenset(r) for r in rows} == {frozenset(rows[0])}


def test_csv_json_and_parquet_say_the_same(rows):
    import io

    import pandas as pd

    from_csv = pd.read_csv(io.BytesIO(to_csv(rows)), encoding="utf-8-sig")
    from_json = json.loads(to_json(rows))
    assert list(from_csv.columns) == list(rows[0])
    assert from_json == rows
    assert from_csv["accuracy"][3] == rows[3]["accuracy"]
    assert has_parquet()
    from_parquet = pd.read_parquet(io.BytesIO(to_parquet(rows)))
    assert from_parquet["recipe"].tolist() == [r["recipe"] for r in rows]
    assert from_parquet["latency_ms"][0] == rows[0]["latency_ms"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"])
def test_no_cell_of_a_csv_is_a_formula(text):
    line = to_csv([{"recipe": text, "value": -1.5}]).decode("utf-8-sig").splitlines()[1]
    assert line.lstrip('"').startswith("'")
    assert line.endswith(",-1.5")


def test_no_trials_make_an_empty_table():
    assert flat_rows([], choose([], View())) == []
    assert json.loads(to_json([])) == []
    assert to_csv([]).decode("utf-8-sig").strip() == ""


def test_a_report_shows_what_became_of_the_network(home):
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    made = row, store.spec(row.id), store.trials(row.id)
    with_network = without_plotly(report_html(*made, network_of=from_files()))

    assert with_network.count('<div class="network">') == 1
    assert 'class="mark"' in with_network
    assert "The same as a table" in with_network
    assert with_network == without_plotly(report_html(*made, network_of=from_files()))
    assert 'class="mark"' not in without_plotly(report_html(*made))
    knee = find_front([t for t in made[2] if t.state == "done"], OBJECTIVES).knee
    chosen = next(t for t in made[2] if t.id == knee)
    assert f"From the baseline to {chosen.label}" in with_network


def test_files_that_are_gone_or_too_much_to_draw_leave_the_report_whole(home, monkeypatch, stored):
    # Trials of the factory name files that are nowhere.
    row, sweep, trials = stored()
    assert '<div class="network">' not in report_html(row, sweep, trials, network_of=from_files())
    store = Store.open()
    example = next(r for r in store.sweeps() if r.example)
    monkeypatch.setattr("engine.export.network.MOST_BYTES", 1_000)
    text = report_html(example, store.spec(example.id), store.trials(example.id), network_of=from_files())
    assert 'class="mark"' not in text
    assert "too many for a report" in text


def test_a_report_shows_where_answers_differ_once_somebody_has_asked(home):
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    made = row, store.spec(row.id), store.trials(row.id)
    asked = []

    def layers_of(trial):
        asked.append(trial.id)
        names = [name for box in from_files()(trial).boxes for name in box.layers]
        ratios = [{"name": name, "sqnr_db": 20.0 + i, "exact": False} for i, name in enumerate(names)]
        return {"layers": ratios, "sentence": "Answers begin to differ at a.", "reference": "baseline"}

    text = without_plotly(report_html(*made, network_of=from_files(), layers_of=layers_of))
    assert asked == [find_front([t for t in made[2] if t.state == "done"], OBJECTIVES).knee]
    assert text.count('<div class="network">') == 2
    assert "Answers begin to differ at a." in text
    assert "20 dB" in text
    unasked = without_plotly(report_html(*made, network_of=from_files(), layers_of=lambda trial: None))
    assert unasked == without_plotly(report_html(*made, network_of=from_files()))
