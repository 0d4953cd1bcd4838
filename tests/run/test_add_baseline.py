"""A file as the baseline of a sweep of its own, with another sweep's files measured against it; and an added file taken out again."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from engine.errors import InputError
from engine.run.add import add_file, remove_file
from engine.run.add_baseline import add_as_baseline
from engine.run.run import execute
from tests.run.test_add import swept


def altered(source: Path, target: Path) -> Path:
    """The same network, other bytes."""
    model = onnx.load(source)
    model.producer_name = "somebody"
    onnx.save(model, target)
    return target


def test_every_file_of_the_old_sweep_is_measured_against_the_new_baseline(place: Path):
    store, artifacts, old = swept(place, "measure.latency=null", "recipes=[[{step: runtime, threads: 1, batch: 2}]]")
    before = store.trials(old.id)
    file = altered(artifacts.local(before[0].artifact), place / "theirs.onnx")
    made = add_as_baseline(store, artifacts, old.id, file, "theirs")
    assert (made.sweep != old.id, made.outcome.state) == (True, "done")
    trials = store.trials(made.sweep)
    assert [t.label for t in trials] == ["baseline", "baseline of tiny", before[1].label]
    assert made.left_out == (f"{before[2].label}: it is a way to run a file, not a file",)
    assert trials[0].accuracy.value == before[0].accuracy.value
    again = trials[2]
    assert artifacts.local(again.artifact).read_bytes() == artifacts.local(before[1].artifact).read_bytes()
    assert (again.accuracy.value, again.accuracy.vs_baseline is not None) == (before[1].accuracy.value, True)
    assert store.trials(old.id) == before
    spec = store.spec(made.sweep)
    assert (spec.model.source, spec.data, spec.measure) == (str(file), old.data, old.measure)
    same = add_as_baseline(store, artifacts, old.id, file, "theirs")
    assert (same.sweep, same.outcome.nodes_run) == (made.sweep, 0)


def test_what_cannot_be_a_baseline_is_refused_and_nothing_is_recorded(place: Path):
    store, artifacts, old = swept(place, "space.quantize=null", "measure.latency=null")
    file = artifacts.local(store.trials(old.id)[0].artifact)
    (place / "text.onnx").write_text("no graph")
    (place / "file.bin").write_bytes(file.read_bytes())
    sweeps = [row.id for row in store.sweeps()]
    for path, name, words in (
        (place / "text.onnx", "x", "is not an ONNX file"),
        (place / "file.bin", "x", "is not called .onnx"),
        (file, "<b>", "--name"),
    ):
        with pytest.raises(InputError, match=words):
            add_as_baseline(store, artifacts, old.id, path, name)
    store.begin(old, store.trials(old.id), 1, 1)
    store.beat(old.id, 1, 0.0, None)
    with pytest.raises(InputError, match="is running"):
        add_as_baseline(store, artifacts, old.id, file, "x")
    assert [row.id for row in store.sweeps()] == sweeps


def test_an_added_file_is_taken_out_and_the_next_run_does_not_bring_it_back(place: Path):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency=null")
    before, spec = store.trials(sweep.id), store.spec(sweep.id)
    source = artifacts.local(before[0].artifact)
    for name in ("mine", "yours"):
        add_file(store, artifacts, sweep.id, altered_by(name, source, place), name)
    trial = store.trials(sweep.id)[1]
    store.notes.say(sweep.id, trial.id, "remember")
    revision = store.revision(sweep.id)
    with pytest.raises(InputError, match=r"no file called 'baseline' was added.*mine, yours"):
        remove_file(store, sweep.id, "baseline")
    assert remove_file(store, sweep.id, "mine") == trial
    assert [t.label for t in store.trials(sweep.id)] == ["baseline", "yours"]
    assert (store.sweep(sweep.id).recipes, store.revision(sweep.id) > revision) == (2, True)
    assert not store.notes.of(sweep.id)
    assert execute(sweep, store, artifacts).trials_done == 2
    remove_file(store, sweep.id, "yours")
    assert (store.trials(sweep.id), store.spec(sweep.id)) == (before, spec)
    assert add_file(store, artifacts, sweep.id, altered_by("mine", source, place), "mine").outcome.nodes_run == 0


def altered_by(name: str, source: Path, place: Path) -> Path:
    model = onnx.load(source)
    model.producer_name = name
    onnx.save(model, place / f"{name}.onnx")
    return place / f"{name}.onnx"


def test_what_a_sweep_is_judged_by_comes_along(place: Path):
    store, artifacts, old = swept(place, "measure.latency=null", "metric=macro_f1", "data.task=classification")
    file = altered(artifacts.local(store.trials(old.id)[0].artifact), place / "theirs.onnx")
    made = add_as_baseline(store, artifacts, old.id, file, "theirs")
    assert store.spec(made.sweep).metric == store.spec(old.id).metric
    before, after = store.trials(old.id), store.trials(made.sweep)
    assert after[0].score.value == before[0].score.value
    assert after[-1].score.vs_baseline is not None
