"""A recipe: ordered steps, checked, its stages, its id and its name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from pydantic import model_validator

from engine.spec.canonical import digest
from engine.spec.frozen import Frozen
from engine.spec.labels import step_label
from engine.spec.runtime import Runtime
from engine.spec.steps import Distill, Finetune, Imported, Prune, Quantize, Step
from engine.spec.validation import validated


class Recipe(Frozen):
    """An ordered tuple of steps; the empty recipe is the baseline."""

    steps: tuple[Step, ...] = ()

    @model_validator(mode="after")
    def _order_makes_sense(self) -> Recipe:
        if len(self.steps) > 1 and any(isinstance(s, Imported) for s in self.steps):
            raise ValueError("a file that was made elsewhere is measured as it is; give imported a recipe of its own")
        for position, step in enumerate(self.steps):
            before = self.steps[:position]
            if before and isinstance(before[-1], Runtime):
                if isinstance(step, Runtime):
                    raise ValueError("a file is run in one way; keep one runtime step")
                raise ValueError(
                    f"{step.step} cannot follow runtime, which says how the finished file is run; put runtime last"
                )
            if before and isinstance(before[-1], Quantize) and not isinstance(step, Runtime):
                if isinstance(step, Quantize):
                    raise ValueError("a network is quantized once; keep one quantize step")
                raise ValueError(f"{step.step} cannot follow quantize; put quantize last in `space`")
            if isinstance(step, Distill) and step.is_fresh and before and step.teacher != "previous":
                raise ValueError(
                    f"{before[-1].step} before distill has no effect: student {step.student} does not go on from it and its "
                    f"teacher is {step.teacher}; put distill first, or use student: current or teacher: previous"
                )
        return self

    def to_json(self) -> list[dict[str, Any]]:
        """Flat dicts, `{"step": "quantize", "weight_bits": 8, …}`."""
        return [s.model_dump(mode="json") for s in self.steps]

    @classmethod
    def from_json(cls, steps: list[dict[str, Any]]) -> Recipe:
        """The inverse of `to_json`; raises SpecError."""
        recipe: Recipe = validated(Recipe, {"steps": steps}, "recipe")
        return recipe

    @cached_property
    def id(self) -> str:
        """Twelve hex digits that name the recipe, the same in every sweep: two in 100,000 recipes are alike once in 56,000 sweeps."""
        return digest(self.to_json())[:12]

    @property
    def runtime(self) -> Runtime | None:
        """How its file is run, where that is not left to the sweep."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Runtime) else None

    @property
    def imported(self) -> Imported | None:
        """The file made elsewhere that it stands for, if it does."""
        last = self.steps[-1] if self.steps else None
        return last if isinstance(last, Imported) else None

    @cached_property
    def stages(self) -> tuple[Recipe, ...]:
        """The recipes on the way here: from the baseline, each one stage longer, to this one.

        Pruning and the training that repairs it are one stage: neither is worth anything alone.
        """

        def repaired(i: int) -> bool:
            return all(isinstance(s, Prune | Finetune) for s in self.steps[i : i + 2]) and i + 1 < len(self.steps)

        ends = [i + 1 for i in range(len(self.steps)) if not repaired(i)]
        # What a recipe begins with is one: nothing of it needs checking again.
        return tuple(Recipe.model_construct(steps=self.steps[:end]) for end in (0, *ends))

    @cached_property
    def label(self) -> str:
        """What people read: `channels −50 % · finetune 1 · int8`."""
        return self.label_with(())

    def label_with(self, chosen: Sequence[str]) -> str:
        """The label, with what its quantize step chose where it was left to it: `int8 (7-bit weights)`."""
        return " · ".join(step_label(s, chosen) for s in self.steps) or "baseline"
