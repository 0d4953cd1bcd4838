"""A file that is to be added to a finished sweep: what a run must know of it before anything is recorded."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SpecError
from engine.run.missing import missing_nodes
from engine.run.plan import Plan
from engine.spec.recipe import Recipe
from engine.store.artifacts import Artifacts
from engine.store.store import Store


@dataclass(frozen=True)
class Addition:
    """The recipe that stands for the file, and where its bytes lie until they are in the artifact store."""

    recipe: Recipe
    file: Path

    def admit(self, plan: Plan, store: Store, artifacts: Artifacts) -> None:
        """Take the file into the artifact store; raises SpecError, before that, where other trials would lose what was measured of them.

        A run puts trials together from the nodes of this version and this machine. What was measured elsewhere, or by other code, would be
        pending afterwards, since an addition measures its own recipe alone.
        """
        missing = missing_nodes(plan, store, artifacts)
        done = {t.id for t in store.trials(plan.sweep.id) if t.state == "done"} - {self.recipe.id}
        lost = sum(c.recipe.id in done and not missing.isdisjoint(plan.asked_of(c)) for c in plan.chains)
        if lost:
            name = plan.sweep.id
            raise SpecError(
                f"{lost} of the {len(done)} trials of {name} must be measured again first: another machine or an earlier version of "
                f"Paretoscope measured them, or their files are gone; `paretoscope resume {name}` does that, then add the file; "
                "--keep-old-code keeps what an earlier version has finished"
            )
        if self.recipe.imported is None:
            raise TypeError("an addition is a file")
        with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
            artifacts.put(self.recipe.imported.file, Path(shutil.copy(self.file, folder)))
