"""What serving costs: a bundle behind `paretoscope serve` on loopback, against bare ONNX Runtime at the batch sizes that batching reached.

    python tests/benchmarks/bench_serve.py [requests]

The client is a process of its own that writes ready-made requests to open connections; each number is of requests that were all answered
with 200. Then as many malformed bodies as a hundredth of them, each of which must be told 4xx. Minutes; nothing else should run meanwhile.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime

from engine.export.bundle import export_bundle
from engine.export.predict_template import preprocess
from engine.measure.machine import machine
from engine.store.artifacts import Artifacts
from engine.store.store import Store

SWEEP = "example-resnet8"
SETTINGS = ((1, 16), (1, 64), (8, 16), (32, 8))
"""Samples a request, and connections that each wait for an answer before they ask again."""


def request_of(samples: np.ndarray[Any, Any], name: str) -> bytes:
    """A whole HTTP request, binary tensors."""
    tensor = {
        "name": "input",
        "shape": list(samples.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": samples.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    lines = (
        f"POST /v2/models/{name}/infer HTTP/1.1",
        "host: here",
        f"inference-header-content-length: {len(head)}",
        f"content-length: {len(head) + samples.nbytes}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + head + samples.tobytes()


async def asked(port: int, request: bytes, count: int, times: list[float], wrong: list[int]) -> None:
    """Ask `count` times over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\ncontent-length: (\d+)", head)
        assert length
        await reader.readexactly(int(length[1]))
        times.append(time.perf_counter() - start)
        if b" 200 " not in head[:20]:
            wrong.append(int(head.split()[1]))
    writer.close()


async def load(port: int, request: bytes, count: int, connections: int) -> tuple[float, list[float], list[int]]:
    """Seconds for all requests, each one's own, and statuses other than 200."""
    times, wrong = list[float](), list[int]()
    start = time.perf_counter()
    await asyncio.gather(*(asked(port, request, count // connections, times, wrong) for _ in range(connections)))
    return time.perf_counter() - start, times, wrong


def batches(port: int) -> tuple[float, float]:
    """Rows and runs of the model so far."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    rows, runs = (re.search(rf"paretoscope_batch_rows_{what}\{{[^}}]*\}} (\S+)", text) for what in ("sum", "count"))
    assert rows
    assert runs
    return float(rows[1]), float(runs[1])


def bare(model: bytes, samples: np.ndarray[Any, Any], seconds: float = 4.0) -> float:
    """Samples a second of ONNX Runtime alone, one thread, at this batch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    for _ in range(20):
        session.run(None, {"input": samples})
    start, runs = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        session.run(None, {"input": samples})
        runs += 1
    return runs * len(samples) / (time.perf_counter() - start)


def malformed(port: int, name: str, good: bytes, count: int) -> dict[int, int]:
    """Statuses of bodies cut, changed and made up at random."""
    random.seed(0)
    statuses: dict[int, int] = {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(count):
            body = bytearray(random.randbytes(random.randint(0, 300)) if random.random() < 0.3 else good)
            if random.random() < 0.7 and len(body) > 1:
                del body[random.randrange(len(body)) :]
            path = random.choice((f"/v2/models/{name}/infer", f"/predict/{name}"))
            status = client.post(path, content=bytes(body)).status_code
            statuses[status] = statuses.get(status, 0) + 1
    return statuses


def main(requests: int) -> None:
    """Print it."""
    store, artifacts = Store.open(), Artifacts.open()
    baseline = store.trials(store.sweep(SWEEP).id)[0]
    with tempfile.TemporaryDirectory() as folder:
        bundle = export_bundle(store, artifacts, SWEEP, baseline.id, Path(folder) / "net.zip")
        with zipfile.ZipFile(bundle) as archive:
            model, settings = archive.read("model.onnx"), json.loads(archive.read("preprocess.json"))
            stored = np.load(io.BytesIO(archive.read("sample.npz")))["inputs"]
        inputs = preprocess(stored, settings)
        command = [sys.executable, "-m", "engine.cli", "serve", str(bundle), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            print(f"{machine().label}; resnet8 of the example, one thread, {requests:,} requests in all")
            print(
                "| samples a request | connections | samples a run | samples/s | of bare ONNX Runtime | p50 ms | p99 ms | errors |"
            )
            print("|---|---|---|---|---|---|---|---|")
            for samples, connections in SETTINGS:
                request = request_of(inputs[:samples], "net")
                asyncio.run(load(port, request, 20 * connections, connections))
                before = batches(port)
                seconds, times, wrong = asyncio.run(load(port, request, requests // len(SETTINGS), connections))
                rows, runs = (b - a for a, b in zip(before, batches(port), strict=True))
                size = max(1, round(rows / runs))
                rate, alone = rows / seconds, bare(model, inputs[:size])
                p50, p99 = np.percentile(times, [50, 99]) * 1e3
                told = (f"{rows / runs:.1f}", f"{rate:,.0f}", f"{rate / alone:.2f}", f"{p50:.2f}", f"{p99:.2f}")
                print("|", " | ".join((str(samples), str(connections), *told, str(len(wrong)))), "|", flush=True)
            body = request_of(inputs[:1], "net").split(b"\r\n\r\n", 1)[1]
            print("malformed bodies, by status:", malformed(port, "net", body, requests // 100))
        finally:
            server.terminate()
            print("exit code", server.wait(30))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
