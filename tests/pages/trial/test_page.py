"""The Trial page: everything about one recipe, and what is worked out about it by a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.errors import AccessError, SetupError
from engine.explain import portability, why
from engine.frontier.verdict import verdict
from engine.measure.profile import Kernel, Profile
from engine.metrics import text_of
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.evidence import Confirmation
from pages.shared import jobs
from pages.shared.jobs import Job
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials, trial
from tests.helpers.visitors import EDITOR, VIEWER, labels, visit, write

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def runs(monkeypatch):
    """Jobs start a process that waits instead of measuring; their commands."""
    started, commands, popen = [], [], subprocess.Popen

    def start(command, **options):
        commands.append((command, options))
        started.append(popen([sys.executable, "-c", "import time; time.sleep(120)"], **options))
        return started[-1]

    monkeypatch.setattr("pages.shared.jobs.subprocess.Popen", start)
    yield commands
    for process in started:
        process.kill()
        process.wait()


def every_number(app):
    """The table of that name, its cells and names without Markdown's escapes."""
    (found,) = [t.value for t in app.table if "How it is known" in t.value.columns]
    found = found.replace({r"\\": ""}, regex=True)
    found.index = [name.replace("\\", "") for name in found.index]
    return found


def press(app, label):
    next(b for b in app.button if b.label == label).click().run()
    assert not app.exception
    return app


def test_a_link_shows_the_recipe_its_numbers_and_how_each_is_known():
    sweep, made = enter(), sweep_trials()[4]
    app = open_app("trial", sweep=sweep.id, trial=made.id)
    assert address(app) == {"sweep": sweep.id, "trial": made.id}
    said = words(app).replace("\\", "")
    assert "Remove whole channels until 25 % of the parameters are gone" in said
    table = every_number(app)
    assert table.loc["Accuracy", "Value"] == text_of("accuracy", made.accuracy.value)
    assert "measured on 10,000 test samples, 95 % interval" in table.loc["Accuracy", "How it is known"]
    assert "estimated: 10 W for one core at work" in table.loc["Energy", "How it is known"]
    before = sweep_trials()[0]
    assert table.loc["File size", "Baseline"] == text_of("size_bytes", before.size_bytes)
    percent = (made.size_bytes / before.size_bytes - 1) * 100
    assert table.loc["File size", "Difference"] == f"\u2212{-percent:.0f} %"
    assert "Latency on stm32h7a3-xcubeai" in table.index
    assert {"p50", "p95", "p99", "Memory at most"} <= {m.label for m in app.metric}
    copied = "\n".join(c.value for c in app.code)
    assert f"trial?sweep={sweep.id}&trial={made.id}" in copied
    assert f"paretoscope why {sweep.id} {made.id}" in copied
    assert f"paretoscope export {sweep.id} {made.id} -o {sweep.id}-{made.id}.zip" in copied


def test_it_opens_on_the_recommended_recipe(example):
    row, trials = example
    app = open_app("trial", sweep=row.id)
    told = verdict(list(trials.values()), ("accuracy", "latency_ms"), {}).trial
    assert app.selectbox(key="trial trial").value == told == address(app)["trial"]
    assert told != trials["baseline"].id


def test_the_baseline_can_be_looked_at_too(example):
    row, trials = example
    app = open_app("trial", sweep=row.id, trial=trials["baseline"].id)
    assert "Why isn’t it faster?" not in [s.value for s in app.subheader]
    assert "paretoscope why" not in app.code[-1].value


def test_another_recipe_is_written_into_the_address(example):
    row, trials = example
    app = open_app("trial", sweep=row.id)
    app.selectbox(key="trial trial").select(trials["int8"].id).run()
    assert address(app) == {"sweep": row.id, "trial": trials["int8"].id}


def test_the_bytes_add_up_to_the_file_and_the_page_says_so(example):
    row, trials = example
    made = trials["int8"]
    said = words(open_app("trial", sweep=row.id, trial=made.id))
    own = sum(made.size_layers.values())
    assert f"= {made.size_bytes:,} bytes: the whole file" in said
    assert f"{own:,} bytes, and {made.size_bytes - own:,} that are no layer’s own" in said


