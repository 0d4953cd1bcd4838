"""From a bundle on a board and back, and somebody else's numbers beside a sweep, as commands."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tests.helpers.command_line import paretoscope, refused


def test_what_a_board_measured_comes_back_to_its_trial(swept: tuple[Path, str], tmp_path: Path):
    home, sweep = swept

    def told(*arguments: object) -> Any:
        done = paretoscope(*arguments, "--json", home=home)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    before = told("trials", sweep)
    assert all(t["measured"] == [] for t in before)
    trial = next(t for t in before if t["recipe"])
    told("export", sweep, trial["id"], "-o", tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        archive.extractall(tmp_path / "board")
    # As on the board: from elsewhere, without this project on the path.
    command = [sys.executable, "-W", "error", "-I", str(tmp_path / "board" / "verify.py"), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    results = tmp_path / "results.json"
    results.write_text(done.stdout)

    taken = told("measured", sweep, results, "--name", "my board", "--profile", "host")
    printed = json.loads(done.stdout)["latency_ms"]
    assert (taken["trial"], taken["replaced"], taken["latency_ms"]["p50"]) == (trial["id"], None, printed["p50"])
    assert taken["error_percent"] == (taken["projected_ms"]["value"] / printed["p50"] - 1) * 100
    after = told("trials", sweep)
    (found,) = next(t for t in after if t["id"] == trial["id"])["measured"]
    assert (found["board"], found["error_percent"], found["ok"]) == ("my board", taken["error_percent"], True)
    assert [t["latency_ms"] for t in after] == [t["latency_ms"] for t in before]
    assert sum(len(t["measured"]) for t in after) == 1
    objectives = ("--objectives", "accuracy,latency_ms")
    assert [t["id"] for t in told("front", sweep, *objectives, "--device", "my board")] == [trial["id"]]
    shown = paretoscope("front", sweep, "--device", "my board", home=home)
    assert "ms: measured on my board" in shown.stdout
    asked = ("--device", "my board", "-o", tmp_path / "report.html", "--objectives", "accuracy,latency_ms")
    assert paretoscope("report", sweep, *asked, home=home).returncode == 0
    page = (tmp_path / "report.html").read_text()
    assert ("Latency on my board (ms)" in page, "my board, estimated" in page) == (True, False)
    again = paretoscope("measured", sweep, results, "--name", "my board", home=home)
    assert (again.returncode, "takes the place" in again.stdout) == (0, True)

    results.write_text(results.read_text().replace('"calls": ', '"calls": 1'))
    refused(paretoscope("measured", sweep, results, home=home), "was changed after it was written")
    refused(paretoscope("measured", sweep, home=home), "RESULTS.json", "--remove")
    refused(paretoscope("front", sweep, "--device", "no board", home=home), "'no board'", "my board")
    assert told("measured", sweep, "--remove", "my board")["removed"] == 1
    assert told("trials", sweep) == before


def test_points_are_imported_marked_counted_when_asked_and_removed(swept: tuple[Path, str], tmp_path: Path):
    home, sweep = swept
    (tmp_path / "results.csv").write_text(
        "name,accuracy,size_bytes,latency_ms\ntheirs,100 %,5,0.5\nothers,0.1,9999999,\n"
    )

    def told(*arguments: object) -> Any:
        done = paretoscope(*arguments, "--json", home=home)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    objectives = ("--objectives", "accuracy,size_bytes")
    before = told("front", sweep, *objectives)
    refused(paretoscope("import", sweep, tmp_path / "results.csv", home=home), "latency_ms", "--device")
    found = told("import", sweep, tmp_path / "results.csv", "--device", "their phone")
    assert [p["label"] for p in found["points"]] == ["theirs", "others"]
    assert told("front", sweep, *objectives) == before
    with_them = told("front", sweep, *objectives, "--imported")
    assert [(t["label"], t["provenance"], t["stated"]["source"]) for t in with_them] == [
        ("theirs", "imported", "results.csv")
    ]
    listed = {t["label"]: t for t in told("trials", sweep)}
    assert (listed["theirs"]["accuracy"], listed["theirs"]["stated"]["values"]["accuracy"]) == (None, 1.0)
    text = paretoscope("front", sweep, *objectives, "--imported", home=home).stdout
    assert "imported, not measured here" in " ".join(text.split())
    phone = told("front", sweep, "--objectives", "accuracy,latency_ms", "--device", "their phone", "--imported")
    assert [t["label"] for t in phone] == ["theirs"]
    refused(paretoscope("import", sweep, tmp_path / "none.csv", home=home), "cannot be read")
    refused(paretoscope("import", sweep, home=home), "SOURCE", "--remove")
    assert told("import", sweep, "--remove", "results.csv")["removed"] == 2
    refused(paretoscope("import", sweep, "--remove", "theirs", home=home), "'theirs'", "none yet")


def test_how_a_file_is_added_as_baseline_or_removed_is_told_in_one_line(swept: tuple[Path, str], tmp_path: Path):
    home, sweep = swept
    refused(paretoscope("add", sweep, home=home), "MODEL.onnx", "--remove")
    refused(paretoscope("add", sweep, "--remove", "x", "--name", "y", home=home), "--remove takes nothing")
    refused(paretoscope("add", sweep, "--remove", "x", home=home), "'x'", "none yet")
    baseline = json.loads(paretoscope("trials", sweep, "--json", home=home).stdout)[0]
    made = next((home / "artifacts").rglob(baseline["artifact"]))
    asked = ("add", sweep, made, "--name", "x", "--as-baseline", "--keep-old-code")
    refused(paretoscope(*asked, home=home), "--as-baseline makes a new one")
