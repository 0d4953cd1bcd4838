"""A spec in a Python program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.check.report import settled
from engine.run.forecast import Preview, preview
from engine.spec import sweep as specs
from engine.spec.read import read_sweep, stated_yaml
from engine.store.artifacts import Artifacts
from engine.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sweep:
    """What to run: a model, data, recipes and what to measure. `spec` is it as the engine reads it."""

    spec: specs.Sweep

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> Sweep:
        """A spec file; `changes` replace keys at its top level. Paths in it are relative to it. Raises ParetoscopeError."""
        found = read_sweep(Path(path))
        return (
            cls.of(found.model_dump(mode="json", exclude_unset=True) | changes, Path(path).parent)
            if changes
            else cls(found)
        )

    @classmethod
    def of(cls, spec: Mapping[str, Any], folder: str | Path = ".") -> Sweep:
        """A spec as a mapping, as YAML has it; paths in it are relative to `folder`. Raises ParetoscopeError."""
        return cls(specs.parse_sweep(dict(spec), Path(folder).resolve()))

    @property
    def name(self) -> str:
        """What the spec calls it."""
        return self.spec.name

    @property
    def recipes(self) -> pd.DataFrame:
        """Its recipes in order, the baseline first: `id` and `recipe`, the label; of a searched one all that the search may choose from."""
        import pandas as pd

        return pd.DataFrame([{"id": recipe.id, "recipe": recipe.label} for recipe in self.spec.all_recipes])

    def plan(self) -> Preview:
        """What a run would do and about how long that takes, without doing it. Raises ParetoscopeError for a bad model or data."""
        return preview(settled(self.spec)[0], Store.open(), Artifacts.open())

    def to_yaml(self) -> str:
        """The spec as text, with no more stated than was."""
        return stated_yaml(self.spec)
