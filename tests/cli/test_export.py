"""Taking models home as commands: a frontier to a board and back, and what other runtimes want."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.cli.export import export
from engine.errors import SpecError
from tests.helpers.command_line import paretoscope, refused


def told(home: Path, *arguments: object) -> Any:
    done = paretoscope(*arguments, "--json", home=home)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def test_a_frontier_goes_to_a_board_and_comes_back(swept: tuple[Path, str], tmp_path: Path):
    home, sweep = swept
    front = told(home, "front", sweep)
    written = told(home, "export", sweep, "--frontier", "-o", tmp_path / "frontier.zip")
    assert set(written["trials"]) == {written["baseline"], *(t["id"] for t in front)}
    assert written["bytes"] == (tmp_path / "frontier.zip").stat().st_size
    # As in docs/exports.md.
    for command in (["-m", "zipfile", "-e", "frontier.zip", "board"], ["board/measure.py", "--seconds", "0.05"]):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
    taken = told(home, "measured", sweep, tmp_path / "board" / "results.json", "--name", "pi")
    assert (taken["board"], taken["failed"]) == ("pi", [])
    assert {t["trial"] for t in taken["trials"]} == set(written["trials"])
    assert taken["baseline_moved"] >= 0
    listed = {t["id"]: t["measured"] for t in told(home, "trials", sweep)}
    ratios = {trial: listed[trial][0]["ratio"] for trial in written["trials"]}
    assert [trial for trial, ratio in ratios.items() if ratio is None] == [written["baseline"]]


def test_other_runtimes_are_written_and_mistakes_told(swept: tuple[Path, str], tmp_path: Path):
    home, sweep = swept
    trial = told(home, "trials", sweep)[-1]["id"]
    kinds = {"triton": "config.pbtxt", "c": "model.c"}
    if importlib.util.find_spec("openvino"):
        kinds["openvino"] = "model.xml"
    for kind, part in kinds.items():
        target = tmp_path / f"{kind}.zip"
        said = told(home, "export", sweep, trial, "--for", kind, "-o", target)
        assert set(said) == {"bundle", "bytes", kind}
        with zipfile.ZipFile(target) as archive:
            assert [name for name in archive.namelist() if name.endswith(part)]
    done = paretoscope("export", sweep, trial, "--for", "kserve", "-o", tmp_path / "x.zip", home=home)
    refused(done, "kserve", "triton")


def test_what_does_not_go_together_is_one_clear_line(tmp_path: Path):
    target = tmp_path / "x.zip"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"frontier": True, "runtime": "c", "output": target}, "--for takes one TRIAL"),
        ({"frontier": True, "trial": "abc", "output": target}, "give a TRIAL"),
        ({"output": target}, "give a TRIAL"),
        ({"trial": "abc", "device": "host", "output": target}, "give --frontier"),
        ({"trial": "abc"}, "-o FILE.zip is missing"),
    ]
    for arguments, words in cases:
        with pytest.raises(SpecError, match=words):
            export("latest", **arguments)