def test_raw_samples_of_the_example_are_there_and_where_they_are_not_the_page_says_why(example, monkeypatch):
    row, trials = example
    assert "Every timed call: " in words(open_app("trial", sweep=row.id, trial=trials["int8"].id))
    monkeypatch.setattr("pages.shared.queries.latency_samples", lambda *_: None)
    said = words(open_app("trial", sweep=row.id, trial=trials["int8"].id))
    assert "The raw samples are not in this store" in said


@pytest.mark.parametrize("asked", ["../../etc/passwd", "<script>", "ffffffff", "a" * 5_000])
def test_hostile_addresses_show_a_page_all_the_same(asked):
    enter()
    app = open_app("trial", sweep=asked, trial=asked)
    assert app.selectbox
    assert not app.error


def test_old_records_say_nothing_of_intervals_they_do_not_have(example):
    row, trials = example
    old = trials["int8"]
    Store.open().save_trial(row.id, replace(old, quality=replace(old.quality, intervals={})))
    table = every_number(open_app("trial", sweep=row.id, trial=old.id))
    worst = table.loc["Recall of the worst class"]
    assert worst["Value"] == text_of("lowest_recall", old.quality.lowest_recall)
    assert worst["Range"] == ""
    assert "widened" not in worst["How it is known"]


def test_why_is_drawn_for_everybody_once_somebody_has_asked(example, monkeypatch, home: Path):
    row, trials = example
    fast = Profile((Kernel("a", "QLinearConv", "a", 1.0), Kernel("q", "QuantizeLinear", "", 0.5), Kernel("z", "Add", "", 0.1)),
                   1.8, 1, 1000, {"a": 1000}, {"a": 12})  # fmt: skip
    slow = Profile((Kernel("a", "Conv", "a", 1.2),), 1.3, 1, 2000, {"a": 2000}, {"a": 16})
    monkeypatch.setattr("engine.measure.operators.profile_pair", lambda *_: [fast, slow])
    why.why(Store.open(), Artifacts.open(), row.id, trials["int8"].id)
    write(home)
    app = visit(VIEWER, "trial", sweep=row.id, trial=trials["int8"].id)
    said = words(app)
    assert "saves 50 % of the MACs" in said
    assert "Quantize and Dequantize nodes that did not fuse: 1**, 0.5 ms a call: q" in said
    assert "a \\(12\\)" in said
    tiles = {m.label: m.value for m in app.metric}
    assert (tiles["MACs saved"], tiles["Time saved"]) == ("50 %", "-33 %")
    # What nobody has asked yet is not the viewer's to start.
    assert "takes the role editor" in said
    assert not {"Predict it", "Profile it beside the baseline"} & set(labels(app))


def test_portability_shows_the_prediction_and_offers_the_safe_recipe(example, monkeypatch):
    from tests.helpers.portability import made_portability

    row, trials = example
    monkeypatch.setattr("engine.measure.portability.measure_portability", lambda *_: made_portability())
    portability.portability(Store.open(), Artifacts.open(), row.id, trials["int8"].id)
    app = open_app("trial", sweep=row.id, trial=trials["int8"].id)
    tiles = {m.label: m.value for m in app.metric}
    assert (tiles["Exact sums"], tiles["Saturating sums (sim.)"]) == ("93.00 %", "90.00 %")
    safe = json.loads(app.code[-1].value.removeprefix("- "))
    assert parse_sweep({"model": {"source": "resnet8"}, "recipes": [safe]}).all_recipes[1].steps[0].weight_bits == 7
    assert "On CPUs without VNNI" not in [
        s.value for s in open_app("trial", sweep=row.id, trial=trials["4-bit weights"].id).subheader
    ]


