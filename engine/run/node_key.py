"""The key of a node: a hash of all that determines its output. Sharing, cache and resume follow from it."""

from __future__ import annotations

from typing import Any

from engine.measure.machine import integer_sums
from engine.run.plan import EXCLUSIVE, Kind
from engine.spec.canonical import digest
from engine.trials.measurements import Machine

USES_SEED: frozenset[Kind] = frozenset({"distill", "finetune", "qat"})
"""Kinds that draw random numbers."""
_USES_DATA: frozenset[Kind] = frozenset(
    {
        "source", "convert", "teacher", "distill", "prune", "finetune", "export", "sensitivity", "layer_times", "quantize", "fewest",
        "qat", "imported", "accuracy",
    }
)  # fmt: skip


def node_key(
    kind: Kind,
    inputs: tuple[str, ...],
    options: dict[str, Any],
    code: str,
    seed: int,
    data: str,
    machine: Machine,
    device: str = "cpu",
) -> str:
    """SHA-256, in hex. `inputs` are keys, `code` and `data` digests; what a kind does not depend on is left out.

    `device`: the kind of device that torch computes on.
    """
    parts = {
        "kind": kind,
        "inputs": inputs,
        "options": options,
        "code": code,
        "seed": seed if kind in USES_SEED else None,
        "data": data if kind in _USES_DATA else None,
        "machine": machine.fingerprint if kind in EXCLUSIVE else None,
    }
    if kind == "accuracy" and (sums := integer_sums(machine)) != "exact":
        # An integer network answers otherwise there; what other machines counted is not its accuracy.
        parts["integer_sums"] = sums
    if device != "cpu":
        # It sums in another order, and trains in half precision.
        parts["device"] = device
    return digest(parts)
