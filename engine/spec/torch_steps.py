"""The steps that work on a torch network: distil, prune, train on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from engine.spec.frozen import Frozen

CURRENT = "current"
SELF = "self"


class Distill(Frozen):
    """Train a student on a teacher's outputs (Hinton et al. 2015, arXiv:1503.02531).

    `student`: a zoo name, `torchvision:NAME`, `self` (the sweep's own network, built anew at `width` and `depth`), or `current` (the
    network as the steps before left it, weights kept: distilling into a pruned network). `teacher`: `baseline`, `previous` (what the
    steps before left) or a model source that has trained weights. `alpha` weighs the teacher's softened outputs against the labels;
    alpha = 0 with feature_weight = 0 trains the student without a teacher. `feature_weight` adds a loss on the features before the
    classifier, through a learned adapter. `repeats` is how often recursive_resnet applies each block.

    `start: taken`, of student `self`: its layers are the network's own, with their weights (Sanh et al. 2019, arXiv:1910.01108): at depth
    0.5 every second of blocks that are alike, the first and the last among them, and of stacked recurrent layers; at a smaller width the
    channels that matter most. `fresh`: random weights.
    """

    came_later: ClassVar[frozenset[str]] = frozenset({"start"})

    step: Literal["distill"] = "distill"
    student: str = Field(min_length=1)
    width: float = Field(1.0, gt=0, le=4)
    depth: float = Field(1.0, gt=0, le=4)
    repeats: int | None = Field(None, ge=1, le=32)
    teacher: str = Field("baseline", min_length=1)
    temperature: float = Field(4.0, gt=0, le=100)
    alpha: float = Field(0.9, ge=0, le=1)
    feature_weight: float = Field(0.0, ge=0, le=1000)
    epochs: int = Field(2, ge=1, le=1000)
    samples: int | None = Field(None, ge=1)
    learning_rate: float = Field(0.1, gt=0, le=10)
    augment: Literal["none", "mirror", "shift"] = "none"
    start: Literal["fresh", "taken"] = "fresh"

    @model_validator(mode="after")
    def _student_has_these_knobs(self) -> Distill:
        if self.student == CURRENT and (self.width, self.depth, self.repeats) != (1, 1, None):
            raise ValueError("student 'current' keeps its shape; use student 'self' for another width or depth")
        if self.repeats is not None and self.student not in {"recursive_resnet", SELF}:
            raise ValueError(f"repeats is a knob of recursive_resnet, not of {self.student}; leave it out")
        if self.start == "taken" and (
            self.student != SELF or self.width > 1 or self.depth > 1 or self.repeats is not None
        ):
            raise ValueError(
                "start: taken is of student self at a width and depth of 1 at most, without repeats; use start: fresh for any other"
            )
        return self

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher is ever asked."""
        return self.alpha > 0 or self.feature_weight > 0

    @property
    def images_needed(self) -> int | None:
        """How many of the first training images the step draws from, so that a teacher need not see the others; None for all."""
        return None if self.samples is None else self.epochs * self.samples

    @property
    def is_fresh(self) -> bool:
        """Whether the student does not go on from what the steps before left."""
        return self.student != CURRENT

    @property
    def is_taken(self) -> bool:
        """Whether its layers are the network's own."""
        return self.start == "taken"


_PRUNE_DEFAULTS: dict[str, dict[str, Any]] = {
    "magnitude": {"allocation": "global"},
    "nm": {"pattern": "2:4"},
    "channel": {"allocation": "uniform", "importance": "l2", "round_to": 4},
    "heads": {"allocation": "uniform", "importance": "l2"},
    "mlp": {"allocation": "uniform", "importance": "l2", "round_to": 4},
    "heads_and_mlp": {"allocation": "uniform", "importance": "l2", "round_to": 4},
}
_PRUNE_KNOBS: dict[str, tuple[str, ...]] = {
    "magnitude": ("ratio", "allocation"),
    "nm": ("pattern",),
    "channel": ("ratio", "macs_ratio", "allocation", "importance", "round_to"),
    "heads": ("ratio", "allocation", "importance"),
    "mlp": ("ratio", "allocation", "importance", "round_to"),
    "heads_and_mlp": ("ratio", "allocation", "importance", "round_to"),
}
PARTS: dict[str, tuple[str, ...]] = {"heads": ("heads",), "mlp": ("mlp",), "heads_and_mlp": ("heads", "mlp")}
"""Methods that take whole parts of a transformer's blocks, and which."""


