"""ONNX Runtime's AVX2 kernels on any x86: the process runs on an emulated Haswell, whose CPU has neither AVX-512 nor VNNI."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_QEMU = shutil.which("qemu-x86_64")
_SCRIPT = """
import sys, numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
for path in sys.argv[1:]:
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    fed, given = np.load(path + ".npy"), session.get_inputs()[0].name
    parts = [session.run(names, {given: fed[i : i + 100]}) for i in range(0, len(fed), 100)]
    np.savez(path + ".npz", **{n: np.concatenate(found) for n, found in zip(names, zip(*parts))})
"""

needs_haswell = pytest.mark.skipif(
    _QEMU is None or platform.machine().lower() not in ("x86_64", "amd64"),
    reason="emulating an x86 CPU without VNNI needs an x86 and qemu-x86_64 (Debian: apt-get install qemu-user)",
)


def on_haswell(files, folder: Path):
    """Outputs by name, by key, of models and their inputs, {key: (model, array)}, in one process on an emulated Haswell."""
    paths = {key: folder / f"{i}.onnx" for i, key in enumerate(files)}
    for key, (model, fed) in files.items():
        paths[key].write_bytes(model.SerializeToString())
        np.save(f"{paths[key]}.npy", fed)
    command = [str(_QEMU), "-cpu", "Haswell", sys.executable, "-c", _SCRIPT, *map(str, paths.values())]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return {key: dict(np.load(f"{path}.npz")) for key, path in paths.items()}
