"""Stored records as columns: the numbers and facts of a sweep read off its JSON, without making a trial of every record.

100,000 records take five seconds and a tenth of a gigabyte so, a third and a tenth of what the trials themselves take.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from engine.frontier.columns import Fact, Numbers, Objects, Place, Rows, Trials, as_numbers, as_objects
from engine.frontier.dominance import Bools
from engine.metrics import DEVICE_METRICS, METRICS, SCENARIO_METRICS, is_score
from engine.trials.evidence import TIED_P, Fidelity, Interval, Quality, Score, Seeds
from engine.trials.measurements import Machine
from engine.trials.metric_values import is_slice, own_metrics, score_interval, slice_interval
from engine.trials.slices import Slices
from engine.trials.trial import Trial

Load = Callable[[Sequence[str]], Mapping[str, Trial]]
"""Ids -> whole trials."""

_EMPTY: Mapping[str, Any] = {}
_AT_ONCE = 500
_MOST_KEPT = 2000
"""Trials that were parsed are kept up to this number: all of a usual sweep, a glance at a large one."""


def stored_trials(block: Block, load: Load) -> Trials:
    """Trials of which the columns are at hand, and each whole one where `load` finds it."""
    return Trials(_Stored(block, load))


class _Stored:
    """Records, of which the columns are here and the whole trials where `load` finds them."""

    def __init__(self, block: Block, load: Load) -> None:
        self._block, self._load = block, load
        self._kept: dict[str, Trial] = {}

    def __len__(self) -> int:
        return len(self._block)

    def devices(self) -> tuple[str, ...]:
        return self._block.devices

    def fact(self, name: Fact) -> Objects:
        return self._block.facts[name]

    def numbers(self, key: str, device: str) -> Numbers:
        found = self._block.numbers.get((key, device if key in DEVICE_METRICS else ""))
        return _unmeasured(len(self), key, device) if found is None else found

    def fits(self, device: str) -> Bools:
        barred = self._block.barred.get(device)
        return np.ones(len(self), np.bool_) if barred is None else ~barred

    def load(self, rows: Sequence[int]) -> list[Trial]:
        ids = self.fact("id")
        wanted = [str(ids[i]) for i in rows]
        kept = self._kept
        missing = [i for i in wanted if i not in kept]
        found = self._load(missing) if missing else {}
        if len(kept) + len(found) <= _MOST_KEPT:
            kept.update(found)
        return [kept[i] if i in kept else found[i] for i in wanted]


@dataclass(frozen=True)
class Block:
    """The columns of some stored records: facts by name, numbers by metric and device (`""` where a metric is of no device).

    `barred`: which do not fit a device, for those devices that some does not fit.
    """

    facts: Mapping[Fact, Objects]
    numbers: Mapping[Place, Numbers]
    devices: tuple[str, ...]
    barred: Mapping[str, Bools]

    def __len__(self) -> int:
        return len(self.facts["id"])

    @classmethod
    def of(cls, texts: Iterable[str]) -> Block:
        """The columns of records as `Trial.to_json` writes them, JSON texts."""
        parts, records, asked = [], [], dict[bytes, bytes]()
        for text in texts:
            records.append(from_json(text))
            if len(records) == _AT_ONCE:
                parts.append(cls._of(records, asked))
                records = []
        return cls.joined([*parts, cls._of(records, asked)])

    @classmethod
    def _of(cls, records: Sequence[dict[str, Any]], asked: dict[bytes, bytes]) -> Block:
        devices = tuple(dict.fromkeys(name for r in records for name in r.get("projections") or ()))
        own = dict.fromkeys(k for r in records for k in _RECORDED["own_metrics"](r))  # type: ignore[attr-defined]
        places = [(key, "") for key in (*own, *METRICS) if key not in DEVICE_METRICS]
        places += [(key, device) for key in METRICS if key in DEVICE_METRICS for device in ("host", *devices)]
        facts: dict[Fact, Objects] = {name: as_objects([read(r) for r in records]) for name, read in _RECORDED.items()}
        facts["machine"] = _machines(records)
        demands = [to_json(d) if (d := r.get("demand")) else None for r in records]
        facts["demand"] = as_objects([d and asked.setdefault(d, d) for d in demands])
        # Few different steps make all recipes.
        told = [tuple(to_json(step) for step in r["recipe"]) for r in records]
        facts["steps"] = as_objects([tuple(asked.setdefault(step, step) for step in steps) for steps in told])
        numbers = {place: _read(records, *place, facts["is_baseline"]) for place in places}
        measured = {place: n for place, n in numbers.items() if not np.isnan(n.value).all() or n.estimated.any()}
        barred = {device: np.array([_is_barred(r, device) for r in records], np.bool_) for device in devices}
        return cls(facts, measured, devices, {device: found for device, found in barred.items() if found.any()})

    @classmethod
    def joined(cls, parts: Sequence[Block]) -> Block:
        """One after the other."""
        places = dict.fromkeys(place for p in parts for place in p.numbers)
        return cls(
            {name: np.concatenate([p.facts[name] for p in parts]) for name in parts[0].facts},
            {
                p: Numbers.joined([b.numbers[p] if p in b.numbers else _unmeasured(len(b), *p) for b in parts])
                for p in places
            },
            tuple(dict.fromkeys(name for p in parts for name in p.devices)),
            {
                device: np.concatenate([p.barred.get(device, np.zeros(len(p), np.bool_)) for p in parts])
                for device in dict.fromkeys(name for p in parts for name in p.barred)
            },
        )

    def take(self, rows: Rows) -> Block:
        """Those of the rows, in their order."""
        return Block(
            {name: column[rows] for name, column in self.facts.items()},
            {place: n.take(rows) for place, n in self.numbers.items()},
            self.devices,
            {device: barred[rows] for device, barred in self.barred.items()},
        )


_RECORDED: dict[Fact, Callable[[dict[str, Any]], object]] = {
    "id": lambda r: r["id"],
    # As it read when it was stored: to parse every recipe would cost more than all the rest.
    "label": lambda r: r["label"],
    "state": lambda r: sys.intern(r["state"]),
    "provenance": lambda r: sys.intern(r["provenance"]),
    "is_baseline": lambda r: not r["recipe"],
    "tied_with_baseline": lambda r: (
        ((r.get("score") or r.get("accuracy") or _EMPTY).get("p_vs_baseline") or 0.0) >= TIED_P
    ),
    "predictions": lambda r: r.get("predictions"),
    "artifact": lambda r: r.get("artifact"),
    "seeds": lambda r: Seeds.from_json(r["seeds"]) if r.get("seeds") else None,
    "finished_s": lambda r: r.get("finished_s"),
    "error": lambda r: r.get("error"),
    "stopped": lambda r: r.get("stopped"),
    "own_metrics": lambda r: own_metrics((r.get("score") or _EMPTY).get("key"), (r.get("slices") or _EMPTY).get("key")),
}


def _unmeasured(count: int, key: str, device: str) -> Numbers:
    # `is_estimated` asks where a latency would come from, measured or not.
    return replace(Numbers.none(count), estimated=np.full(count, key == "latency_ms" and device != "host"))


def _machines(records: Sequence[dict[str, Any]]) -> Objects:
    """(fingerprint, label) of each; hardly ever more than one in a sweep, so each is read when it differs from the one before."""
    found: list[tuple[str, str] | None] = []
    last, named = None, None
    for record in records:
        if (machine := record.get("machine")) != last:
            last = machine
            known = Machine.from_json(machine) if machine else None
            named = (known.fingerprint, known.label) if known else None
        found.append(named)
    return as_objects(found)


def _steps_to(key: str, device: str) -> tuple[str, ...]:
    """Where a record keeps a metric; `metric_interval` has the same knowledge of trials, and a test holds the two together."""
    if key in SCENARIO_METRICS:
        return "projections", device, "per_million", SCENARIO_METRICS[key]
    if key == "energy_mj" or (key == "latency_ms" and device != "host"):
        return "projections", device, key
    if key == "vs_baseline":
        return "accuracy", key
    if key == "worst_class_drop":
        return "quality", "worst_class", "drop"
    for part, kind in (("quality", Quality), ("fidelity", Fidelity)):
        if key in kind.__dataclass_fields__:
            return part, key
    return (key,)


def _read(records: Sequence[dict[str, Any]], key: str, device: str, is_baseline: Objects) -> Numbers:
    """One metric of some records."""
    if is_slice(key):
        slices = [_worst_of(r) for r in records]
        read = [slice_interval(s, key, bool(first)) for s, first in zip(slices, is_baseline, strict=True)]
        found = [(n.value, n.low, n.high) if isinstance(n, Interval) else n for n in read]
        return as_numbers(found, np.zeros(len(found), np.bool_))
    if is_score(key):
        scores = [Score.from_json(score) if (score := r.get("score")) else None for r in records]
        read = [score_interval(s, key, bool(first)) for s, first in zip(scores, is_baseline, strict=True)]
        found = [(n.value, n.low, n.high) if isinstance(n, Interval) else n for n in read]
        return as_numbers(found, np.zeros(len(found), np.bool_))
    nodes: list[Any] = list(records)
    for step in _steps_to(key, device):
        nodes = [n.get(step) if n else None for n in nodes]
    count, estimated = len(nodes), np.zeros(len(nodes), np.bool_)
    ranges = [((r.get("quality") or _EMPTY).get("intervals") or _EMPTY).get(key) for r in records]
    nodes = [n if widened is None else widened for n, widened in zip(nodes, ranges, strict=True)]
    if key in DEVICE_METRICS:
        estimated = np.array([_is_estimated(r, key, device) for r in records], np.bool_)
    if key in {"vs_baseline", "worst_class_drop"}:
        itself = is_baseline.astype(np.bool_)
        nodes = [0.0 if itself[i] and records[i].get("quality") else nodes[i] for i in range(count)]
    if not any(n is not None for n in nodes):
        return replace(Numbers.none(count), estimated=estimated)
    if key == "latency_ms" and device == "host":
        value = np.array([n["p50"] if n else math.nan for n in nodes], np.float64)
        ratio = _read(records, "latency_ratio", "", is_baseline)
        return Numbers(value, value * ratio.low / ratio.value, value * ratio.high / ratio.value, estimated)
    found = [(n["value"], n["low"], n["high"]) if type(n) is dict else n for n in nodes]
    return as_numbers(found, estimated)


def _worst_of(record: dict[str, Any]) -> Slices | None:
    """The worst of a record's slices, which themselves are left where they are: there may be hundreds."""
    held = record.get("slices")
    return Slices.from_json({**held, "parts": ()}) if held else None


def _is_barred(record: dict[str, Any], device: str) -> bool:
    projection = (record.get("projections") or _EMPTY).get(device)
    return projection is not None and not projection.get("fits", True)


def _is_estimated(record: dict[str, Any], key: str, device: str) -> bool:
    if key == "latency_ms":
        return device != "host"
    energy = ((record.get("projections") or _EMPTY).get(device) or _EMPTY).get("energy_mj")
    return energy is not None and energy["source"] != "measured"
