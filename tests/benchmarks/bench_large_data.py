"""Peak memory with data that are larger than it should be: generated pictures, checked, planned, trained on and quantized.

    python tests/benchmarks/bench_large_data.py [--gigabytes 1] [--kind pictures|parquet|npz|npz-packed]

Prints, for each command, how long it took, the largest peak of any of its processes (runner and worker are two) and the largest sum of
all at one time, as Linux counts resident memory. What it generates (twice the gigabytes: the pictures, and what they hold) is removed at
the end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE, CLASSES = 224, 10
ROOT = Path(__file__).resolve().parents[2]
# Small, so that what is measured is what the data take; a network's own activations come on top.
NET = """
from torch import nn

def build(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 8, 8), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes),
    )
"""
SPEC = """
name: large
model: {{source: {net}}}
data: {{source: {source}}}
space:
  finetune: [null, {{epochs: 1, samples: 2000}}]
  quantize: [null, {{weight_bits: 8, activation_bits: 8}}]
measure: {{test_samples: all, latency: null, profiles: [host]}}
"""


def pictures(folder: Path, gigabytes: float) -> Path:
    """Class folders of BMP files, noise of another brightness for each class: on disk and decoded they take the same."""
    for i, content in enumerate(_files(gigabytes)):
        at = folder / f"class{i % CLASSES}"
        at.mkdir(parents=True, exist_ok=True)
        (at / f"{i:06}.bmp").write_bytes(content)
    return folder


def parquet(folder: Path, gigabytes: float) -> Path:
    """The same files in one of Parquet, a hundred a row group, as Hugging Face writes them."""
    folder.mkdir()
    kind = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    with pq.ParquetWriter(folder / "train-00000-of-00001.parquet", kind) as writer:
        files = enumerate(_files(gigabytes))
        while some := list(islice(files, 100)):
            rows = [{"image": {"bytes": content, "path": f"{i}.bmp"}, "label": i % CLASSES} for i, content in some]
            writer.write_table(pa.Table.from_pylist(rows, kind))
    return folder


def _files(gigabytes: float) -> Iterator[bytes]:
    blank = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(blank, "BMP")
    n_bytes = 3 * SIDE * SIDE
    head, rng = blank.getvalue()[:-n_bytes], np.random.default_rng(0)
    for i in range(round(gigabytes * 1e9 / n_bytes)):
        yield head + _noise(rng, i % CLASSES)


def _noise(rng: np.random.Generator, label: int) -> bytes:
    pixels = np.frombuffer(rng.bytes(3 * SIDE * SIDE), np.uint8)
    return (pixels // 2 + np.uint8(12 * label)).tobytes()


def arrays(path: Path, gigabytes: float, packed: bool) -> Path:
    """An .npz of the same pictures, (n, height, width, channels)."""
    n, rng = round(gigabytes * 1e9 / (3 * SIDE * SIDE)), np.random.default_rng(0)
    part = path.with_suffix(".npy")
    x = np.lib.format.open_memmap(part, "w+", np.uint8, (n, SIDE, SIDE, 3))
    for i in range(n):
        x[i] = np.frombuffer(_noise(rng, i % CLASSES), np.uint8).reshape(SIDE, SIDE, 3)
    (np.savez_compressed if packed else np.savez)(path, x=x, y=np.arange(n) % CLASSES)
    del x
    part.unlink()
    return path


class Peaks:
    """The memory of a process and all that it starts, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self.each: dict[int, int] = {}
        self.together = 0
        self._process, self._done = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.1):
            now = 0
            with contextlib.suppress(psutil.Error):
                for process in [self._process, *self._process.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error, OSError, StopIteration):
                        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
                        self.each[process.pid] = max(self.each.get(process.pid, 0), peak * 1024)
                        now += process.memory_info().rss
            self.together = max(self.together, now)

    def close(self) -> None:
        self._done.set()
        self._thread.join()


def measured(command: list[str], home: Path) -> None:
    begun = time.perf_counter()
    environment = os.environ | {"PARETOSCOPE_HOME": str(home), "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "engine.cli", *command]
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        peaks = Peaks(running.pid)
        assert running.stdout is not None
        said = running.stdout.read().decode()
    peaks.close()
    took, cached = time.perf_counter() - begun, sum(p.stat().st_size for p in (home / "cache").glob("*.npy"))
    print(
        f"{command[0]:8} exit {running.returncode}  {took:7.1f} s  largest process {max(peaks.each.values()) / 1e9:5.2f} GB  "
        f"together {peaks.together / 1e9:5.2f} GB  cache {cached / 1e9:5.2f} GB",
        flush=True,
    )
    if running.returncode not in (0, 1):
        print(said[-2000:])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--kind", choices=("pictures", "parquet", "npz", "npz-packed"), default="pictures")
    parser.add_argument("--commands", nargs="+", default=["check", "check", "plan", "run"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-large-") as name:
        folder, home = Path(name), Path(name) / "home"
        begun = time.perf_counter()
        if given.kind in ("pictures", "parquet"):
            source = (pictures if given.kind == "pictures" else parquet)(folder / "pictures", given.gigabytes)
        else:
            source = arrays(folder / "data.npz", given.gigabytes, given.kind == "npz-packed")
        print(f"{given.gigabytes:g} GB of {given.kind}, generated in {time.perf_counter() - begun:.0f} s", flush=True)
        (folder / "net.py").write_text(NET)
        (folder / "spec.yaml").write_text(
            SPEC.format(source=json.dumps(str(source)), net=json.dumps(f"{folder / 'net.py'}:build"))
        )
        for command in given.commands:
            measured([command, str(folder / "spec.yaml")], home)


if __name__ == "__main__":
    main()
