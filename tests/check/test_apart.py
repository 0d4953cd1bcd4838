"""The check of a run in a process of its own: the same finding, the same refusal, and no torch in the process that goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.check import apart
from engine.check.apart import settled_apart
from engine.check.report import settled
from engine.errors import SetupError, SpecError
from engine.spec.sweep import Sweep, parse_sweep

NET = """
from torch import nn

def build(num_classes, in_channels):
    print("a user's code prints")
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))
"""


@pytest.fixture
def spec(tmp_path: Path) -> Sweep:
    random = np.random.default_rng(0)
    (tmp_path / "net.py").write_text(NET)
    np.savez(tmp_path / "d.npz", x=random.integers(0, 256, (200, 8, 8), np.uint8), y=random.integers(0, 3, 200))
    return parse_sweep(
        {"name": "t", "model": {"source": f"{tmp_path / 'net.py'}:build"}, "data": {"source": str(tmp_path / "d.npz")}}
    )


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a command that has not loaded it."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.usefixtures("without_torch")
def test_what_is_found_there_is_what_is_found_here(spec: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep, report = settled_apart(spec)
    assert "torch" not in sys.modules
    monkeypatch.undo()
    here, told = settled(spec)
    assert sweep == here
    assert sweep.id == here.id
    assert report is not None
    assert told is not None
    assert json.dumps(report.to_json()) == json.dumps(told.to_json())


@pytest.mark.usefixtures("without_torch")
def test_what_is_refused_there_is_refused_here(spec: Sweep) -> None:
    net = spec.model.source.partition(":")[0]
    Path(net).write_text(NET.replace("num_classes)", "num_classes + 1)"))
    with pytest.raises(SpecError, match="4"):
        settled_apart(spec)


@pytest.mark.usefixtures("without_torch")
def test_a_network_that_ends_its_process_is_one_line(spec: Sweep) -> None:
    net = spec.model.source.partition(":")[0]
    Path(net).write_text("import os\n" + NET.replace("    print(", "    os._exit(7)\n    print("))
    with pytest.raises(SetupError, match=r"ended by exit code 7; try `paretoscope check`"):
        settled_apart(spec)


def test_a_process_that_has_torch_already_starts_no_other(spec: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: F401

    monkeypatch.setattr(apart, "subprocess", None)
    assert settled_apart(spec)[1] is not None


def test_a_run_loads_no_torch_into_its_own_process(spec: Sweep, tmp_path: Path) -> None:
    """The command as a person gives it: imported modules are asked at its end."""
    text = f"model: {{source: {spec.model.source}}}\ndata: {{source: {tmp_path / 'd.npz'}}}\nname: t\n"
    (tmp_path / "s.yaml").write_text(text + "measure: {latency: null, profiles: [host]}\nrecipes: []\n")
    program = (
        "import sys\nfrom engine.cli.commands import app\n"
        f"try:\n    app(['run', {str(tmp_path / 's.yaml')!r}])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "print('torch' in sys.modules)\n"
    )
    environment = os.environ | {"PARETOSCOPE_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
    assert "done, 1 trials" in done.stdout, done.stdout + done.stderr
    assert "a user's code prints" not in done.stdout
