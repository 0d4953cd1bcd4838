"""`paretoscope compare` on the shipped example."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.command_line import paretoscope, refused

SWEEP = "example-resnet8"


def test_trials_stand_side_by_side_and_pairs_are_tested(home: Path):
    listed = json.loads(paretoscope("trials", SWEEP, "--json", home=home).stdout)
    baseline, int8, four = (t["id"] for t in listed[:3])
    done = paretoscope("compare", SWEEP, baseline, int8, four, "--json", home=home)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [t["id"] for t in found["trials"]] == [baseline, int8, four]
    for pair in found["pairs"]:
        assert pair["told_apart"] == (pair["p_holm"] < 0.05)
        assert pair["n"] == 10_000
    # The record has the same test, of each with the baseline.
    assert [p["p"] for p in found["pairs"][:2]] == [t["accuracy"]["p_vs_baseline"] for t in listed[1:3]]
    options = {r["name"]: r for r in found["options"]}
    assert options["quantize: weight bits"]["values"] == ["–", "8", "4"]
    text = paretoscope("compare", SWEEP, baseline, int8, home=home).stdout
    assert "not told apart" in text
    refused(paretoscope("compare", SWEEP, baseline, baseline, home=home), "1 different trials", "2 to 6")
    refused(paretoscope("compare", SWEEP, baseline, "zz", home=home), "'zz'")
