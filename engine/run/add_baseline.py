"""A file made elsewhere as the baseline, with the trials of a finished sweep measured against it.

The baseline is what every number of a sweep leans on: accuracies are tested in pairs with its answers, latencies are taken in turns with
it, fidelity is nearness to it, and every recipe starts from the network that it is. To put another file in its place would leave trials
of one network compared with another, on timings that were never taken side by side, under the id of a spec that says otherwise. So it
becomes a sweep of its own, whose model is that file, with the same data and the same measurements; the files that the first sweep made
come along as they are, each as a file made elsewhere, and are measured against the new baseline like everything else. The first sweep
stays as it was.

What does not come along: recipes that only run a file in another way (`runtime`), since a file alone does not say how it is run, and
trials whose files are gone. They are named.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.load import load_dataset
from engine.errors import SpecError
from engine.models.made_elsewhere import bytes_of, check_made, inputs_of, section_for
from engine.run.outcome import Outcome, Progress
from engine.run.run import execute
from engine.spec.goals import Search
from engine.spec.names import checked_name, fitting_name
from engine.spec.steps import Imported
from engine.spec.sweep import Sweep, parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial


@dataclass(frozen=True)
class AgainstBaseline:
    """The new sweep, how its run ended, and the recipes of the old one that did not come along, with the reason."""

    sweep: str
    outcome: Outcome
    left_out: tuple[str, ...]


def add_as_baseline(
    store: Store,
    artifacts: Artifacts,
    sweep_ref: str,
    path: Path,
    name: str,
    scheduler: str | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> AgainstBaseline:
    """Run a sweep whose baseline is the file, with the trials of a sweep as files beside it; called the same again, it goes on.

    Raises InputError, before anything is recorded, for an unknown sweep or one that runs or has measured nothing, and for a file that
    cannot be used or does not go with the sweep's data.
    """
    row = store.sweep(sweep_ref)
    if row.state == "running":
        raise SpecError(f"{row.id} is running; wait until it is done, or `paretoscope cancel {row.id}`")
    checked_name(name, "--name")
    old, done = store.spec(row.id), [t for t in store.trials(row.id) if t.state == "done"]
    if not done:
        raise SpecError(f"{row.id} has measured nothing yet; `paretoscope resume {row.id}`")
    if path.suffix != ".onnx":
        raise SpecError(f"{path} is not called .onnx, by which a sweep knows what its model is; rename it")
    latency = old.measure.latency
    check_made(
        path, load_dataset(old.data), latency.filled(None).batch if latency else None, like=section_for(path, old.model)
    )
    steps, left_out = _as_files(done, artifacts, hashlib.sha256(bytes_of(path)).hexdigest(), old.name)
    new = _sweep(old, path, name, steps)
    outcome = execute(new, store, artifacts, scheduler, on_progress)
    return AgainstBaseline(new.id, outcome, tuple(left_out))


def _sweep(old: Sweep, path: Path, name: str, steps: Sequence[Imported]) -> Sweep:
    said = {key: getattr(old, key) for key in ("data", "measure", "seed", "target", "metric", "loss")}
    if gone := old.data.constants.keys() - inputs_of(path):
        # The file has them stored already, as those of the old sweep have.
        kept = {name: value for name, value in (old.data.inputs or {}).items() if name not in gone}
        said["data"] = old.data.model_copy(update={"inputs": kept})
    model = section_for(path, old.model)
    title = f"{old.name} against {name}"[:200]
    recipes = tuple((step,) for step in steps)
    made = Sweep(name=title, model=model, search=Search(), recipes=recipes, **said)
    # As it will be read again.
    return parse_sweep(made.model_dump(mode="json"))


def _as_files(
    trials: Sequence[Trial], artifacts: Artifacts, baseline: str, title: str
) -> tuple[list[Imported], list[str]]:
    """The trials' files in the artifact store under their digests, as steps that name them, and what was left out with the reason."""
    steps: dict[str, Imported] = {}
    left_out: list[str] = []
    names: set[str] = {"baseline"}
    for trial in trials:
        if trial.recipe.runtime:
            left_out.append(f"{trial.label}: it is a way to run a file, not a file")
        elif trial.artifact is None or not artifacts.has(trial.artifact):
            left_out.append(f"{trial.label}: its file is gone")
        else:
            with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
                file = Path(shutil.copy(artifacts.local(trial.artifact), folder))
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
                if sha256 == baseline or sha256 in steps:
                    same = "the new baseline" if sha256 == baseline else steps[sha256].name
                    left_out.append(f"{trial.label}: the same file as {same}")
                    continue
                name = fitting_name(trial.label if trial.recipe.steps else f"baseline of {title}")
                name = name if name not in names else f"{name[:85]} {trial.id}"
                names.add(name)
                steps[sha256] = Imported(name=name, sha256=sha256)
                artifacts.put(steps[sha256].file, file)
    return list(steps.values()), left_out
