"""`--where`, as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.command_line import paretoscope, refused


def test_trials_and_front_take_a_filter_and_say_how_many_lack_what_it_asks_for(tmp_path: Path) -> None:
    done = paretoscope("trials", "example-resnet8", "--json", home=tmp_path)
    every = json.loads(done.stdout)
    wanted = [t["id"] for t in every if t["size_bytes"] < 50_000 and 4 in [s.get("weight_bits") for s in t["recipe"]]]
    asked = "size < 50 kB and weight_bits = 4"
    done = paretoscope("trials", "example-resnet8", "--where", asked, "--json", home=tmp_path)
    assert [t["id"] for t in json.loads(done.stdout)] == wanted
    assert done.stderr == f"{len(wanted)} of 24 recipes match; 8 lack weight_bits, and are not matched\n"
    front = json.loads(paretoscope("front", "example-resnet8", "--where", asked, "--json", home=tmp_path).stdout)
    assert {t["id"] for t in front} <= set(wanted)
    # The frontier of those alone: nothing among them beats these.
    ids = {t["id"] for t in front}
    for t in (t for t in every if t["id"] in wanted):
        beaten = any(
            f["accuracy"]["value"] >= t["accuracy"]["value"]
            and f["size_bytes"] <= t["size_bytes"]
            and f["latency_ms"]["p50"] <= t["latency_ms"]["p50"]
            for f in front
        )
        assert beaten or t["id"] in ids


def test_a_filter_that_matches_nothing_is_no_mistake_and_a_wrong_one_is(tmp_path: Path) -> None:
    done = paretoscope("front", "example-resnet8", "--where", "accuracy > 99.9", "--json", home=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (0, [])
    done = paretoscope("front", "example-resnet8", "--where", "accuracy > 99.9", home=tmp_path)
    assert done.stdout == "No recipe matches the filter, so there is no frontier.\n"
    refused(
        paretoscope("trials", "example-resnet8", "--where", "size < 50", home=tmp_path),
        "filter, character 1: size needs a unit: write 50 kB, or 50 B",
    )
