"""How much of the frontier is found already, and whether what is left is likely to improve it; of any sweep, however it was searched."""

from __future__ import annotations

from collections.abc import Sequence

from engine.spec.goals import UNLIKELY
from engine.spec.sweep import Sweep
from engine.trials.trial import Trial

MOST = 2000
"""Of larger sweeps nothing is said: what each recipe may add would take seconds whenever one is finished."""


def share_found(sweep: Sweep, trials: Sequence[Trial]) -> float | None:
    """The share of the frontier's volume that is found, of what is expected of all recipes: from the sweep's own trials alone, which may
    differ a little from what a run says that knows recipes in short and earlier sweeps. None where nothing can be said: before two
    recipes are measured, where none is left, or of very many.
    """
    from engine.search.frugal import FrugalChooser  # not at the top: what it needs of scipy takes half a second

    finished = {t.id: t for t in trials if t.state != "pending"}
    own = [r.id for r in sweep.all_recipes if not r.imported]
    done = sum(t.state == "done" for t in finished.values())
    if done < 2 or len(own) > MOST or all(i in finished for i in own):
        return None
    return FrugalChooser(sweep).found(finished)


def found_text(found: float, left: int) -> str:
    """The same in words, and whether the frontier is likely to get any better."""
    if not left:
        return "no recipe is left to measure"
    said = f"found: about {found:.1%} of the frontier's volume that is expected of all recipes"
    return f"{said}; the {left} that are left are unlikely to improve it" if found >= UNLIKELY else said
