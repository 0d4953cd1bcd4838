"""What `effects` and the last line of `front` print, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.command_line import paretoscope, refused


def test_effects_of_a_sweep_as_a_table_and_as_json(tmp_path: Path) -> None:
    said = paretoscope("effects", "example-resnet8", "--metrics", "accuracy,size_bytes", home=tmp_path).stdout
    line = next(line for line in said.splitlines() if line.startswith("int8 "))
    assert "8" in line.split()
    assert "-70 %" in line
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
    refused(paretoscope("effects", "example-resnet8", "--metrics", "beauty", home=tmp_path), "beauty")
