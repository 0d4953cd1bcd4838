"""A viewer, which has no torch: what is there is shown, and what would have to compute is refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import SetupError
from engine.run import installed
from tests.helpers.places import ROOT

# As Python sees them where they are not installed.
VIEWER = """\
import sys
for name in ("torch", "torchvision", "torch_pruning", "distributed"):
    sys.modules[name] = None
from engine.cli.__main__ import main
for arguments in sys.argv[1:]:
    sys.argv = ["paretoscope", *arguments.split()]
    try:
        main()
    except SystemExit as end:
        print("==", arguments, end.code or 0, flush=True)
"""
SHOWS = ("sweeps --json", "front example-transformer", "report example-transformer -o report.html", "doctor")
COMPUTES = ("plan {spec}", "run {spec}", "check {spec}", "gc --remove", "sensitivity example-resnet8 8f5382100237")


def test_it_shows_and_reports_and_refuses_in_one_line_to_compute(tmp_path: Path):
    spec = ROOT / "data" / "example" / "spec.yaml"
    asked = [*SHOWS, *(line.format(spec=spec) for line in COMPUTES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", VIEWER, *asked],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    codes = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines() if line.startswith("== ")]
    assert codes == [0] * len(SHOWS) + [2] * len(COMPUTES), (done.stdout[-3000:], done.stderr)
    assert (tmp_path / "report.html").stat().st_size > 100_000
    told = [line for line in done.stderr.splitlines() if line.startswith("paretoscope: ")]
    assert len(told) == len(COMPUTES) == len(done.stderr.strip().splitlines())
    assert all("pip install 'paretoscope[run]'" in line for line in told)
    assert "a viewer: sweeps cannot be run here" in done.stdout


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    installed.require_run("this")
    monkeypatch.setattr(installed, "PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(SetupError, match=r"this needs no_such_package, which this viewer does not have"):
        installed.require_run("this")
