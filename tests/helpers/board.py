"""What `verify.py --json` prints on a board, made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.export.board_template import digest
from engine.trials.boards import BoardRun
from engine.trials.evidence import Interval

CHECKS = [{"name": "predictions as recorded", "ok": True, "found": "500 of 500", "expected": "490 or more"}]


def report(path: Path, trial: str, sha256: str, **changes: Any) -> Path:
    """A report at `path`, its digest fitting whatever is changed."""
    made = {
        "measurement": 1,
        "trial": trial,
        "label": "int8",
        "sha256": sha256,
        "when": "2026-11-27T06:00:00Z",
        "machine": {"cpu": "Raspberry Pi 4 Model B", "cores": 4, "os": "Linux-6.1-aarch64", "onnxruntime": "1.32.0"},
        "runtime": {"threads": 1, "batch": 1, "graph_optimisation": "all", "provider": "CPU"},
        "latency_ms": {"p50": 4.0, "p95": 5.0, "p99": 6.0, "low": 3.9, "high": 4.2, "calls": 250, "batch": 1},
        "ok": True,
        "checks": CHECKS,
        **changes,
    }
    path.write_text(json.dumps(made | {"digest": digest(made)}))
    return path


def board_run(trial: str, artifact: str, **changes: Any) -> BoardRun:
    """As it is kept."""
    made: dict[str, Any] = {
        "board": "pi",
        "trial": trial,
        "sha256": "ab" * 32,
        "artifact": artifact,
        "profile": None,
        "latency_ms": Interval(4.0, 3.9, 4.2),
        "p95": 5.0,
        "p99": 6.0,
        "calls": 250,
        "batch": 1,
        "machine": {"cpu": "Raspberry Pi 4 Model B", "cores": 4, "os": "Linux", "onnxruntime": "1.32.0"},
        "runtime": {"threads": 1},
        "checks": tuple(CHECKS),
        "when": "2026-11-27T06:00:00Z",
    }
    return BoardRun(**made | changes)
