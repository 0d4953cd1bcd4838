"""Nothing is reported to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.export.programs import measure_program, predict_program, verify_program
from tests.helpers.places import ROOT


def run(code: str, folder: Path) -> list[Path]:
    """What is left in the folder for temporary files: ONNX Runtime would keep the number of its session there, from its import on."""
    (folder / "tmp").mkdir()
    # Nothing else of this environment: it begins none either where a variable says that a CI server runs it.
    environment = {k: os.environ[k] for k in ("PATH", "HOME", "SYSTEMROOT", "LD_LIBRARY_PATH") if k in os.environ}
    environment |= {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, check=True, timeout=120)
    return list((folder / "tmp").iterdir())


def test_onnx_runtime_begins_no_session_of_its_telemetry(tmp_path: Path):
    assert run("import engine.measure.session, onnxruntime", tmp_path) == []


@pytest.mark.parametrize("program", ["predict", "verify", "measure"])
def test_nor_in_the_programs_that_people_take_home(program: str, tmp_path: Path):
    for name, text in (("predict", predict_program()), ("verify", verify_program()), ("measure", measure_program())):
        (tmp_path / f"{name}.py").write_text(text)
    assert run(f"import {program}, onnxruntime", tmp_path) == []


def test_it_would_begin_one(tmp_path: Path):
    """Else the tests above hold nothing: then this one goes, and they with it."""
    assert run("import onnxruntime", tmp_path) != []
