"""Trials as a flat table to take away: CSV, JSON, Parquet. Base units, named in the columns; nothing is rounded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from engine.choice import Choice
from engine.columns import Trials
from engine.record import METRICS, Trial, metric_value
from engine.words import is_estimated, metric_range

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def flat_rows(trials: Sequence[Trial], choice: Choice) -> list[dict[str, Any]]:
    """One flat record for each trial, whatever its state, all with the same keys; None where not measured.

    Shares are in [0, 1], sizes in bytes, times in ms, energy in mJ, the same as `paretoscope trials --json`. `frontier` and
    `within_limits` are of the choice's view, whose device latency and energy are for.
    """
    device, front = choice.view.device, set(choice.front)
    columns = Trials.of(trials)
    ranged = {key for key in METRICS if not np.isnan(columns.numbers(key, device).low).all()}
    return [
        {
            "id": t.id,
            "recipe": t.label,
            "state": t.state,
            "frontier": t.id in front,
            "knee": t.id == choice.knee,
            "within_limits": t.id in choice.kept,
            **_numbers(t, device, ranged),
            "device": device,
            "provenance": t.provenance,
            "machine": t.machine.label if t.machine else None,
            "artifact": t.artifact,
            "error": t.error,
        }
        for t in trials
    ]


def _numbers(trial: Trial, device: str, ranged: Collection[str]) -> dict[str, Any]:
    """Every metric, with the ends of its interval for those that are `ranged`."""
    found: dict[str, Any] = {}
    for key in METRICS:
        found[key] = metric_value(trial, key, device)
        if key in ranged:
            found[f"{key}_low"], found[f"{key}_high"] = metric_range(trial, key, device) or (None, None)
    found["accuracy_n"] = trial.accuracy.n if trial.accuracy else None
    found["accuracy_p_vs_baseline"] = trial.accuracy.p_vs_baseline if trial.accuracy else None
    on_host = trial.latency_ms if device == "host" else None
    found |= {"latency_p95_ms": on_host.p95 if on_host else None, "latency_p99_ms": on_host.p99 if on_host else None}
    found |= {f"{key}_estimated": is_estimated(trial, key, device) for key in ("latency_ms", "energy_mj")}
    found["throughput_per_s"] = trial.throughput_per_s
    found["peak_memory_bytes"] = trial.peak_memory_bytes
    found["load_ms"] = trial.load_ms
    return found


def to_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """UTF-8 with a header, and with a byte order mark, without which spreadsheets take it for another encoding; no cell is a formula."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({k: _harmless(v) for k, v in row.items()} for row in rows)
    return stream.getvalue().encode("utf-8-sig")


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def to_json(rows: Sequence[dict[str, Any]]) -> bytes:
    """A list of objects, UTF-8."""
    return json.dumps(list(rows), indent=1, ensure_ascii=False, allow_nan=False).encode()


def has_parquet() -> bool:
    """Whether `to_parquet` works here: pyarrow is installed."""
    return find_spec("pyarrow") is not None


def to_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """One row group; columns without a value are of doubles, empty."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    for name in frame.columns:
        if frame[name].isna().all():
            frame[name] = frame[name].astype("float64")
    stream = io.BytesIO()
    frame.to_parquet(stream, index=False, engine="pyarrow")
    return stream.getvalue()
