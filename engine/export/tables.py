"""Trials as a flat table to take away: CSV, JSON, Parquet. Base units, named in the columns; nothing is rounded."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import numpy as np

from engine.frontier.columns import Trials
from engine.frontier.recommendation import Choice
from engine.metrics import DEVICE_METRICS, METRICS, is_score, short_name
from engine.trials.metric_values import metric_value
from engine.trials.text import is_estimated, metric_range
from engine.trials.trial import Trial

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def flat_rows(trials: Sequence[Trial], choice: Choice) -> list[dict[str, Any]]:
    """One flat record for each trial, whatever its state, all with the same keys; None where not measured.

    Shares are in [0, 1], sizes in bytes, times in ms, energy in mJ, the same as `paretoscope trials --json`. `frontier` and
    `within_limits` are of the choice's view, whose device latency and energy are for.
    """
    device, front = choice.view.device, set(choice.front)
    return [
        {
            "id": row["id"],
            "recipe": row["recipe"],
            "state": row["state"],
            "frontier": row["id"] in front,
            "knee": row["id"] == choice.knee,
            "within_limits": row["id"] in choice.kept,
            **row,
        }
        for row in number_rows(trials, (device,))
    ]


def number_rows(trials: Sequence[Trial], devices: Sequence[str]) -> list[dict[str, Any]]:
    """One flat record for each device and trial: every number, without any standing. Units as in `flat_rows`."""
    columns = Trials.of(trials)
    # The same columns for all devices.
    ranged = {
        key for device in devices for key in columns.metrics if not np.isnan(columns.numbers(key, device).low).all()
    }
    found = []
    for device in devices:
        found += [
            {
                "id": t.id,
                "recipe": t.label,
                "state": t.state,
                **_numbers(t, device, columns.metrics, ranged),
                "device": device,
                "provenance": t.provenance,
                "machine": t.machine.label if t.machine else None,
                "artifact": t.artifact,
                "error": t.error,
            }
            for t in trials
        ]
    return found


def device_rows(trials: Trials, devices: Sequence[str]) -> list[dict[str, Any]]:
    """One flat record for each device and trial: whether it fits (None: not known), and what its profile says, with its 90 % range."""
    found = []
    for device in devices:
        fits = trials.fits(device)
        numbers = {key: trials.numbers(key, device) for key in METRICS if key in DEVICE_METRICS}
        for place, (name, label) in enumerate(zip(trials.ids, trials.fact("label"), strict=True)):
            known = not fits[place] or any(np.isfinite(column.value[place]) for column in numbers.values())
            row: dict[str, Any] = {"id": name, "recipe": label, "device": device}
            row["fits"] = bool(fits[place]) if known else None
            for key, column in numbers.items():
                ends = {key: column.value, f"{key}_low": column.low, f"{key}_high": column.high}
                row |= {title: _finite(values[place]) for title, values in ends.items()}
            found.append(row)
    return found


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def records(found: Iterable[Any]) -> list[dict[str, Any]]:
    """Dataclasses of plain values -> flat records."""
    return [asdict(each) for each in found]


def _numbers(trial: Trial, device: str, keys: Sequence[str], ranged: Collection[str]) -> dict[str, Any]:
    """Every metric, with the ends of its interval for those that are `ranged`; a sweep's own under its name."""
    found: dict[str, Any] = {}
    for key in keys:
        name = short_name(key) if is_score(key) else key
        found[name] = metric_value(trial, key, device)
        if key in ranged:
            found[f"{name}_low"], found[f"{name}_high"] = metric_range(trial, key, device) or (None, None)
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
