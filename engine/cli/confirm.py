"""`paretoscope confirm`: a trial on the test samples that were held back."""

from __future__ import annotations

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json
from engine.trials.text import confirmation_text
from engine.trials.trial import Trial


def confirm(
    sweep: SweepRef,
    trial: TrialRef,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate a trial on the test samples that were held back (`measure.held_back`), once."""
    from engine.run.confirm import confirm_trial
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    found = confirm_trial(Store.open(), Artifacts.open(), sweep, trial)
    print_json(found.to_json()) if as_json else print_confirmation(found)


def print_confirmation(trial: Trial) -> None:
    """What the held-back samples said."""
    print(f"{trial.label}: {confirmation_text(trial)}")
