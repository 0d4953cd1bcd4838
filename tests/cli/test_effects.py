"""What `effects` and the last line of `front` print, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from tests.helpers.command_line import paretoscope, refused
from tests.helpers.trial_factory import SPACE, sweep_trials


def test_effects_of_a_sweep_as_a_table_and_as_json(tmp_path: Path) -> None:
    said = paretoscope("effects", "example-resnet8", "--metrics", "accuracy,size_bytes", home=tmp_path).stdout
    line = next(line for line in said.splitlines() if line.startswith("int8 "))
    assert "8" in line.split()
    assert "−70 %" in line
    found = json.loads(paretoscope("effects", "example-resnet8", "--json", home=tmp_path).stdout)
    assert found["factorial"] is True
    int8 = next(e for e in found["effects"] if e["option"] == "int8")
    assert int8["text"].startswith("int8: ")
    assert (
        int8["changes"]["accuracy"]["low"]
        <= int8["changes"]["accuracy"]["value"]
        <= int8["changes"]["accuracy"]["high"]
    )
    assert len(int8["recipes"]) == int8["pairs"] == 8
    refused(paretoscope("effects", "example-resnet8", "--metrics", "beauty", home=tmp_path), "'beauty' is not a metric")


def test_the_frontier_ends_with_what_to_ship(tmp_path: Path) -> None:
    said = paretoscope("front", "example-resnet8", home=tmp_path).stdout.rstrip().splitlines()[-1]
    rows = json.loads(paretoscope("front", "example-resnet8", "--json", home=tmp_path).stdout)
    told = rows[0]["recommendation"]
    assert told["sentence"] == said
    chosen = [r for r in rows if r["recommended"]]
    assert [r["id"] for r in chosen] == [told["trial"]]
    # Nobody asked how: it is what pages open with. Asked, it is the knee of just that frontier.
    assert f"Ship “{chosen[0]['label']}”, the knee of the frontier of accuracy and latency" in said
    asked = ("front", "example-resnet8", "--objectives", "accuracy,size_bytes", "--json")
    rows = json.loads(paretoscope(*asked, home=tmp_path).stdout)
    assert [r["knee"] for r in rows if r["recommended"]] == [True]
    assert "the knee of the frontier of accuracy and file size" in rows[0]["recommendation"]["sentence"]


def test_a_stated_target_is_what_the_recommendation_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path))
    limits = {"size_bytes": 60_000}
    spec = {"name": "aimed", "model": {"source": "resnet8"}, "space": SPACE, "target": {"limits": limits}}
    store, sweep, trials = Store.open(), parse_sweep(spec), sweep_trials()
    store.begin(sweep, trials, 1, 1)
    for made in trials:
        store.save_trial(sweep.id, made)
    store.end(sweep.id, "done")
    rows = json.loads(paretoscope("front", "aimed", "--json", home=tmp_path).stdout)
    assert "that keeps file size ≤ 60.0 kB" in rows[0]["recommendation"]["sentence"]
