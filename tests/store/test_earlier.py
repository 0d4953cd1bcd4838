"""The run before the last of a sweep, and other homes that are read and never written."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import InputError, NotFoundError, RunningError
from engine.paths import home_path
from engine.run.plan import Chain, Node, Plan
from engine.run.run import _Run
from engine.run.under_way import to_keep, under_way
from engine.spec.recipe import Recipe
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.backup import back_up
from engine.store.other_home import open_home
from engine.store.store import Store
from tests.helpers.pages import enter
from tests.helpers.trial_factory import CUT, INT8, trial

pytestmark = pytest.mark.usefixtures("home")


def test_one_earlier_run_is_kept_whole_and_goes_with_its_sweep():
    sweep, store = enter(), Store.open()
    assert store.earlier.of(sweep.id) == []
    assert store.earlier.kept(sweep.id) is None
    store.earlier.keep(sweep.id, [trial(), trial(INT8)])
    store.earlier.keep(sweep.id, [trial(CUT, accuracy=0.8), trial()])
    assert store.earlier.of(sweep.id) == [trial(CUT, accuracy=0.8), trial()]
    assert store.earlier.kept(sweep.id).startswith("20")
    assert store.earlier.of("another") == []
    store.delete_sweep(sweep.id)
    assert store.earlier.of(sweep.id) == []


def plan(sweep):
    """Two recipes, each with one network and two measurements."""
    nodes, chains = {}, []
    for recipe in (Recipe(), CUT):
        names = [f"{recipe.id} {kind}" for kind in ("export", "facts", "accuracy")]
        for kind, name in zip(("export", "facts", "accuracy"), names, strict=True):
            nodes[name] = Node(name, kind, (), {}, 1.0, ".bin")
        chains.append(Chain(recipe, *names, None))
    return Plan(sweep, nodes, tuple(chains))


def finished(recipe=None):
    """A trial that the plan's nodes made."""
    made = trial(recipe)
    return replace(made, artifact=f"{made.id} export.bin", predictions=f"{made.id} accuracy.bin")


def test_a_run_keeps_what_was_finished_only_where_that_becomes_another():
    store, sweep = Store.open(), parse_sweep({"name": "x", "model": {"source": "resnet8"}})
    planned = plan(sweep)
    waiting = trial(CUT, state="pending")
    earlier = {t.id: t for t in (finished(), waiting)}
    # It goes on: what is missing belongs to what was never measured.
    assert to_keep(planned, earlier, {f"{CUT.id} accuracy"}) == []
    found = to_keep(planned, earlier, {f"{Recipe().id} accuracy"})
    assert found == [finished(), waiting]
    store.begin(sweep, [waiting], 6, 0, earlier_run=found)
    assert store.earlier.of(sweep.id) == [finished(), waiting]
    store.end(sweep.id, "cancelled")
    # Now the run is broken off and goes on: the run before the last is still the same.
    found = to_keep(planned, {waiting.id: waiting}, {f"{Recipe().id} accuracy"})
    store.begin(sweep, [waiting], 6, 0, earlier_run=found)
    assert store.earlier.of(sweep.id) == [finished(), waiting]
    # Nothing is missing, and yet the trials will be others: the data are as they once were.
    other = replace(finished(), predictions="of other data.bin")
    assert to_keep(planned, {other.id: other}, ()) == [other]


def test_what_is_under_way_is_told_in_words():
    planned = plan(parse_sweep({"name": "x", "model": {"source": "resnet8"}}))
    labels = {key: chain.recipe.label for chain in planned.chains for key in (chain.model, *chain.measures)}
    assert under_way(planned, (), labels) is None
    told = under_way(planned, [f"{CUT.id} accuracy", f"{CUT.id} export"], labels)
    assert told == '["exporting channels −50 %", "testing channels −50 %"]'
    assert under_way(planned, list(planned.nodes) * 2, labels).endswith('"6 more"]')


def contents(folder: Path) -> dict[str, str]:
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix not in (".db-shm", ".db-wal")
    }


def test_another_home_and_a_backup_are_read_and_not_changed(tmp_path):
    sweep = enter("of yesterday")
    name = "a" * 64 + ".json"
    path = home_path() / "artifacts" / "aa" / name
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    back_up(tmp_path / "yesterday.zip")
    before = contents(home_path())
    for place, source in enumerate((home_path(), tmp_path / "yesterday.zip")):
        scratch = tmp_path / f"scratch {place}"
        scratch.mkdir()
        there = open_home(source, scratch)
        assert [t.label for t in there.store.trials(sweep.id)] == [t.label for t in Store.open().trials(sweep.id)]
        assert there.find(name).read_text() == "{}"
        with pytest.raises(NotFoundError):
            there.find("b" * 64 + ".json")
        assert not any(r.name == "changed" for r in there.store.sweeps())
        there.store.earlier.keep(sweep.id, [trial()])
    assert contents(home_path()) == before
    assert Store.open().earlier.of(sweep.id) == []
    assert Artifacts.open().has(name)


def test_what_is_no_home_and_no_backup_is_refused_in_a_line(tmp_path):
    with pytest.raises(NotFoundError, match="has no paretoscope"):
        open_home(tmp_path, tmp_path)
    with pytest.raises(NotFoundError, match="does not exist"):
        open_home(tmp_path / "gone.zip", tmp_path)
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(InputError, match="not a readable backup"):
        open_home(tmp_path / "no.zip", tmp_path)


def test_a_run_that_is_refused_keeps_nothing_as_the_run_before():
    store, sweep = Store.open(), parse_sweep({"name": "x", "model": {"source": "resnet8"}})
    planned = plan(sweep)
    waiting = trial(CUT, state="pending")
    store.begin(sweep, [finished(), waiting], 6, 0)
    store.earlier.keep(sweep.id, [trial(accuracy=0.5)])
    # All that is planned is missing here, as to a second program with another version of the code.
    second = _Run(planned, store, Artifacts.open(), lambda progress: None)
    with pytest.raises(RunningError, match="is being run by process"):
        second.follow(None)
    assert store.earlier.of(sweep.id) == [trial(accuracy=0.5)]
