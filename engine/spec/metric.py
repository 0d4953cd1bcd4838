"""What a trial is judged by, beside or instead of accuracy: a metric by its name, or a function of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.metrics import Better, score_key
from engine.spec.frozen import Frozen

Task = Literal["classification", "regression", "other", "fidelity"]
"""classification: class numbers; regression: values; other: targets of any kind, which the metric alone knows; fidelity: none."""


@dataclass(frozen=True)
class BuiltIn:
    """A metric that is there by its name: what it is called, which way is better, its unit, and the task that its targets make."""

    title: str
    better: Better
    task: Task
    unit: str = ""


BUILT_IN: dict[str, BuiltIn] = {
    "macro_f1": BuiltIn("Macro F1", "max", "classification", "%"),
    "auroc": BuiltIn("AUROC", "max", "classification", "%"),
    "mae": BuiltIn("MAE", "min", "regression"),
    "rmse": BuiltIn("RMSE", "min", "regression"),
    "r2": BuiltIn("R²", "max", "regression"),
    "spearman": BuiltIn("Spearman", "max", "regression"),
    "cosine_to_target": BuiltIn("Cosine to target", "max", "regression"),
    "iou": BuiltIn("Mean IoU", "max", "other", "%"),
    "cer": BuiltIn("CER", "min", "other", "%"),
    "wer": BuiltIn("WER", "min", "other", "%"),
    "perplexity": BuiltIn("Perplexity", "min", "other"),
}
"""`accuracy` and `top5` are not among them: where there are classes they are always counted."""
_ALWAYS = ("accuracy", "top5")
_TEXT = ("cer", "wer")
_OF_EACH = ("mae", "cosine_to_target")
"""A number for each sample, whose mean over any of them follows from those that are kept."""


def names_function(text: str) -> bool:
    """Whether a text has the form `path/to/file.py:function`."""
    return ".py:" in text and text.rpartition(":")[2].isidentifier()


class MetricChoice(Frozen):
    """`name` of a built-in metric, or `source`, `path/to/file.py:function(outputs, targets)`, which returns a number for each sample, or
    one for all of them. A function's direction must be said; `unit` is shown behind the number (`%` multiplies it by 100).

    `output` is the one that it judges where several count (`model.outputs`), of which a function otherwise gets all, by name.
    `decode`, `path/to/file.py:function(outputs)`, makes of what the network gives what the metric compares (texts, of CER and WER).
    """

    name: str | None = Field(None, min_length=1, max_length=40)
    source: str | None = None
    higher_is_better: bool | None = None
    unit: str | None = Field(None, max_length=12)
    decode: str | None = None
    output: str | None = Field(None, min_length=1)
    came_later = frozenset({"output"})

    @model_validator(mode="before")
    @classmethod
    def _in_one_word(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return {"source": value} if ".py:" in value else {"name": value}

    @field_validator("name", "unit")
    @classmethod
    def _fits_into_a_key(cls, text: str | None) -> str | None:
        if text is not None and (":" in text or not text.isprintable()):
            raise ValueError(f"{text!r} holds a colon or what cannot be printed; leave that out")
        return text

    @field_validator("source", "decode")
    @classmethod
    def _is_a_function(cls, text: str | None) -> str | None:
        if text is not None and not names_function(text):
            raise ValueError(f"{text!r} is not path/to/file.py:function")
        return text

    @model_validator(mode="after")
    def _says_what_it_is(self) -> MetricChoice:
        if self.source is not None:
            if self.higher_is_better is None:
                raise ValueError(
                    f"nobody knows whether more is better of {self.source}; write metric: {{source: {self.source}, "
                    "higher_is_better: true}, or false"
                )
            return self
        if self.name in _ALWAYS:
            raise ValueError(f"{self.name} is always counted where there are classes; leave metric out")
        if self.name not in BUILT_IN:
            raise ValueError(
                f"{self.name!r} is not known; known: {', '.join(BUILT_IN)}, or path/to/file.py:function(outputs, targets)"
            )
        if self.higher_is_better is not None:
            raise ValueError(f"which way is better is known of {self.name}; leave higher_is_better out")
        if self.unit is not None and BUILT_IN[self.name].unit:
            raise ValueError(f"{self.name} is in {BUILT_IN[self.name].unit}; leave unit out")
        if self.name in _TEXT and self.decode is None:
            raise ValueError(
                f"{self.name} compares texts; give decode: path/to/file.py:function(outputs) -> list of texts"
            )
        return self

    @property
    def title(self) -> str:
        """How people read it."""
        if self.source is None:
            return BUILT_IN[self.name or ""].title
        words = self.name or self.source.rpartition(":")[2].replace("_", " ").strip()
        return words[:1].upper() + words[1:]

    @property
    def better(self) -> Better:
        """Which way is better."""
        if self.source is None:
            return BUILT_IN[self.name or ""].better
        return "max" if self.higher_is_better else "min"

    @property
    def shown_unit(self) -> str:
        """The unit behind the number, empty for none."""
        return self.unit or ("" if self.source else BUILT_IN[self.name or ""].unit)

    @property
    def task(self) -> Task | None:
        """The task that it is of; None where it takes what there is."""
        return None if self.source else BUILT_IN[self.name or ""].task

    @property
    def is_of_each(self) -> bool:
        """Whether it is known to be a number for each sample; of a function only its answer tells."""
        return self.source is None and self.name in _OF_EACH

    @property
    def key(self) -> str:
        """Its key among all metrics."""
        return score_key(self.title, self.better, self.shown_unit)

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called where a metric is named: as in the spec, and as the function."""
        return tuple(n for n in (self.name, self.source and self.source.rpartition(":")[2]) if n)

    @property
    def files(self) -> tuple[str, ...]:
        """The functions of the user's that it calls."""
        return tuple(source for source in (self.source, self.decode) if source)


def usual_metric(task: Task) -> MetricChoice | None:
    """What is counted where a spec names none: the mean absolute error of values, in their own unit; nothing beside what classes give."""
    return MetricChoice(name="mae") if task == "regression" else None
