"""A sweep: model, data, a space of recipes and what to measure. `read.py` has the text of it.

Nothing here imports torch: the command line and the browser check a spec before any work starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from engine.errors import SpecError
from engine.metrics import SHORT_PARTS, score_part
from engine.spec.canonical import digest
from engine.spec.frozen import Frozen
from engine.spec.goals import Search, Target
from engine.spec.metric import MetricChoice, names_function, usual_metric
from engine.spec.recipe import Recipe
from engine.spec.sections import EMBEDDED, Data, Measure, Model, Preprocess
from engine.spec.space import _as_list, expand_space
from engine.spec.states import with_states_of_the_model
from engine.spec.steps import CURRENT, SELF, TORCH_STEPS, Distill, Finetune, Quantize, Step
from engine.spec.validation import validated

LOSSES = ("imitation", "task")


def _loss(text: str) -> str:
    if text not in LOSSES and not names_function(text):
        raise ValueError(
            f"{text!r} is not known; write {' or '.join(LOSSES)}, or path/to/file.py:function(outputs, targets)"
        )
    return text


Loss = Annotated[str, AfterValidator(_loss)]
"""What steps that train make small: `task`, the difference from labels or targets; `imitation`, that from the baseline's own outputs, which
needs neither; or a function of the user's, of torch tensors."""


