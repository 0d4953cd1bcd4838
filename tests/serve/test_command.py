"""`paretoscope serve` as a process: a port, answers, an end in good order; what cannot be served ends it with a line and 2."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.helpers.bundles import World, replace_part
from tests.serve.test_predict import classes_of, npy

COMMAND = [sys.executable, "-m", "engine.cli", "serve"]


def test_a_server_answers_and_stops_when_told(world: World, bundle: Path) -> None:
    with subprocess.Popen([*COMMAND, str(bundle), "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            address = server.stdout.readline().split()[-1]
            answer = httpx.post(f"{address}/predict", content=npy(world.data.test.inputs[:3]), timeout=60)
            assert [one["class"] for one in answer.json()["predictions"]] == classes_of(world, 3)
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("fault", ["altered", "taken"])
def test_what_cannot_be_served_is_told_at_once(world: World, bundle: Path, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1] if fault == "taken" else 0
        served = bundle if fault == "taken" else replace_part(bundle, world.folder / "x.zip", labels_txt=b"a\n")
        done = subprocess.run([*COMMAND, str(served), "--port", str(port)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert {"altered": "altered", "taken": "cannot listen"}[fault] in done.stderr
