"""Points of an Olive run: its footprint, a JSON object of models by id, each with the metrics that Olive measured of it.

`{ID: {"model_id", "parent_model_id", "from_pass", "metrics": {"value": {"NAME-SUBTYPE": {"value", "priority", "higher_is_better"}}}}}`, as
Olive 0.5 to 0.13 write it. A metric's name is the user's choice, its sub-type Olive's: what can be told from both is taken, the rest is
named as left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.elsewhere.rows import Found, Row
from engine.errors import InputError
from engine.spec.names import fitting_name

_HOW = "give the footprint.json of an Olive run's output folder"
_MEDIAN, _MEAN = "p50", "avg"


def read_olive(path: Path) -> Found:
    """The models of a footprint that were measured; raises InputError for a file that is none, or of which no number is known."""
    try:
        nodes = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_HOW}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON; {_HOW}") from None
    if (
        not isinstance(nodes, dict)
        or not nodes
        or not all(isinstance(n, dict) and "model_id" in n for n in nodes.values())
    ):
        raise InputError(f"{path} is no Olive footprint, whose every entry has a model_id; {_HOW}")
    rows, left_out = [], dict[str, None]()
    for name, node in nodes.items():
        metrics = (node.get("metrics") or {}).get("value") if isinstance(node.get("metrics") or {}, dict) else None
        if not isinstance(metrics, dict):
            continue
        values, notes, unknown = _values(metrics, f"{path}, model {name}")
        left_out |= dict.fromkeys(unknown)
        made_by = node.get("from_pass") or "input model"
        if values:
            rows.append(Row(fitting_name(f"{made_by} {name[:8]}"), values, tuple(notes)))
    if not rows:
        known = ", ".join(left_out) or "none"
        raise InputError(
            f"{path} has no number that is known: it has {known}; accuracy_score, size_on_disk and a latency called so are taken; write "
            "the others as a CSV file"
        )
    return Found(path.name, tuple(rows), tuple(left_out))


def _values(metrics: Mapping[str, Any], where: str) -> tuple[dict[str, float], list[str], list[str]]:
    """Numbers by metric, notes, and the names of what is not known."""
    found: dict[str, dict[str, float]] = {}
    unknown = []
    for name, entry in metrics.items():
        title, _, kind = name.rpartition("-")
        value, more = (entry.get("value"), entry.get("higher_is_better")) if isinstance(entry, dict) else (None, None)
        if isinstance(value, bool) or not isinstance(value, int | float):
            unknown.append(name)
        elif kind == "accuracy_score" and more is True:
            found.setdefault("accuracy", {})[name] = _share(float(value), f"{where}: {name}")
        elif kind in {_MEDIAN, _MEAN} and more is False and "latency" in title.lower():
            found.setdefault(kind, {})[name] = _positive(float(value), f"{where}: {name}")
        elif kind == "bytes" and more is False:
            found.setdefault("size_bytes", {})[name] = _positive(float(value), f"{where}: {name}")
        else:
            unknown.append(name)
    latency = _MEDIAN if _MEDIAN in found else _MEAN
    notes = []
    if latency == _MEAN and _MEAN in found:
        notes.append(f"its latency is Olive’s mean of its calls, not a median ({next(iter(found[_MEAN]))})")
    values = {}
    for key, kind in (("accuracy", "accuracy"), ("size_bytes", "size_bytes"), ("latency_ms", latency)):
        if len(several := found.get(kind, {})) > 1:
            raise InputError(
                f"{where} has {' and '.join(several)}, two of a kind; write the one that counts as a CSV file"
            )
        if several:
            values[key] = next(iter(several.values()))
    return values, notes, unknown


def _share(value: float, where: str) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{where} is {value:g}, no share between 0 and 1; write it as a CSV file with its unit")
    return value


def _positive(value: float, where: str) -> float:
    if not 0 < value < float("inf"):
        raise InputError(f"{where} is {value:g}; write what was measured as a CSV file")
    return value