class Sweep(Frozen):
    """Model source, dataset, recipes and what to measure.

    `space` stands for every combination of its choices and keeps the order in which steps are applied; `recipes` lists further ones step by
    step, in orders that no space expresses. `metric` is what it is judged by where that is not accuracy, `loss` what training makes small:
    by the task where left out. `replicates` runs every recipe that trains with that many seeds, from `seed` on.
    """

    name: str = Field("sweep", min_length=1, max_length=200)
    model: Model
    data: Data = Data()
    space: dict[str, Any] = Field(default_factory=dict)
    recipes: tuple[tuple[Step, ...], ...] = ()
    search: Search = Search()
    measure: Measure = Measure()
    seed: int = Field(0, ge=0, lt=2**31)
    replicates: int = Field(1, ge=1, le=100)
    target: Target | None = None
    metric: MetricChoice | None = None
    loss: Loss | None = None

    @model_validator(mode="before")
    @classmethod
    def _states_are_the_models(cls, value: Any) -> Any:
        return with_states_of_the_model(value) if isinstance(value, Mapping) else value

    @model_validator(mode="before")
    @classmethod
    def _limits_name_the_metric(cls, value: Any) -> Any:
        """`target.limits` may call the spec's own metric by the name that it has there, and the worst slice by its short name."""
        target = value.get("target") if isinstance(value, Mapping) else None
        if not isinstance(target, Mapping) or not isinstance(target.get("limits"), Mapping):
            return value
        metric, data = value.get("metric"), value.get("data")
        choice = MetricChoice.model_validate(metric) if metric is not None else None
        meant = dict.fromkeys(choice.names, choice.key) if choice else {}
        if asked := [name for name in SHORT_PARTS.values() if name in target["limits"]]:
            stated = data.model_dump() if isinstance(data, Data) else {} if data is None else data
            if not isinstance(stated, Mapping):
                return value  # which is refused for what it is
            if not stated.get("slices"):
                raise ValueError(
                    f"target.limits names {asked[0]}, but data.slices names no array; write data.slices: [site], say"
                )
            model = value.get("model")
            several = model.outputs if isinstance(model, Model) else isinstance(model, Mapping) and model.get("outputs")
            meant |= _slice_limits(choice, "other" if several else stated.get("task"))
        limits = {meant.get(key, key): limit for key, limit in target["limits"].items()}
        return {**value, "target": {**target, "limits": limits}} | ({"metric": choice} if choice else {})

    @model_validator(mode="after")
    def _metric_is_of_the_task(self) -> Sweep:
        """A metric that is of one task alone says so of the data."""
        task = self.metric.task if self.metric else None
        if task is None or task == self.data.task:
            return self
        if self.data.task is not None or (task != "classification" and self.data.source in EMBEDDED):
            own = self.data.task or "classification"
            raise ValueError(
                f"metric {self.metric.name if self.metric else ''} is of task {task}, but the data are of {own}; name another"
            )
        if self.data.source not in EMBEDDED:
            object.__setattr__(self, "data", self.data.model_copy(update={"task": task}))
        return self

    @model_validator(mode="after")
    def _several_outputs_are_judged(self) -> Sweep:
        several, metric = self.model.outputs, self.metric
        if metric is not None and metric.output is not None and not several:
            raise ValueError(
                "metric.output is for networks of which several outputs count; write model.outputs, or leave it out"
            )
        if not several:
            return self
        if metric is not None and metric.source is None and metric.output is None:
            raise ValueError(
                f"metric {metric.name} judges one output, and model.outputs names {len(several)}; write metric: {{name: {metric.name}, "
                f"output: {several[0] if isinstance(several[0], str) else 'NAME'}}}"
            )
        if self.data.task == "classification":
            raise ValueError(
                "model.outputs names several outputs, but the task is classification; name the one with the scores under model.output, or "
                "write data.task: other, with a metric of your own"
            )
        return self

    @model_validator(mode="after")
    def _target_is_projected_onto(self) -> Sweep:
        if self.target and self.target.device not in ("host", *self.measure.profiles):
            raise ValueError(f"target.device {self.target.device} is not one of measure.profiles; add it there")
        return self

    @cached_property
    def all_recipes(self) -> tuple[Recipe, ...]:
        """Every recipe of the grid and of the list, without repeats, the baseline first; raises SpecError."""
        listed = [validated(Recipe, {"steps": steps}, f"recipes.{i}") for i, steps in enumerate(self.recipes)]
        return tuple(dict.fromkeys([*expand_space(self.space), *listed]))

    @property
    def added(self) -> tuple[Recipe, ...]:
        """Those of the recipes that are files made elsewhere."""
        return tuple(recipe for recipe in self.all_recipes if recipe.imported)

    @property
    def trains_a_file(self) -> bool:
        """Whether a torch step begins with the network of an ONNX file, which has to become a torch network for it."""
        return self.model.source.endswith(".onnx") and any(map(_trains_the_network, self.all_recipes))

    def with_added(self, recipes: Iterable[Recipe]) -> Sweep:
        """The same sweep with recipes that are files made elsewhere, those that it has already left out."""
        new = [recipe.steps for recipe in recipes if recipe not in self.all_recipes]
        if not new:
            return self
        return Sweep(**{name: getattr(self, name) for name in Sweep.model_fields} | {"recipes": (*self.recipes, *new)})

    @cached_property
    def id(self) -> str:
        """The name as a slug and six hex digits of the spec: the same spec is the same sweep. Files that were added are not counted."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40] or "sweep"
        stated = self.model_dump()
        # Keys that came later count only where they say something: sweeps from before them keep their ids.
        # `trials` was called `recipes`: a budgeted sweep of then is still the same one.
        stated["search"] = {"recipes" if k == "trials" else k: v for k, v in stated["search"].items() if v is not None}
        stated["data"] = _data_of_before(stated["data"])
        # Files are added to a sweep that is there, and it stays the sweep that it was.
        stated["recipes"] = tuple(steps for steps in stated["recipes"] if not _is_added(steps))
        for name in ("target", "metric", "loss"):
            if stated[name] is None:
                del stated[name]
        # The order of `space` is the order of the steps, so it is part of what is hashed.
        return f"{slug}-{digest([stated, list(self.space)])[:6]}"


def _slice_limits(choice: MetricChoice | None, task: Any) -> dict[str, str]:
    """What the short names of the worst slice mean: of the spec's own metric, the task's where it names none, or accuracy."""
    judged = choice or usual_metric(task)
    by = judged.key if judged else "relative_error" if task in ("fidelity", "other") else "accuracy"
    return {short: score_part(by, part) for part, short in SHORT_PARTS.items()}


def with_metric(sweep: Sweep, metric: MetricChoice | None) -> Sweep:
    """The same sweep, judged by a metric that its spec left to the task; limits on the worst slice are then of that."""
    found: dict[str, Any] = {"metric": metric}
    if sweep.target and metric:
        parts = {f"{part}:": score_part(metric.key, part) for part in SHORT_PARTS}
        limits = {
            next((new for old, new in parts.items() if key.startswith(old)), key): limit
            for key, limit in sweep.target.limits.items()
        }
        found["target"] = sweep.target.model_copy(update={"limits": limits})
    return sweep.model_copy(update=found)


def parse_sweep(value: Any, base: Path | None = None) -> Sweep:
    """A spec as Python data -> Sweep, recipes checked; relative paths in it are taken from `base`. Raises SpecError."""
    if not isinstance(value, Mapping):
        raise SpecError(f"a spec is a mapping with `model`, `data` and `space`, but this is {type(value).__name__}")
    sweep: Sweep = validated(Sweep, dict(value), "")
    if base is not None:
        model = sweep.model.model_copy(
            update={
                "source": _absolute(sweep.model.source, base),
                # Always a path, whatever its ending.
                "weights": sweep.model.weights and str((base / sweep.model.weights).resolve()),
            }
        )
        labels = sweep.data.labels and str((base / sweep.data.labels).resolve())
        data = sweep.data.model_copy(update={"source": _absolute_data(sweep.data.source, base), "labels": labels})
        space = {family: _absolute_teachers(entry, base) for family, entry in sweep.space.items()}
        recipes = tuple(tuple(_absolute_teacher(step, base) for step in steps) for steps in sweep.recipes)
        found = {"model": model, "data": data, "space": space, "recipes": recipes}
        if sweep.metric is not None:
            files = {
                name: _absolute(source, base)
                for name in ("source", "decode")
                if (source := getattr(sweep.metric, name))
            }
            found["metric"] = sweep.metric.model_copy(update=files)
        if sweep.loss is not None:
            found["loss"] = _absolute(sweep.loss, base)
        sweep = sweep.model_copy(update=found)
    for recipe in sweep.all_recipes:
        if sweep.model.is_onnx:
            _check_onnx_steps(recipe, sweep.model.source)
        if sweep.model.outputs:
            _check_steps_of_several(recipe, sweep.loss)
        qat = any(isinstance(s, Quantize) and s.method == "qat" for s in recipe.steps)
        if qat and any(sweep.model.state.values()) and sweep.loss not in (None, "imitation"):
            raise SpecError(
                f"loss {sweep.loss}: method qat of a network with states imitates the float network's outputs and states; write loss: "
                "imitation, or leave it out"
            )
    return sweep


def _is_added(steps: Sequence[Mapping[str, Any]]) -> bool:
    return any(step["step"] == "imported" for step in steps)


def _data_of_before(stated: dict[str, Any]) -> dict[str, Any]:
    """A data section as it was when mean and std were all that could be said of preprocessing; what came later only where it says more."""
    preprocess = stated.pop("preprocess") or {}
    said = {k: v for k, v in preprocess.items() if v != Preprocess.model_fields[k].default}
    found = {"source": stated.pop("source"), "mean": said.pop("mean", None), "std": said.pop("std", None)}
    found["classes"] = stated.pop("classes")
    return found | {k: v for k, v in (("preprocess", said), *stated.items()) if v}


def _check_onnx_steps(recipe: Recipe, source: str) -> None:
    """A graph can be quantized, and teach a student that is built here; an ONNX file can become a torch network that steps train or prune,
    but not one of another size.
    """
    mine = next((s for s in recipe.steps if isinstance(s, Distill) and s.student == SELF), None)
    if mine is not None and source.endswith(".onnx"):
        raise SpecError(
            f"space: distill with student self builds the network anew, at another width or depth, and {source} is a graph of one size; "
            "use student: current, which trains it as it is, prune, or a built-in student"
        )
    if source.endswith(".onnx") or not _trains_the_network(recipe):
        return
    first = next(s for s in recipe.steps if isinstance(s, TORCH_STEPS))
    what = f"distill with student {first.student}" if isinstance(first, Distill) else first.step
    raise SpecError(
        f"space: {what} needs a torch network, but {source} is an exported program, which has no layers left to train; use quantize, or "
        "distill it into a built-in student"
    )


def _check_steps_of_several(recipe: Recipe, loss: str | None) -> None:
    """Where several outputs count, what trains imitates all of the baseline's, and only a network of the same outputs can."""
    built_in = next((s for s in recipe.steps if isinstance(s, Distill) and s.student not in (SELF, CURRENT)), None)
    if built_in is not None:
        raise SpecError(
            f"space: distill with student {built_in.student} has one output, and model.outputs names several; use student self or "
            "current, or name the one that counts under model.output"
        )
    alone = next((s for s in recipe.steps if isinstance(s, Distill) and not s.has_teacher), None)
    if alone is not None:
        raise SpecError(
            "space: distill without a teacher has nothing to imitate where several outputs count; give alpha above 0"
        )
    teacher = next((s.teacher for s in recipe.steps if isinstance(s, Distill)), "baseline")
    if teacher not in ("baseline", "previous"):
        raise SpecError(
            f"space: distill from {teacher} knows one output, and model.outputs names several; leave it out: the baseline teaches"
        )
    trains = any(
        isinstance(s, Distill | Finetune) or (isinstance(s, Quantize) and s.method == "qat") for s in recipe.steps
    )
    if trains and loss not in (None, "imitation"):
        raise SpecError(
            f"loss {loss}: where several outputs count, training imitates all of the baseline's; write loss: imitation, or leave it out"
        )
    weighed = next((s for s in recipe.steps if isinstance(s, Distill) and s.feature_weight), None)
    if weighed is not None:
        raise SpecError(
            "space: distill feature_weight is for networks with one classifier; leave it out where several outputs count"
        )


