"""A sweep of an uploaded network that asks for everything: pages say so in one line, and go on."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.paths import uploads_path
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.uploads import bounds, networks
from engine.uploads.kept_process import KeptProcesses
from pages.shared import queries, share, trial_panel
from tests.helpers.hostile_networks import endless, huge
from tests.helpers.pages import open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials

pytestmark = pytest.mark.usefixtures("home")
ENDLESS, HUGE = "e" * 64 + ".onnx", "f" * 64 + ".onnx"


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """Its second recipe never ends, its third takes 4 GB; two seconds and 1 GB are given."""
    store, artifacts = Store.open(), Artifacts.open()
    source = uploads_path() / ("a" * 64) / "model.onnx"
    made = parse_sweep({"name": "sent", "model": {"source": str(source)}, "space": SPACE})
    first, second, third, *rest = sweep_trials()
    artifacts.put(ENDLESS, endless(tmp_path / "e.onnx"))
    artifacts.put(HUGE, huge(tmp_path / "h.onnx", 10**9))
    trials = [first, replace(second, artifact=ENDLESS), replace(third, artifact=HUGE), *rest]
    store.begin(made, trials, nodes_total=1, nodes_done=1)
    for trial in trials:
        store.save_trial(made.id, trial)
    store.end(made.id, "done", None)
    limits = replace(bounds.OPENING, wall_s=2, memory_bytes=1 << 30)
    processes = KeptProcesses("engine.uploads.network_process", limits)
    monkeypatch.setitem(networks.PROCESSES, True, processes)
    yield made.id, trials[1:3]
    processes.close()


def test_playground_says_of_each_what_it_takes(sweep):
    name, (never, much) = sweep
    said = words(open_app("playground", sweep=name, trials=f"{never.id},{much.id}", image="7"))
    assert f"the network of {never.label} takes more than 2 s" in said
    assert f"the network of {much.label} takes more than 1.1 GB of memory" in said
    assert "Test image 7" in said


def test_compare_shows_all_but_the_layers(sweep):
    name, (never, much) = sweep
    app = open_app("compare", sweep=name, trials=f"{much.id},{never.id}")
    app.toggle(key="compare layers").set_value(True).run()
    assert not app.exception
    assert "takes more than 1\\.1 GB of memory" in words(app)
    assert "The networks, and their difference" in words(app)


def test_a_bundle_of_it_ends_in_one_line(sweep, monkeypatch):
    name, (never, _) = sweep
    monkeypatch.setattr(trial_panel, "CHECKING", replace(bounds.CHECKING, wall_s=3))
    with pytest.raises(InputError, match=r"the bundle takes more than 3 s; .*paretoscope export"):
        trial_panel.bundle_bytes(name, never.id)


def test_a_bundle_of_a_sound_upload_is_made_with_limits(example, monkeypatch):
    row, trials = example
    monkeypatch.setattr(queries, "is_uploaded", lambda row: True)
    made = trial_panel.bundle_bytes(row.id, next(iter(trials.values())).id)
    with zipfile.ZipFile(io.BytesIO(made)) as bundle:
        assert {"model.onnx", "verify.py"} <= {Path(name).name for name in bundle.namelist()}


def test_a_report_reads_its_networks_there_too(example):
    made = share.report_bytes(example[0], ("accuracy", "size_bytes"), "host").decode()
    assert made.count('<div class="network">') == 1
    assert "The network, and what became of it" in made


def test_trial_says_it_in_the_place_of_the_picture(sweep):
    name, (never, _) = sweep
    app = open_app("trial", sweep=name, trial=never.id)
    app.toggle(key="trial network").set_value(True).run()
    assert not app.exception
    assert "takes more than 2 s, the most that an uploaded network is given" in words(app)
