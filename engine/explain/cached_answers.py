"""Answers about a stored trial, worked out once and kept as nodes in the store."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from engine.errors import InputError, StepError
from engine.run.code_digest import code_digest
from engine.spec.canonical import canonical_json, digest
from engine.spec.sweep import Sweep
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.trial import Trial


def measured_pair(store: Store, sweep_ref: str, trial_id: str) -> tuple[Sweep, Trial, Trial]:
    """Spec, trial and baseline; raises NotFoundError, or InputError for a trial without a file."""
    row = store.sweep(sweep_ref)
    trial, baseline = store.trial(row.id, trial_id), store.trials(row.id)[0]
    for each in (trial, baseline):
        if each.artifact is None:
            raise InputError(f"trial {each.id} ({each.label}) has no file to look into: {each.error or each.state}")
    return store.spec(row.id), trial, baseline


def kept(store: Store, kind: str, parts: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, from the store where the same was asked before; its StepError becomes an InputError."""
    before = known(store, kind, parts)
    if before is not None:
        return before
    started = time.monotonic()
    try:
        # As the store gives it back: lists, not tuples.
        result: dict[str, Any] = json.loads(canonical_json(work()))
    except StepError as error:
        raise InputError(str(error)) from None
    store.save_node(NodeRow(_key(kind, parts), kind, 1.0, time.monotonic() - started, result))
    return result


def _key(kind: str, parts: dict[str, Any]) -> str:
    return digest({"kind": kind, "code": code_digest(kind), **parts})


def known(store: Store, kind: str, parts: dict[str, Any]) -> dict[str, Any] | None:
    """What was worked out of these parts before, by this code; None where it was not."""
    found = store.nodes([_key(kind, parts)])
    return next((row.result for row in found.values()), None)
