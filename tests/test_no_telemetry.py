"""Nothing is reported to anybody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_onnx_runtime_begins_no_session_of_its_telemetry(tmp_path: Path):
    """It would keep the session's number in the folder for temporary files, from the import on."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | {"TMPDIR": str(tmp_path)}
    code = "import engine.measure.session, onnxruntime"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
    assert list(tmp_path.iterdir()) == []
