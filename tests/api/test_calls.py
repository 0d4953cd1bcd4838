"""The Python interface: what it says is what the command line says; a script of ten lines runs a sweep and takes a bundle home."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from engine.api import calls
from engine.api.sweep import Sweep
from engine.errors import InputError, NotFoundError, SpecError
from tests.helpers.places import ROOT
from tests.helpers.tiny import write_problem

EXAMPLE = "example-resnet8"
READ = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
CHECKS = """\
print(sweep.plan().recipes, len(sweep.recipes))
table = ps.trials(run)
print(run.state, len(table), table.error.isna().all())
print(ps.run(sweep, quiet=True) == run)
"""


def printed(*arguments: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", *arguments, "--json"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))


def test_the_frontier_is_the_command_lines() -> None:
    table, told = calls.front(EXAMPLE), printed("front", EXAMPLE)
    assert list(table.index) == [trial["id"] for trial in told]
    assert list(table.knee) == [trial["knee"] for trial in told]
    assert list(table.accuracy) == [trial["accuracy"]["value"] for trial in told]
    every = calls.trials(EXAMPLE)
    assert len(every) == 24
    np.testing.assert_array_equal(every.loc[table.index].size_bytes, table.size_bytes)


def test_the_best_under_limits_is_that_of_the_table() -> None:
    found, every = calls.best(EXAMPLE, {"size_bytes": 50_000}), calls.trials(EXAMPLE)
    small = every[every.size_bytes <= 50_000]
    assert found.accuracy == small.accuracy.max()
    with pytest.raises(InputError, match="no trial keeps"):
        calls.best(EXAMPLE, {"size_bytes": 1})


def test_sweeps_and_names() -> None:
    listed = calls.sweeps()
    assert {EXAMPLE, "example-transformer"} <= {name.split("-on-")[0] for name in listed["id"]}
    assert calls.opened(EXAMPLE).sweep in set(listed["id"])
    with pytest.raises(NotFoundError):
        calls.opened("nothing")
    with pytest.raises(SpecError):
        calls.front(EXAMPLE, ["beauty"])


def test_ten_lines_from_a_spec_to_a_bundle(tmp_path: Path) -> None:
    """That of docs/python.md, as people write them: no guard around it, relative paths, its own folder."""
    assert READ
    spec = write_problem(tmp_path)
    value = yaml.safe_load(spec.read_text())
    value |= {"space": {}, "recipes": [[{"step": "quantize", "weight_bits": 4, "activation_bits": 32}]]}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(value))
    (tmp_path / "script.py").write_text(
        f"import sys\nsys.path[:0] = {[str(ROOT / 'engine' / 'api'), str(ROOT)]}\n{READ[1]}\n{CHECKS}"
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["2 2", "done 2 True", "True"]
    assert "model.onnx" in zipfile.ZipFile(tmp_path / "bundle.zip").namelist()


def test_what_the_command_line_refuses_is_refused_in_its_line() -> None:
    sweep = Sweep.of({"name": "x", "model": {"source": "none.onnx"}, "data": {"source": "none.npz"}})
    with pytest.raises(InputError, match="does not exist"):
        calls.run(sweep, quiet=True)
    with pytest.raises(SpecError):
        Sweep.of({"nam": "x"})
