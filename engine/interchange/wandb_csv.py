"""A sweep as the table of runs that Weights & Biases exports, so that what reads such tables reads ours; nothing of theirs is needed.

Their columns, as exports from their page have them: Name, State, Notes, User, Tags, Created, Runtime, Sweep, then what a run was told,
nested names divided by dots, then the last value of each number. Ours put `config.` before what a run was told, as their own API does, for
without it `params` could be either. `engine/elsewhere/wandb_runs.py` reads both.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.export.tables import to_csv
from engine.interchange.flat import numbers, recipe_options
from engine.spec.sweep import Sweep
from engine.store.rows import SweepRow
from engine.trials.trial import Trial

_STATES = {"done": "finished", "failed": "failed"}


def runs_csv(row: SweepRow, sweep: Sweep, trials: Sequence[Trial]) -> bytes:
    """One row for each trial that is measured or could not be made: UTF-8, units as in `paretoscope trials --json`.

    A name is the trial's id and its recipe, since a baseline is called so in every sweep. Notes say why a trial could not be made.
    """
    kept = [t for t in trials if t.state in _STATES]
    configs = [
        {
            "config.model": sweep.model.source,
            "config.data": sweep.data.source,
            "config.trial": t.id,
            "config.recipe": t.label,
        }
        | {f"config.{name}": value for name, value in recipe_options(t.recipe).items()}
        for t in kept
    ]
    summaries = numbers(kept)
    columns = list(dict.fromkeys(name for config in configs for name in config))
    measured = list(dict.fromkeys(name for summary in summaries for name in summary))
    return to_csv(
        [
            {
                "Name": f"{t.id} {t.label}",
                "State": _STATES[t.state],
                "Notes": t.error or "",
                "User": "",
                "Tags": t.provenance,
                "Created": row.created,
                "Runtime": "",
                "Sweep": row.id,
                **{name: config.get(name, "") for name in columns},
                **{name: summary.get(name, "") for name in measured},
            }
            for t, config, summary in zip(kept, configs, summaries, strict=True)
        ]
    )
