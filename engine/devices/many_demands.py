"""What a profile says of many networks at once: the numbers of `project`, to the last digit, without its words.

Each network is a row of arrays and each of its layers a column, and what is added up over layers is added in their order, so that every
sum is rounded as it is for one network alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from engine.devices.profiles import Profile
from engine.devices.projection import largest_slack, numbers_from_counts, project
from engine.devices.roofline import OPS_PER_MAC
from engine.frontier.dominance import Bools, Floats
from engine.graph.demand import KINDS, Demand
from engine.trials.evidence import Interval
from engine.trials.measurements import Energy

Ints = npt.NDArray[np.int64]
_COUNTS = ("macs", "weights", "biases", "weight_bits", "activation_bits", "input_bytes", "output_bytes")
_WHOLE = ("operators", "peak_bytes", "moved_bytes")
# Products of these with 32 bits, and sums over some hundreds of layers, are exact in 64 bits and as floats.
_MOST = 2**40


@dataclass(frozen=True)
class Said:
    """What a device says of some networks: value, low and high of latency (ms) and energy (mJ), shape (networks, 3), and which fit."""

    latency: Floats
    energy: Floats
    fits: Bools

    @classmethod
    def nothing(cls, count: int) -> Said:
        """Neither a number nor an obstacle."""
        return cls(np.full((count, 3), np.nan), np.full((count, 3), np.nan), np.ones(count, np.bool_))

    def and_then(self, more: Said) -> Said:
        """Those of other networks after these."""
        names = ("latency", "energy", "fits")
        return Said(*(np.concatenate([getattr(self, n), getattr(more, n)]) for n in names))


def said_of(profile: Profile, demands: Demands) -> Said:
    """What a profile says of every one of the networks; the host says nothing that was not measured."""
    if demands.table is None:
        return _one_by_one(profile, demands.records)
    return _of_table(profile, demands.table)


class Demands:
    """Networks from their records, JSON in UTF-8 each; `table` has them as arrays, None where a number is too large for that."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        """Read and put beside each other."""
        self.records: list[Mapping[str, Any]] = [from_json(text) for text in texts]
        self.table = _Table.of(self.records)


@dataclass(frozen=True)
class _Table:
    """`layers`: the numbers of every layer, shape (networks, layers) each; a network of fewer layers has zeros, and is not `there`."""

    layers: Mapping[str, Ints]
    there: Bools
    counted: Bools
    kinds: Ints
    whole: Mapping[str, Ints]
    op_types: Sequence[tuple[str, ...]]

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]]) -> _Table | None:
        lengths = np.array([len(r["layers"]) for r in records], np.intp)
        rows = np.repeat(np.arange(len(records)), lengths)
        columns = np.concatenate([np.arange(n) for n in lengths]) if len(rows) else rows
        found = [layer for r in records for layer in r["layers"]]
        numbers = _whole_numbers([itemgetter(*_COUNTS)(layer) for layer in found], len(_COUNTS))
        whole = _whole_numbers([itemgetter(*_WHOLE)(r) for r in records], len(_WHOLE))
        if numbers is None or whole is None:
            return None

        def spread(values: Any, kind: Any = np.int64) -> Any:
            made = np.zeros((len(records), max(lengths, default=0)), kind)
            made[rows, columns] = values
            return made

        return cls(
            layers={name: spread(numbers[:, i]) for i, name in enumerate(_COUNTS)},
            there=spread(True, np.bool_),
            counted=spread([not layer.get("shared", False) for layer in found], np.bool_),
            kinds=spread([KINDS.index(layer["kind"]) for layer in found]),
            whole={name: whole[:, i] for i, name in enumerate(_WHOLE)},
            op_types=[tuple(r["op_types"]) for r in records],
        )

    def __len__(self) -> int:
        return len(self.op_types)

    def bits(self) -> Ints:
        """What every layer computes in."""
        return np.maximum(self.layers["weight_bits"], self.layers["activation_bits"])

    def weight_bytes(self, storage_bits: int) -> Floats:
        """Of every layer, shared or not."""
        wide = np.maximum(self.layers["weight_bits"], storage_bits)
        return np.asarray(self.layers["weights"] * wide / 8 + 4 * self.layers["biases"], np.float64)

    def counts(self) -> Floats:
        """`fitting.features` of every network."""
        macs = [np.where(self.kinds == kind, self.layers["macs"], 0).sum(axis=1) for kind in range(len(KINDS))]
        conv, stem, pointwise, depthwise, dense, product = macs
        parts = [conv, stem, pointwise, depthwise, dense + product, self.whole["moved_bytes"], self.whole["operators"]]
        return np.stack(parts, axis=1).astype(np.float64)


def _whole_numbers(rows: Sequence[tuple[Any, ...]], width: int) -> Ints | None:
    if not rows:
        return np.zeros((0, width), np.int64)
    try:
        found = np.array(rows)
    except (OverflowError, ValueError):
        return None
    if found.dtype.kind != "i" or found.min() < 0 or found.max() > _MOST:
        return None
    return found.astype(np.int64)


def _one_by_one(profile: Profile, records: Sequence[Mapping[str, Any]]) -> Said:
    found = [project(profile, Demand.from_json(record)) for record in records]
    fits = np.array([p.fits for p in found], np.bool_)
    return Said(_ends([p.latency_ms for p in found]), _ends([p.energy_mj for p in found]), fits)


def _ends(found: Sequence[Interval | Energy | None]) -> Floats:
    nothing = (np.nan, np.nan, np.nan)
    return np.array([(i.value, i.low, i.high) if i else nothing for i in found], np.float64).reshape(-1, 3)


def _of_table(profile: Profile, table: _Table) -> Said:
    said = Said.nothing(len(table))
    # Few precisions, many layers.
    wide = {int(bits): profile.bits_for(int(bits)) for bits in np.unique(table.bits())}
    weights = _in_order(np.where(table.counted, table.weight_bytes(profile.storage_bits), 0.0))
    said.fits[:] = ~(_no_types(table, wide) | _no_operators(profile, table) | _no_memory(profile, table, weights))
    usable = said.fits & (table.layers["macs"].sum(axis=1) > 0)
    if not (profile.costs_ns or profile.system):
        _bound(profile, table, wide, weights, usable, said)
        return said
    rows = np.flatnonzero(usable)
    bits = np.where(table.there, table.bits(), 0).max(axis=1, initial=0)
    found = []
    for row, counts in zip(rows, table.counts()[rows], strict=True):
        found.append(numbers_from_counts(profile, counts.tolist(), int(bits[row])))
    said.latency[rows], said.energy[rows] = _ends([f.latency_ms for f in found]), _ends([f.energy_mj for f in found])
    return said


def _no_types(table: _Table, wide: Mapping[int, int | None]) -> Bools:
    none = [bits for bits, found in wide.items() if found is None]
    return np.asarray((np.isin(table.bits(), none) & table.there).any(axis=1), np.bool_)


def _no_operators(profile: Profile, table: _Table) -> Bools:
    known = set(profile.operators or ())
    lacking = {types: profile.operators is not None and not known.issuperset(types) for types in set(table.op_types)}
    return np.array([lacking[types] for types in table.op_types], np.bool_)


def _no_memory(profile: Profile, table: _Table, weights: Floats) -> Bools:
    none = np.zeros(len(table), np.bool_)
    if profile.flash_bytes is not None and not profile.weights_in_ram:
        none |= weights > profile.flash_bytes
    if profile.ram_bytes is not None:
        needed = table.whole["peak_bytes"].astype(np.float64) + (weights if profile.weights_in_ram else 0.0)
        none |= needed > profile.ram_bytes
    return none


def _bound(
    profile: Profile, table: _Table, wide: Mapping[int, int | None], weights: Floats, usable: Bools, said: Said
) -> None:
    """`roofline.bound` of many, with the ends that `project` gives it, into what is said of the usable ones."""
    bits = table.bits()
    known = [b for b, found in wide.items() if found is None or found in profile.peak_gops]
    rated = usable & (np.isin(bits, known) | ~table.there).all(axis=1)
    peak, pj = (np.ones(bits.shape), np.zeros(bits.shape))
    for b, found in wide.items():
        if found is not None and found in profile.peak_gops:
            peak[bits == b], pj[bits == b] = profile.peak_gops[found], profile.pj_per_mac.get(found, 0.0)
    on_chip = np.zeros(len(table), np.bool_)
    if profile.on_chip_bytes is not None:
        on_chip = weights + table.whole["peak_bytes"] <= profile.on_chip_bytes
    pj_per_byte = np.where(on_chip, profile.pj_per_byte_on_chip, profile.pj_per_byte or 0.0)
    macs, inputs, outputs = (table.layers[name] for name in ("macs", "input_bytes", "output_bytes"))
    moved = table.weight_bytes(profile.storage_bits) + inputs + outputs
    compute_ms = OPS_PER_MAC * macs / peak * 1e-6
    latency = _in_order(np.maximum(compute_ms, np.where(on_chip[:, None], 0.0, _traffic_ms(profile, moved))))
    rest = np.maximum(0.0, table.whole["moved_bytes"] - (inputs + outputs).sum(axis=1).astype(np.float64))
    latency = latency + np.where(on_chip, 0.0, _traffic_ms(profile, rest))
    traffic_pj = _in_order(moved * pj_per_byte[:, None]) + rest * pj_per_byte
    energy = np.full(len(table), np.nan)
    if profile.pj_per_mac:
        energy = (_in_order(macs * pj) + traffic_pj) * 1e-9 + profile.static_w * latency
    elif profile.power_w is not None:
        energy = profile.power_w * latency
    for into, values in ((said.latency, latency), (said.energy, energy)):
        into[rated] = np.stack([values, values, values * largest_slack()], axis=1)[rated]


def _traffic_ms(profile: Profile, moved: Floats) -> Floats:
    return np.zeros(moved.shape) if profile.bandwidth_gbs is None else moved / profile.bandwidth_gbs * 1e-6


def _in_order(values: Floats) -> Floats:
    """The sums over layers (n, layers) -> (n,), one after the other: numpy's own adds in pairs, which rounds otherwise."""
    total = np.zeros(len(values))
    for column in values.T:
        total = total + column
    return total
