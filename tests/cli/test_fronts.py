"""`paretoscope front` of several sweeps."""

import json

import pytest

from engine.cli.front import front
from engine.errors import SpecError
from engine.store.store import Store
from tests.helpers.pages import enter
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")


def test_two_sweeps_have_a_joint_frontier_and_each_says_whom_it_beats(capsys):
    one, two = enter(), enter("second", pending=12)
    front(one.id, [two.id], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["objectives"] == ["accuracy", "size_bytes", "latency_ms"]
    assert [s["id"] for s in found["sweeps"]] == [one.id, two.id]
    # The second is half of the first: it beats nothing, and nothing of it is beyond the first.
    beaten = found["sweeps"][0]["beats"][two.id]["value"]
    assert found["sweeps"][1]["beats"][one.id]["value"] == 0
    ids = {t.id for t in sweep_trials()}
    assert {t["id"] for t in found["joint"]} <= ids
    assert {t["sweep"] for t in found["joint"]} <= {one.id, two.id}
    assert found["sweeps"][0]["hypervolume"]["value"] >= found["sweeps"][1]["hypervolume"]["value"]
    assert 0 <= beaten < 1
    front(one.id, [two.id], objectives="accuracy,size_bytes")
    text = capsys.readouterr().out
    assert "The joint frontier over accuracy and file size has" in text
    assert "second" in text


def test_sweeps_of_other_data_are_listed_one_after_the_other(capsys):
    names = [r.id for r in Store.open().sweeps() if r.example]
    front(names[0], names[1:], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["joint"] == []
    assert "on different data" in found["not_comparable"][0]
    assert all(s["hypervolume"] is None and s["frontier"] for s in found["sweeps"])
    front(names[0], names[1:])
    assert "each sweep has its own frontier, and none is joint" in " ".join(capsys.readouterr().out.split())


def test_mistakes_are_told_in_a_line():
    one, two = enter(), enter("second")
    with pytest.raises(SpecError, match="named twice"):
        front(one.id, [one.id])
    with pytest.raises(SpecError, match="--tied is of one sweep"):
        front(one.id, [two.id], tied=True)
    with pytest.raises(SpecError, match="two objectives"):
        front(one.id, [two.id], objectives="accuracy")
    with pytest.raises(SpecError, match="name 2 to 6"):
        front(one.id, [enter(str(i)).id for i in range(6)])
