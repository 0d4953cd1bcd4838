"""A sweep's frontier as one zip to be measured on a user's own board: every model, one sample, and one measure.py.

    measure.py  manifest.json  sample.npz  models/TRIAL.onnx …

The files are those that the trials measured, byte for byte. `sample.npz` has the inputs once, and the answers of each trial under
`answers/TRIAL`, along streams under `streams/TRIAL`. What bundles have in files of their own, manifest and preprocessing, is in
`manifest.json` by trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.load import load_dataset
from engine.errors import InputError
from engine.export.measure_template import FRONTIER
from engine.export.programs import measure_program
from engine.export.recorded import Array, manifest_of, record, stored_trial
from engine.export.zips import check_target, json_bytes, npz_bytes, packed, sha256_of, write_atomically
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store


def export_frontier(
    store: Store, artifacts: Artifacts, sweep_ref: str, trials: Sequence[Trial], target: Path
) -> tuple[str, ...]:
    """Write these trials of a sweep and its baseline, against which they are timed, at `target`; their ids, the baseline's first.

    The same trials give the same bytes. Raises NotFoundError for an unknown sweep or a file that is gone, InputError for a target that
    cannot be written or a model that no longer answers as it was measured.
    """
    check_target(target, "frontier.zip")
    row = store.sweep(sweep_ref)
    baseline = store.trials(row.id)[0]
    ids = tuple(dict.fromkeys([baseline.id, *(trial.id for trial in trials)]))
    if len(ids) < 2:
        raise InputError(f"the frontier of {row.id} has no model beside the baseline; measure some recipes first")
    stored = [stored_trial(store, artifacts, row.id, one) for one in ids]
    dataset = load_dataset(stored[0].sweep.data)
    members: dict[str, bytes] = {"measure.py": measure_program().encode()}
    models: dict[str, Any] = {}
    sample: dict[str, Array] = {}
    for one in stored:
        told = record(one.model, one.trial, one.sweep, dataset)
        own = "predictions" if "predictions" in told.answers else "outputs"
        keys = {own: f"answers/{one.trial.id}", "stream": f"streams/{one.trial.id}"}
        # What should be answered is the same for all.
        sample |= told.asked | {keys.get(name, name): array for name, array in told.answers.items()}
        bare = one.model.read_bytes()
        members[f"models/{one.trial.id}.onnx"] = bare
        models[one.trial.id] = {
            "manifest": manifest_of(told, one.trial, one.sweep, None)
            | {"answers": keys[own], "stream": keys["stream"]},
            "settings": told.settings,
            "bare_sha256": hashlib.sha256(bare).hexdigest(),
        }
    members["sample.npz"] = npz_bytes(sample)
    said = {"frontier": FRONTIER, "sweep": row.id, "baseline": baseline.id, "models": models}
    members["manifest.json"] = json_bytes(said | {"files": sha256_of(members)})
    write_atomically(target, packed(members))
    return ids
