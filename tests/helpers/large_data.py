"""Data as if they were too large for memory: the same ones loaded from memory and from disk, and the peak of a process that uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.datasets.dataset import Dataset
from engine.graph.inputs import NamedArrays, in_memory

SPLITS = ("train", "calibration", "validation", "test")


def same(one: Dataset, other: Dataset) -> None:
    """Everything but where the inputs are."""
    for name in SPLITS:
        a, b = getattr(one, name), getattr(other, name)
        for x, y in zip(_arrays(a.inputs), _arrays(b.inputs), strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert [replace(d, **dict.fromkeys(SPLITS)) for d in (one,)] == [
        replace(d, **dict.fromkeys(SPLITS)) for d in (other,)
    ]


def _arrays(inputs) -> list[np.ndarray]:
    found = in_memory(inputs)
    return [*found.arrays.values()] if isinstance(found, NamedArrays) else [found]


PEAK = """
import sys
from engine.check.findings import split_findings
from engine.compress.finetune import Schedule, train
from engine.datasets.load import load_dataset
from engine.datasets.preprocessing import Preprocessing
from engine.measure.accuracy import values
from engine.models.export import export_onnx
from engine.spec.sections import Data
from pathlib import Path
from torch import nn

data = load_dataset(Data(source=sys.argv[1]))
split_findings(data)
network = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
train(network, data.train, data.preprocessing, Schedule(1, samples=256), 0)
from engine.graph.graph import save_onnx
path = Path(sys.argv[2])
save_onnx(export_onnx(network, data.input_shape), path)
values(path, data.test, data.preprocessing)
# Not ru_maxrss, which keeps what the process that started this one had.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(len(data.test), int(peak.split()[1]) // 1024)
"""


def peak_of(source: Path, folder: Path) -> tuple[int, int]:
    """Samples of the test, and the peak in MB of a process that loads data, checks them, trains on them and measures; 16 MB of inputs are
    held in memory. `folder` takes what it writes.
    """
    environment = os.environ | {"PARETOSCOPE_HOME": str(folder / "home"), "PARETOSCOPE_IN_MEMORY_MB": "16"}
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(folder / "net.onnx")],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    samples, peak = map(int, ran.stdout.split())
    return samples, peak
