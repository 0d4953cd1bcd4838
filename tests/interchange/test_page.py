"""The commands of docs/interchange.md, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.interchange.inc_config import inc_config
from engine.interchange.olive_config import olive_config
from engine.store.store import Store
from tests.helpers.places import ROOT

PAGE = ROOT / "docs" / "interchange.md"
SHELL = 'set -eu\nparetoscope() { "$PYTHON" -m engine.cli "$@"; }\n'


def test_the_commands_of_the_page_do_what_it_says(home: Path, tmp_path: Path):
    pytest.importorskip("mlflow")
    found = re.search(
        r"^<!-- run by tests/interchange/test_page.py -->\n```sh\n(.*?)^```$", PAGE.read_text(), re.M | re.S
    )
    assert found
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-c", SHELL + found[1]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    store = Store.open()
    row = store.sweep("example-resnet8")
    trials = store.trials(row.id)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        tags = database.execute("select value from tags where key = 'paretoscope.trial'").fetchall()
    assert sorted(value for (value,) in tags) == sorted(["", *(t.id for t in trials)])
    assert {p.name for p in (tmp_path / "mlruns").rglob("*.onnx")} == {t.artifact for t in trials}

    assert len((tmp_path / "runs.csv").read_text("utf-8-sig").splitlines()) == len(trials) + 1
    assert len(store.points.of(store.sweep("example-transformer").id)) == len(trials)
    assert "24 points imported" in done.stdout
    assert "not told apart" in done.stdout
    int8 = next(t for t in trials if t.id == "8f5382100237")
    for name, said in (("olive", olive_config(int8)), ("inc", inc_config(int8))):
        assert json.loads((tmp_path / f"{name}.json").read_text()) == said.settings
        assert all(f"not said: {text}" in done.stderr for text in said.not_said)