def test_asking_starts_a_process_that_all_sessions_follow_and_may_stop(example, runs):
    row, trials = example
    here = {"sweep": row.id, "trial": trials["int8"].id}
    app = press(open_app("trial", **here), "Profile it beside the baseline")
    ((command, options),) = runs
    assert command[1:] == ["-m", "engine.cli", "why", row.id, trials["int8"].id, "--json"]
    assert options["start_new_session"] is True
    assert "so far" in words(app)
    other = open_app("trial", **here)
    assert "so far" in words(other)
    assert "Profile it beside the baseline" not in labels(other)
    # Two that measure at once would measure each other.
    assert next(b for b in other.button if b.label == "Predict it").disabled
    with pytest.raises(SetupError, match="something is being worked out"):
        jobs.start(Job("portability", row.id, trials["int8"].id))
    press(other, "Cancel")
    assert jobs.elapsed_s(Job("why", row.id, trials["int8"].id)) is None
    said = words(open_app("trial", **here))
    assert "stopped before it was done" in said
    assert "so far" not in said


def test_a_try_that_failed_says_why_and_can_be_repeated(example):
    row, trials = example
    job = Job("why", row.id, trials["int8"].id)
    job.log.write_text("some noise\nparetoscope: the file is gone; run the sweep again\n")
    app = open_app("trial", sweep=row.id, trial=trials["int8"].id)
    assert "did not work: the file is gone; run the sweep again" in words(app)
    assert "Profile it beside the baseline" in labels(app)
    job.log.write_text('{\n "advice": []\n}\n')
    assert jobs.last_words(job) is None


def test_nothing_is_measured_beside_a_sweep_that_runs(example):
    row, trials = example
    enter("busy", state="running", pending=20)
    app = open_app("trial", sweep=row.id, trial=trials["int8"].id)
    assert next(b for b in app.button if b.label == "Predict it").disabled
    assert "the sweep 'busy' is running" in words(app)


def test_only_an_editor_starts_or_stops_anything(example, runs, home: Path):
    row, trials = example
    write(home)
    job = Job("why", row.id, trials["int8"].id)
    for act in (jobs.start, jobs.cancel):
        with pytest.raises(AccessError):
            act(job)
    assert runs == []
    editor = visit(EDITOR, "trial", sweep=row.id, trial=trials["int8"].id)
    press(editor, "Profile it beside the baseline")
    assert len(runs) == 1
    viewer = visit(VIEWER, "trial", sweep=row.id, trial=trials["int8"].id)
    assert "so far" in words(viewer)
    assert "Cancel" not in labels(viewer)


@pytest.mark.parametrize(
    "note", ["{", '{"process": 999999999, "started": 1.0}', '{"process": "x", "started": 1}', "[]"]
)
def test_a_note_of_a_process_that_is_none_is_no_running_job(note):
    job = Job("confirm", "a", "b")
    job.note.write_text(note)
    assert jobs.elapsed_s(job) is None
    assert not job.note.exists()


def test_a_process_that_only_has_the_same_number_is_left_alone():
    job = Job("why", "a", "b")
    me = psutil.Process()
    job.note.write_text(json.dumps({"process": me.pid, "started": me.create_time() - 3600}))
    jobs.cancel(job)
    assert me.is_running()
    assert jobs.in_the_way() is None


def test_held_back_images_are_offered_where_there_are_any():
    store = Store.open()
    spec = {"name": "apart", "model": {"source": "resnet8"}, "space": SPACE, "measure": {"held_back": 0.2}}
    sweep = parse_sweep(spec)
    made = [trial(t.recipe) for t in sweep_trials()[:3]]
    found = Confirmation(made[2].accuracy, 0.93, 1, "2026-01-01T00:00:00+00:00")
    made[2] = trial(made[2].recipe, confirmation=found)
    store.begin(sweep, made, 1, 1)
    store.end(sweep.id, "done")
    app = open_app("trial", sweep=sweep.id, trial=made[1].id)
    assert "Confirm on held-back samples" in labels(app)
    assert "on the 20 % of the test samples" in words(app)
    app = open_app("trial", sweep=sweep.id, trial=made[2].id)
    assert "Confirm on held-back samples" not in labels(app)
    assert "on 10,000 held-back samples" in words(app)


def test_without_held_back_images_the_page_says_how_to_have_some(example):
    row, trials = example
    said = words(open_app("trial", sweep=row.id, trial=trials["int8"].id))
    assert "measure: {held_back: 0.2}" in said
