"""`paretoscope compare` on the shipped example; tests/interchange/test_page.py runs it as a process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.cli.compare import compare
from engine.errors import NotFoundError, SpecError
from engine.store.store import Store

SWEEP = "example-resnet8"


def test_trials_stand_side_by_side_and_pairs_are_tested(home: Path, capsys: pytest.CaptureFixture[str]):
    store = Store.open()
    listed = store.trials(store.sweep(SWEEP).id)[:3]
    ids = [t.id for t in listed]
    compare(SWEEP, ids, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [t["id"] for t in found["trials"]] == ids
    for pair in found["pairs"]:
        assert pair["told_apart"] == (pair["p_holm"] < 0.05)
        assert pair["n"] == 10_000
    # The record has the same test, of each with the baseline.
    assert [p["p"] for p in found["pairs"][:2]] == [t.accuracy.p_vs_baseline for t in listed[1:] if t.accuracy]
    options = {r["name"]: r for r in found["options"]}
    assert options["quantize: weight bits"]["values"] == ["–", "8", "4"]
    # By their starts, as every command takes them.
    compare(SWEEP, [name[:6] for name in ids[:2]])
    assert "not told apart" in capsys.readouterr().out
    with pytest.raises(SpecError, match="1 different trial named; name 2 to 6"):
        compare(SWEEP, [ids[0], ids[0]])
    with pytest.raises(NotFoundError, match="'zz'"):
        compare(SWEEP, [ids[0], "zz"])
