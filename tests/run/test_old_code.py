"""What an earlier version of the code has finished is told of, taken when asked for, and never mixed up with what this one makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.cli.resume import resume
from engine.measure.machine import machine
from engine.run.forecast import preview
from engine.run.missing import missing_nodes
from engine.run.old_code import left_by_old_code, with_old_code
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.rows import NodeRow
from engine.store.store import Store
from tests.helpers.other_code import OtherCode, other_code
from tests.helpers.run_here import swept
from tests.helpers.tiny import write_problem

SMALL = "space={quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}]}"
PRUNED = "space={prune: [null, {method: magnitude, ratio: 0.5}]}"


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherCode]:
    with other_code(monkeypatch) as code:
        yield code


def run(place: Path, *overrides: str) -> tuple[Sweep, Plan]:
    sweep, trials, plan = swept(write_problem(place), *overrides)
    assert all(t.state == "done" for t in trials)
    return sweep, plan


def left(plan: Plan) -> dict[str, NodeRow]:
    return left_by_old_code(plan, machine(), Store.open(), Artifacts.open())


def test_nothing_is_left_by_old_code_where_the_code_is_the_same(place: Path):
    sweep, plan = run(place, SMALL)
    assert left(plan) == {}
    found = preview(sweep, Store.open(), Artifacts.open())
    assert (found.missing_nodes, found.old_code_nodes, found.old_code_s) == (0, 0, 0.0)


def test_what_differs_in_code_alone_is_counted_with_what_it_took_and_run_again_unless_asked(
    place: Path, code: OtherCode
):
    sweep, before = run(place, SMALL)
    code.change("compress/quantize.py")
    store, artifacts = Store.open(), Artifacts.open()
    now = make_plan(sweep, machine())
    # The quantized file, and the two that are measured on it; what comes before is as it was.
    lost = {k: n for k, n in now.nodes.items() if k not in before.nodes}
    assert sorted(n.kind for n in lost.values()) == ["accuracy", "facts", "quantize"]
    found = preview(sweep, store, artifacts)
    rows = store.nodes(before.nodes.keys() - now.nodes.keys())
    assert (found.missing_nodes, found.old_code_nodes) == (3, 3)
    assert found.old_code_s == round(sum(row.seconds for row in rows.values()), 1)
    assert missing_nodes(now, store, artifacts) == lost.keys()


def test_a_run_that_is_told_to_takes_them_and_every_trial_says_so(place: Path, code: OtherCode):
    sweep, before = run(place, SMALL)
    store, artifacts = Store.open(), Artifacts.open()
    measured = store.trials(sweep.id)
    code.change("compress/quantize.py", "measure/accuracy.py")
    outcome = execute(sweep, store, artifacts, keep_old_code=True)
    assert (outcome.state, outcome.nodes_run) == ("done", 0)
    trials = store.trials(sweep.id)
    assert [t.accuracy for t in trials] == [t.accuracy for t in measured]
    assert [t.artifact for t in trials] == [t.artifact for t in measured]
    assert "1 of its 4 steps and measurements were made by an earlier version" in trials[0].notes[0]
    assert "3 of its 5 steps" in trials[1].notes[0]
    assert store.sweep(sweep.id).keep_old_code
    # Nothing was written down as if this code had made it.
    now = make_plan(sweep, machine())
    assert not store.nodes(now.nodes.keys() - before.nodes.keys())
    assert preview(sweep, store, artifacts).old_code_nodes == len(now.nodes.keys() - before.nodes.keys())


def test_what_is_new_is_made_from_the_old_and_carries_a_key_of_its_own(place: Path, code: OtherCode):
    run(place, PRUNED)
    code.change("compress/prune.py")
    more = (
        PRUNED.removesuffix("}") + ", quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}]}"
    )
    sweep = read_sweep(place / "spec.yaml", ("measure.latency=null", more))
    now = make_plan(sweep, machine())
    kept = with_old_code(now, left(now))
    assert {kept.nodes[k].kind for k in kept.old} == {"prune", "export", "facts", "accuracy"}
    fresh = [n for k, n in kept.nodes.items() if k not in now.nodes and k not in kept.old]
    assert sorted(n.kind for n in fresh) == ["accuracy", "facts", "quantize"]
    quantized = next(n for n in fresh if n.kind == "quantize")
    assert kept.nodes[quantized.inputs[0]].kind == "export"
    assert quantized.inputs[0] in kept.old
    # Every recipe has its place in it, and its stages are the trials before it.
    for chain in kept.chains:
        assert kept.asked_of(chain) <= kept.nodes.keys()
        assert [c.recipe for c in chain.stages] == list(chain.recipe.stages)
    assert len(kept.nodes) == len(now.nodes)


def test_a_node_whose_file_is_gone_is_made_again(place: Path, code: OtherCode):
    sweep, before = run(place, SMALL)
    artifacts = Artifacts.open()
    code.change("compress/quantize.py")
    now = make_plan(sweep, machine())
    assert len(left(now)) == 3
    quantized = next(n for k, n in before.nodes.items() if n.kind == "quantize" and k not in now.nodes)
    artifacts.local(quantized.artifact or "").unlink()
    assert "quantize" not in {row.kind for row in left(now).values()}


def test_what_was_measured_on_another_file_is_not_taken(place: Path, code: OtherCode):
    """This version has made the file, and was stopped before it measured it: the old figures are those of the old file."""
    sweep, before = run(place, SMALL)
    store, artifacts = Store.open(), Artifacts.open()
    code.change("compress/quantize.py")
    now = make_plan(sweep, machine())
    new = next(n for k, n in now.nodes.items() if n.kind == "quantize" and k not in before.nodes)
    (old,) = (n for k, n in before.nodes.items() if n.kind == "quantize")
    copy = place / "copy.onnx"
    copy.write_bytes(artifacts.local(old.artifact or "").read_bytes())
    artifacts.put(new.artifact or "", copy)
    store.save_node(NodeRow(new.key, "quantize", 1.0, 1.0, {}))
    assert left(now) == {}
    kept = with_old_code(now, left(now))
    assert sorted(kept.nodes[k].kind for k in missing_nodes(kept, store, artifacts)) == ["accuracy", "facts"]


def test_what_was_made_from_a_file_that_is_gone_goes_with_it(place: Path, code: OtherCode):
    _, before = run(place, SMALL)
    artifacts = Artifacts.open()
    (old,) = (n for n in before.nodes.values() if n.kind == "quantize")
    artifacts.local(old.artifact or "").unlink()
    code.change("compress/quantize.py")
    now = make_plan(before.sweep, machine())
    assert left(now) == {}


def test_what_rests_on_old_code_is_found_by_the_version_after_the_next(place: Path, code: OtherCode):
    """The first version pruned; the second, told to keep it, quantized that; for the third both are there."""
    run(place, PRUNED)
    code.change("compress/prune.py")
    more = (
        PRUNED.removesuffix("}") + ", quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}]}"
    )
    sweep = read_sweep(place / "spec.yaml", ("measure.latency=null", more))
    store, artifacts = Store.open(), Artifacts.open()
    assert execute(sweep, store, artifacts, keep_old_code=True).state == "done"
    assert execute(sweep, store, artifacts, keep_old_code=True).nodes_run == 0
    code.change("compress/prune.py", "measure/accuracy.py")
    third = execute(sweep, store, artifacts, keep_old_code=True)
    assert (third.state, third.nodes_run) == ("done", 0)


def test_another_model_has_nothing_to_do_with_it(place: Path, code: OtherCode):
    run(place, SMALL)
    code.change("compress/quantize.py", "models/sources.py")
    other = read_sweep(place / "spec.yaml", ("measure.latency=null", SMALL))
    assert len(left(make_plan(other, machine()))) > 0
    (place / "net.py").write_text((place / "net.py").read_text().replace("manual_seed(1)", "manual_seed(2)"))
    assert left(make_plan(other, machine())) == {}


def test_a_store_of_before_versions_were_noted_knows_which_one_filled_it(place: Path):
    store = Store.open()
    with store._engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM code_versions"))
        connection.execute(sa.text("DROP TABLE code_versions"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0005'"))
    (version,) = Store.open().earlier_code({})
    assert version["quantize"].startswith("a0699c6a")
    assert {"source", "finetune", "accuracy", "latency"} <= version.keys()


def test_versions_are_looked_through_from_the_last_one_back(place: Path):
    store = Store(f"sqlite:///{place / 'empty.db'}")
    for name in ("one", "two", "one"):
        store.save_code({"export": name})
    assert [v["export"] for v in store.earlier_code({"export": "three"})] == ["one", "two"]
    assert [v["export"] for v in store.earlier_code({"export": "one"})] == ["two"]


def test_the_command_line_tells_of_it(place: Path, code: OtherCode, capsys: pytest.CaptureFixture[str]):
    from engine.cli.plan import print_plan

    sweep, _ = run(place, SMALL)
    code.change("compress/quantize.py")
    found = preview(sweep, Store.open(), Artifacts.open())
    print_plan(found)
    assert "3 of those still to run were finished by an earlier version" in " ".join(capsys.readouterr().out.split())
    assert json.loads(json.dumps(asdict(found)))["old_code_nodes"] == 3


def test_resume_tells_what_it_would_run_again(
    place: Path, code: OtherCode, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    resumed: list[bool] = []
    monkeypatch.setattr("engine.cli.resume.execute_and_tell", lambda *given: resumed.append(given[-1]))
    sweep, _ = run(place, SMALL)
    resume(sweep.id)
    assert capsys.readouterr().err == ""
    code.change("measure/accuracy.py")
    resume(sweep.id)
    assert "2 nodes that an earlier version has finished run again" in capsys.readouterr().err
    resume(sweep.id, keep_old_code=True)
    assert capsys.readouterr().err == ""
    assert resumed == [False, False, True]