def _trains_the_network(recipe: Recipe) -> bool:
    """Whether the first torch step of a recipe changes the sweep's own network, rather than begin with a built-in student."""
    first = next((s for s in recipe.steps if isinstance(s, TORCH_STEPS)), None)
    return first is not None and not (isinstance(first, Distill) and first.is_fresh and first.student != SELF)


def _absolute_teacher(step: Step, base: Path) -> Step:
    return step.model_copy(update={"teacher": _absolute(step.teacher, base)}) if isinstance(step, Distill) else step


def _absolute_teachers(entry: Any, base: Path) -> Any:
    if isinstance(entry, list):
        return [_absolute_teachers(e, base) for e in entry]
    if isinstance(entry, Mapping) and "teacher" in entry:
        names = entry["teacher"]
        found = [_absolute(n, base) if isinstance(n, str) else n for n in _as_list(names)]
        return {**entry, "teacher": found if isinstance(names, list) else found[0]}
    return entry


def _absolute_data(source: str, base: Path) -> str:
    """As `_absolute`; a folder is one where it ends with a slash, or is there and its name is not that of the embedded dataset."""
    path = base / source
    named = source.partition(":")[0] in {"torchvision", "medmnist"} or source in EMBEDDED
    if path.suffix in {".npy", ".csv", ".parquet"} or source.endswith("/") or (not named and path.is_dir()):
        return str(path.resolve()) + "/" * source.endswith("/")
    return _absolute(source, base)


def _absolute(source: str, base: Path) -> str:
    """A source that names a file, relative to the spec's folder -> an absolute one; other sources as they are."""
    path, colon, function = source.partition(".py:")
    if colon:
        return str((base / f"{path}.py").resolve()) + ":" + function
    if Path(source).suffix in {".npz", ".onnx", ".pt2", ".safetensors", ".pt", ".pth"}:
        return str((base / source).resolve())
    return source