class Prune(Frozen):
    """Set weights to zero (`magnitude`, `nm`), or remove whole channels (`channel`), attention heads (`heads`) or hidden numbers (`mlp`).

    `magnitude`: `ratio` is the share of weights that are zero afterwards. `nm`: of each M neighbouring weights of a filter N stay, as
    `pattern` says. `channel`: `ratio` is the share of the parameters that go, or `macs_ratio` the share of the MACs, counted from the
    network before its first pruning. `heads`: `ratio` is the share of all attention heads that go, `mlp`: of the width between the two
    linear layers of each MLP, `heads_and_mlp`: of both, counted from there as well; what goes through all blocks stays as wide as it is.
    `allocation` says how the removal is spread over layers: the same in each, wherever in the whole network importance is least, or by
    how much each layer's removal hurts.
    """

    step: Literal["prune"] = "prune"
    method: Literal["magnitude", "nm", "channel", "heads", "mlp", "heads_and_mlp"]
    ratio: float | None = Field(None, gt=0, lt=1)
    macs_ratio: float | None = Field(None, gt=0, lt=1)
    pattern: Literal["2:4", "4:8", "1:4"] | None = None
    allocation: Literal["uniform", "global", "sensitivity"] | None = None
    importance: Literal["l2", "bn_scale", "taylor"] | None = None
    round_to: int | None = Field(None, ge=1, le=256)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_method(cls, value: Any) -> Any:
        """What is left out is filled in by method, so that one recipe is written one way only."""
        if not isinstance(value, Mapping):
            return value
        return {
            **_PRUNE_DEFAULTS.get(str(value.get("method")), {}),
            **{k: v for k, v in value.items() if v is not None},
        }

    @model_validator(mode="after")
    def _knobs_fit_the_method(self) -> Prune:
        known = _PRUNE_KNOBS[self.method]
        for name in ("ratio", "macs_ratio", "pattern", "allocation", "importance", "round_to"):
            if name not in known and getattr(self, name) is not None:
                raise ValueError(f"{name} is not a knob of method {self.method}, which has {', '.join(sorted(known))}")
        if self.method == "magnitude" and self.ratio is None:
            raise ValueError("method magnitude needs a ratio, the share of weights to set to zero")
        if self.method == "channel" and (self.ratio is None) == (self.macs_ratio is None):
            raise ValueError("method channel needs either ratio, of parameters, or macs_ratio")
        if self.method in PARTS and self.ratio is None:
            what = {"heads": "of heads", "mlp": "of the MLPs' width"}.get(
                self.method, "of heads and of the MLPs' width"
            )
            raise ValueError(f"method {self.method} needs a ratio, the share {what} to remove")
        if self.method in PARTS and self.importance == "bn_scale":
            raise ValueError(
                f"importance bn_scale is of batch norms, which method {self.method} meets none of; use l2 or taylor"
            )
        return self

    @property
    def is_smaller(self) -> bool:
        """Whether layers get smaller, not only emptier."""
        return self.method == "channel" or self.method in PARTS


class Finetune(Frozen):
    """Train on, with labels; zeros set by pruning stay zero. `samples` images are drawn anew for each epoch (null: all)."""

    step: Literal["finetune"] = "finetune"
    epochs: int = Field(1, ge=1, le=1000)
    samples: int | None = Field(None, ge=1)
    learning_rate: float = Field(0.02, gt=0, le=10)
    augment: Literal["none", "mirror", "shift"] = "none"
