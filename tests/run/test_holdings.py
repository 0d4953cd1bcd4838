"""Which files belong to which sweeps, and that nothing which one of them needs is ever removed."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run import holdings
from engine.run.holdings import YOUNG_S, collect, in_use
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.small_sweep import write_small_sweep
from tests.helpers.tiny_onnx import conv_net


@pytest.fixture
def store(place: Path) -> Store:
    return Store(f"sqlite:///{place / 'store.db'}")


@pytest.fixture
def artifacts(place: Path) -> Artifacts:
    return Artifacts(str(place / "artifacts"), place / "cache")


def sweep_of(place: Path, name: str, *steps: dict) -> Sweep:
    source = place / "net.onnx"
    if not source.exists():
        conv_net(source)
    space = {"quantize": [None, *steps]}
    data = {"source": "fashion_mnist", "preprocess": "none"}
    return parse_sweep({"name": name, "model": {"source": str(source)}, "data": data, "space": space})


def planned(sweep: Sweep, **changes) -> set[str]:
    return {n.artifact for n in make_plan(sweep, machine(), **changes).nodes.values() if n.artifact}


def put(artifacts: Artifacts, names: set[str], age_s: float = 2 * YOUNG_S) -> None:
    for name in names:
        path = Path(artifacts.url) / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
        os.utime(path, (time.time() - age_s,) * 2)


def begun(store: Store, sweep: Sweep, *trials: Trial) -> None:
    store.begin(sweep, trials or [Trial(r.id, r) for r in sweep.all_recipes], 9, 0)
    store.end(sweep.id, "done")


INT8, W4 = {"weight_bits": 8, "activation_bits": 8}, {"weight_bits": 4, "activation_bits": 8}
STRAY = "f" * 64 + ".onnx"


def test_shared_files_are_counted_for_both_and_only_what_nobody_needs_goes(
    place: Path, store: Store, artifacts: Artifacts
):
    one, other = sweep_of(place, "one", INT8), sweep_of(place, "other", INT8, W4)
    begun(store, one)
    begun(store, other)
    put(artifacts, planned(one) | planned(other) | {STRAY})
    use = in_use(store, artifacts)
    held = {h.sweep: h for h in use.holdings}
    assert held[one.id].n_bytes == 4 * len(planned(one))
    assert held[one.id].own_bytes == 0
    assert held[other.id].own_bytes == 4 * len(planned(other) - planned(one)) > 0
    assert [f.name for f in use.unneeded] == [STRAY]
    assert use.n_bytes == 4 * (len(planned(one) | planned(other)) + 1)

    collect(store, artifacts)
    assert {f.name for f in artifacts.stored()} == planned(one) | planned(other)
    store.delete_sweep(other.id)
    collect(store, artifacts)
    assert {f.name for f in artifacts.stored()} == planned(one)


def test_what_a_run_has_only_just_written_stays(place: Path, store: Store, artifacts: Artifacts):
    put(artifacts, {STRAY}, age_s=60)
    use = collect(store, artifacts)
    assert (use.unneeded, [f.name for f in use.young]) == ((), [STRAY])
    assert artifacts.has(STRAY)


def test_what_is_younger_than_a_running_sweep_stays_for_it_may_run_on_another_machine(
    place: Path, store: Store, artifacts: Artifacts
):
    sweep = sweep_of(place, "one", INT8)
    begun(store, sweep)
    store.begin(sweep, [Trial(r.id, r) for r in sweep.all_recipes], 9, 0)
    older = "e" * 64 + ".onnx"
    put(artifacts, {STRAY}, age_s=-60)
    put(artifacts, {older})
    hours_later = time.time() + 3 * YOUNG_S
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.run.holdings.time.time", lambda: hours_later)
        use = collect(store, artifacts)
        assert ([f.name for f in use.unneeded], [f.name for f in use.young]) == ([older], [STRAY])
        store.end(sweep.id, "done")
        assert [f.name for f in collect(store, artifacts).unneeded] == [STRAY]


def test_files_that_a_trial_names_stay_whatever_code_made_them(place: Path, store: Store, artifacts: Artifacts):
    sweep = sweep_of(place, "one", INT8)
    first, *others = (Trial(r.id, r) for r in sweep.all_recipes)
    begun(store, sweep, replace(first, state="done", artifact=STRAY), *others)
    put(artifacts, {STRAY})
    assert collect(store, artifacts).unneeded == ()


def test_what_earlier_code_made_stays_until_it_is_to_be_forgotten(place: Path, store: Store, artifacts: Artifacts):
    sweep = sweep_of(place, "one", INT8)
    begun(store, sweep)
    from engine.run.code_digest import code_digests
    from engine.store.rows import NodeRow

    before = {kind: f"{position:064x}" for position, kind in enumerate(code_digests())}
    old = make_plan(sweep, machine(), digest_of=before.__getitem__)
    store.save_code(before)
    source = next(iter(old.nodes.values()))
    store.save_node(NodeRow(source.key, source.kind, 1.0, 1.0, {}))
    theirs = {n.artifact for n in old.nodes.values() if n.artifact}
    put(artifacts, theirs)
    assert theirs.isdisjoint(planned(sweep))
    assert collect(store, artifacts).unneeded == ()
    assert {f.name for f in collect(store, artifacts, old_code=False).unneeded} == theirs


def test_nothing_goes_where_a_sweep_cannot_be_planned(place: Path, store: Store, artifacts: Artifacts):
    sweep = sweep_of(place, "one", INT8)
    begun(store, sweep)
    put(artifacts, {STRAY})
    (place / "net.onnx").unlink()
    assert "net.onnx" in (in_use(store, artifacts).holdings[0].problem or "")
    with pytest.raises(SetupError, match=rf"{sweep.id} cannot be planned .*net\.onnx.*nothing was removed"):
        collect(store, artifacts)
    assert artifacts.has(STRAY)


def test_what_a_sweep_needs_that_begins_while_others_are_planned_stays(
    place: Path, store: Store, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
):
    one, late = sweep_of(place, "one", INT8), sweep_of(place, "late", W4)
    begun(store, one)
    put(artifacts, planned(late) | {STRAY})
    held = holdings._held

    def slowly(*arguments: Any) -> holdings.Holding:
        if not [row for row in store.sweeps() if row.id == late.id]:
            begun(store, late)
        return held(*arguments)

    monkeypatch.setattr(holdings, "_held", slowly)
    assert [f.name for f in collect(store, artifacts).unneeded] == [STRAY]
    assert {f.name for f in artifacts.stored()} >= planned(late)


def test_what_a_sweep_needs_that_begins_while_files_are_removed_stays(
    place: Path, store: Store, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
):
    one, late = sweep_of(place, "one", INT8), sweep_of(place, "late", W4)
    begun(store, one)
    put(artifacts, planned(late) | {STRAY})
    needed = planned(late) - planned(one)
    monkeypatch.setattr(holdings, "_AT_ONCE", 1)
    remove = Artifacts.remove

    def slowly(files: Artifacts, names: Any) -> None:
        remove(files, names)
        if not [row for row in store.sweeps() if row.id == late.id]:
            begun(store, late)

    monkeypatch.setattr(Artifacts, "remove", slowly)
    gone = {f.name for f in collect(store, artifacts).unneeded}
    left = {f.name for f in artifacts.stored()}
    # One was removed by then.
    assert len(needed & gone) <= 1
    assert left == (planned(late) | {STRAY}) - gone
    assert STRAY in gone


def test_what_gc_takes_before_a_new_sweep_is_entered_is_made_again(
    place: Path, store: Store, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
):
    spec = write_small_sweep(place)
    first = read_sweep(spec)
    assert execute(first, store, artifacts).state == "done"
    store.delete_sweep(first.id)
    begin = Store.begin

    def begun_late(store: Store, *arguments: Any, **options: Any) -> float:
        """The run has seen that all is finished, and nobody knows of the run."""
        monkeypatch.setattr("engine.run.holdings.time.time", lambda: time.monotonic() + 10**10)
        collect(store, artifacts)
        monkeypatch.undo()
        monkeypatch.setenv("PARETOSCOPE_HOME", str(place / "home"))
        assert artifacts.stored() == []
        return begin(store, *arguments, **options)

    monkeypatch.setattr(Store, "begin", begun_late)
    again = read_sweep(spec, ("name=again",))
    outcome = execute(again, store, artifacts)
    assert (outcome.state, outcome.trials_done, outcome.recipes_left) == ("done", 2, 0)
    assert all(artifacts.has(str(trial.artifact)) for trial in store.trials(again.id))
