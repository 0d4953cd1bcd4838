"""The float network that a trial's layers are those of."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import InputError, NotFoundError
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from engine.store.store import Store
from engine.trials.trial import Trial


@dataclass(frozen=True)
class FloatNetwork:
    """A float network in a sweep: the trial whose file it is, and the step that quantizes it in the trial that was asked about, if any."""

    trial: Trial
    step: Quantize | None

    @property
    def artifact(self) -> str:
        """Its file's name among the artifacts."""
        return self.trial.artifact or ""


def float_network(store: Store, sweep_id: str, trial: Trial) -> FloatNetwork:
    """What the recipe of a trial is before its quantize step: the trial of the same sweep that ends there, or the trial itself.

    Raises InputError where no trial of the sweep ends there.
    """
    place = next((i for i, step in enumerate(trial.recipe.steps) if isinstance(step, Quantize)), None)
    if place is None:
        return FloatNetwork(trial, None)
    step = trial.recipe.steps[place]
    assert isinstance(step, Quantize)
    before = Recipe(steps=trial.recipe.steps[:place])
    try:
        found = store.trials_by_id(sweep_id, [before.id])[before.id]
    except NotFoundError:
        found = None
    if found is None or found.artifact is None:
        raise InputError(
            f"trial {trial.id} quantizes the network of {before.label!r}, which this sweep has no file of; add that recipe to the "
            "sweep’s spec and run it again"
        )
    return FloatNetwork(found, step)
