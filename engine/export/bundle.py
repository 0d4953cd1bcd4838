"""Bundles: a chosen trial as one zip that proves itself, and the check of such a zip.

    model.onnx  recipe.yaml  preprocess.json  labels.txt  card.md  card.html  metrics.json  sample.npz  predict.py  verify.py
    Dockerfile  manifest.json

`predict.py` and `verify.py` are made of the templates in this folder (`programs.py`). `verify_bundle` runs those from here: never code out
of a zip.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from engine import __version__
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.errors import InputError
from engine.export import verify_main_template, verify_template
from engine.export.bundle_parts import card_html, dockerfile, metadata_of, metrics_json, with_metadata
from engine.export.card import card
from engine.export.predict_template import BundleError
from engine.export.programs import predict_program, verify_program
from engine.export.recorded import manifest_of, record, stored_trial
from engine.export.verify_template import FORMAT, Check, Limits
from engine.export.zips import check_target, json_bytes, npz_bytes, packed, sha256_of, unpacked, write_atomically
from engine.spec.labels import source_name
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep
from engine.trials.trial import Trial

if TYPE_CHECKING:
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

PARTS = (
    "Dockerfile", "card.html", "card.md", "labels.txt", "manifest.json", "metrics.json", "model.onnx", "predict.py", "preprocess.json",
    "recipe.yaml", "sample.npz", "verify.py",
)  # fmt: skip


@dataclass(frozen=True)
class VerifyReport:
    """What `paretoscope verify` found; `lines` is the table to print."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def lines(self) -> tuple[str, ...]:
        """The checks as a table and a verdict."""
        return tuple(verify_main_template.table(self.checks))

    def to_json(self) -> dict[str, Any]:
        """`{"ok", "checks": [{"name", "ok", "found", "expected"}]}`."""
        return {"ok": self.ok, "checks": [asdict(check) for check in self.checks]}


def export_bundle(store: Store, artifacts: Artifacts, sweep_ref: str, trial_id: str, target: Path) -> Path:
    """Write a stored trial as a bundle at `target` (a file that is there is replaced) and return the path.

    Raises NotFoundError for an unknown sweep, trial or artifact, InputError for a trial that is not measured, a target that
    cannot be written, or a model that no longer answers as it was measured.
    """
    stored = stored_trial(store, artifacts, sweep_ref, trial_id)
    check_target(target)
    data = load_dataset(stored.sweep.data)
    return write_bundle(target, stored.model, stored.trial, stored.sweep, data, stored.baseline)


def write_bundle(
    target: Path, model: Path, trial: Trial, sweep: Sweep, dataset: Dataset, baseline: Trial | None = None
) -> Path:
    """Write the bundle of a measured trial whose ONNX file is `model`; the same input gives the same bytes.

    The sample's recorded answers come from running `model` here. Raises InputError as `export_bundle` does.
    """
    check_target(target)
    told = record(model, trial, sweep, dataset)
    text, bare = (
        card(trial, sweep, dataset, baseline, len(told.sample), __version__, told.settings.get("states", ())),
        model.read_bytes(),
    )
    facts = metadata_of(trial, told.settings, told.labels, dataset.checksum, __version__)
    parts = {
        "model.onnx": with_metadata(bare, facts),
        "recipe.yaml": recipe_yaml(trial.recipe, sweep).encode(),
        "preprocess.json": json_bytes(told.settings),
        "labels.txt": told.labels_txt,
        "card.md": text.encode(),
        "card.html": card_html(text).encode(),
        "metrics.json": json_bytes(metrics_json(trial, baseline)),
        "Dockerfile": dockerfile(trial, dataset.is_images).encode(),
        "predict.py": predict_program().encode(),
        "verify.py": verify_program().encode(),
        "sample.npz": npz_bytes(told.asked | told.answers),
    }
    facts_there = manifest_of(told, trial, sweep, baseline) | {"format": FORMAT, "bare": len(bare)}
    parts["manifest.json"] = json_bytes(facts_there | {"files": sha256_of(parts)})
    write_atomically(target, packed(parts))
    return target


def recipe_yaml(recipe: Recipe, sweep: Sweep) -> str:
    """A spec of the baseline and this recipe: `paretoscope run recipe.yaml` makes the model again, the user's own files beside it."""
    spec = sweep.model_dump(mode="json")
    spec["model"] |= {k: source_name(spec["model"][k]) for k in ("source", "weights") if spec["model"][k]}
    for key in ("source", "labels"):
        spec["data"][key] = spec["data"][key] and source_name(spec["data"][key])
    if spec["metric"]:
        spec["metric"] = {
            k: source_name(v) if k in ("source", "decode") else v for k, v in spec["metric"].items() if v is not None
        }
    spec["loss"] = spec["loss"] and source_name(spec["loss"])
    steps = [s | ({"teacher": source_name(s["teacher"])} if "teacher" in s else {}) for s in recipe.to_json()]
    del spec["space"], spec["search"]
    spec |= {"name": f"{sweep.name}: {recipe.label}"[:200], "recipes": [steps] if steps else []}
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


def verify_bundle(bundle: Path, data: Path | None = None, limits: Limits | None = None) -> VerifyReport:
    """Check a bundle as its `verify.py` would, with this program's copy of that file, in a temporary folder.

    `data`: an .npz with x_test and y_test. Raises InputError when the zip is none, is unsafe to unpack or lacks a part, and when the data
    cannot be used or a limit has no sense for what the model is judged by.
    """
    with unpacked(bundle, PARTS) as folder:
        try:
            return VerifyReport(tuple(verify_template.verify(folder, data, limits or Limits())))
        except BundleError as error:
            raise InputError(f"{bundle}: {error}") from None
