"""What the user asks for: model, data and a space of recipes, read from YAML or JSON and written back the same.

Nothing here imports torch: the command line and the browser check a spec before any work starts.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from engine.errors import SpecError
from engine.spec.steps import (
    FAMILIES,
    SELF,
    TORCH_STEPS,
    Distill,
    Finetune,
    Frozen,
    Prune,
    Recipe,
    Runtime,
    Step,
    digest,
    validated,
)
from engine.trials.trial import METRICS


class Model(Frozen):
    """A model source: a zoo name, `torchvision:NAME`, `path/to/file.py:function`, or an `.onnx` file.

    `weights` is a checkpoint for a Python builder (safetensors, or a .pt/.pth file of plain tensors).
    """

    source: str = Field(min_length=1)
    weights: str | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether only ONNX steps are possible."""
        return self.source.endswith(".onnx")


class Data(Frozen):
    """A dataset: `fashion_mnist`, or an `.npz` with x_train, y_train, x_test, y_test; `mean` and `std` per channel."""

    source: str = Field("fashion_mnist", min_length=1)
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    classes: tuple[str, ...] | None = None


class LatencyOptions(Frozen):
    """How latency is measured: intra-op threads and images per call, for the baseline and every recipe without a runtime step.

    Each measurement is spread over at least `processes` fresh processes and stops when the 95 % interval of the ratio is within
    ±`half_width` (a share) of it, or after about `time_limit_s` seconds.
    """

    threads: int = Field(1, ge=1, le=1024)
    batch: int = Field(1, ge=1, le=65_536)
    half_width: float = Field(0.02, gt=0, le=0.5)
    time_limit_s: float = Field(10.0, gt=0, le=3600)
    processes: int = Field(3, ge=1, le=50)

    def filled(self, runtime: Runtime | None) -> Runtime:
        """A recipe's runtime with every option stated."""
        own = {"threads": self.threads, "batch": self.batch, "graph_optimisation": "all", "provider": "CPU"}
        return Runtime(**{**own, **(runtime.options if runtime else {})})


class Measure(Frozen):
    """What is measured of each recipe. `latency: null` leaves latency (and with it the host's energy) out.

    `held_back` is a share of the test images that no figure sees until `paretoscope confirm`; `test_samples` counts among the others.
    """

    test_samples: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    held_back: float = Field(0.0, ge=0, lt=1)
    latency: LatencyOptions | None = LatencyOptions()
    profiles: tuple[str, ...] = ("host", "stm32h7a3-xcubeai")


class Search(Frozen):
    """How the space is walked: `grid` is every combination in the order of the plan, `random` another order, the others are samplers that
    learn from what is measured where the frontier may grow: `nsga2` (Deb et al. 2002), `tpe` (Bergstra et al. 2011), `gp` (a Gaussian
    process for each objective).

    One run measures at most `trials` recipes that are not measured yet and stops after about `minutes`. What is left stays "not measured
    yet"; the next run goes on with it. Without either, every recipe is measured, and the method is the order.
    """

    method: Literal["grid", "random", "nsga2", "tpe", "gp"] = "grid"
    trials: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0, le=100_000)

    @property
    def is_limited(self) -> bool:
        """Whether a run may leave recipes for the next one."""
        return self.trials is not None or self.minutes is not None


class Target(Frozen):
    """What the network is for: the device, and what must be kept there. The results open with it, and a sampler searches within it; a grid
    is measured all the same.

    `limits`: metric -> most (accuracy and its like: least), in base units: shares, bytes, milliseconds, millijoules.
    """

    device: str = Field("host", min_length=1)
    limits: dict[str, float] = Field(default_factory=dict)

    @field_validator("limits")
    @classmethod
    def _limits_are_on_metrics(cls, limits: dict[str, float]) -> dict[str, float]:
        unknown = next((key for key in limits if key not in METRICS), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is not a metric; known: {', '.join(METRICS)}")
        return limits


MOST_RECIPES = 100_000
"""A space of more is a mistake, or worse: it would fill the memory before anything could be said of it."""


def _choices(family: str, entry: Any) -> Iterator[tuple[Frozen, ...]]:
    """One entry of `space.<family>` -> the step tuples it stands for; list values are swept."""
    where = f"space.{family}"
    if entry is None:
        yield ()
        return
    if not isinstance(entry, Mapping):
        raise SpecError(f"{where}: {entry!r} is not a step; write null to leave the step out, or {{key: value, …}}")
    options = dict(entry)
    training = {k: _as_list(options.pop(k)) for k in _PRUNE_TRAINING if family == "prune" and k in options}
    names = list(options)
    for values in itertools.product(*(_as_list(options[name]) for name in names)):
        chosen = dict(zip(names, values, strict=True))
        if family != "prune":
            yield (validated(FAMILIES[family], chosen, where),)
            continue
        for trained in itertools.product(*training.values()):
            yield _pruning(chosen, dict(zip(training, trained, strict=True)), where)


# Keys of `space.prune` that say how the network is trained after, or between, prunings.
_PRUNE_TRAINING = ("rounds", "finetune_epochs", "finetune_samples", "finetune_learning_rate", "finetune_augment")


def _pruning(options: dict[str, Any], training: dict[str, Any], where: str) -> tuple[Frozen, ...]:
    """Pruning and the training after it are steps of their own, so that sweeps share what they have in common.

    With `rounds` the ratio is reached in that many prunings, each with its training: the steps get smaller towards the end, as in
    Zhu & Gupta 2017 (arXiv:1710.01878).
    """
    rounds, epochs = training.pop("rounds", 1), training.pop("finetune_epochs", 0)
    if not isinstance(rounds, int) or not 1 <= rounds <= 100:
        raise SpecError(f"{where}.rounds: {rounds!r} is not a number of prunings; give 1 to 100")
    target = "macs_ratio" if options.get("macs_ratio") is not None else "ratio"
    prune = validated(Prune, options, where)
    if rounds > 1 and getattr(prune, target) is None:
        raise SpecError(
            f"{where}.rounds: method {prune.method} has no ratio to reach in {rounds} rounds; leave rounds out"
        )
    if rounds > 1 and epochs == 0:
        raise SpecError(f"{where}.rounds: {rounds} prunings without training between are one; give finetune_epochs")
    steps: list[Frozen] = []
    for k in range(1, rounds + 1):
        reached = prune
        if k < rounds:
            share = round(getattr(prune, target) * (1 - (1 - k / rounds) ** 3), 4)
            reached = prune.model_copy(update={target: share})
        steps.append(reached)
        if epochs:
            finetune = {"epochs": epochs, **{k.removeprefix("finetune_"): v for k, v in training.items()}}
            steps.append(validated(Finetune, finetune, f"{where} finetune"))
    return tuple(steps)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _refuse_too_many(space: Mapping[str, Any]) -> None:
    """Raise SpecError where a space has more combinations than anybody runs; counted before any is made."""

    def combinations(entry: Any) -> int:
        return math.prod(len(_as_list(v)) for v in entry.values()) if isinstance(entry, Mapping) else 1

    count = math.prod(sum(map(combinations, _as_list(entries))) for entries in space.values())
    if count > MOST_RECIPES:
        raise SpecError(f"space: {count:,} combinations are more than {MOST_RECIPES:,}; leave values out")


def expand_space(space: Mapping[str, Any]) -> tuple[Recipe, ...]:
    """Every recipe of a space, without repeats, the baseline first; raises SpecError."""
    _refuse_too_many(space)
    columns = []
    for family, entries in space.items():
        if family not in FAMILIES:
            raise SpecError(f"space: {family!r} is not a step; known steps: {', '.join(FAMILIES)}")
        column = [choice for entry in _as_list(entries) for choice in _choices(family, entry)]
        if not column:
            raise SpecError(f"space.{family}: an empty list leaves no recipe; write [null] to leave the step out")
        columns.append(column)
    recipes: dict[Recipe, None] = {Recipe(): None}
    for parts in itertools.product(*columns):
        steps = tuple(itertools.chain.from_iterable(parts))
        recipes[validated(Recipe, {"steps": steps}, "space")] = None
    return tuple(recipes)


class Sweep(Frozen):
    """Model source, dataset, recipes and what to measure.

    `space` stands for every combination of its choices and keeps the order in which steps are applied; `recipes` lists further ones step by
    step, in orders that no space expresses. `replicates` runs every recipe that trains with that many seeds, from `seed` on.
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

    @cached_property
    def id(self) -> str:
        """The name as a slug and six hex digits of the whole spec: the same spec is the same sweep."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40] or "sweep"
        stated = self.model_dump()
        # Keys that came later count only where they say something: sweeps from before them keep their ids.
        # `trials` was called `recipes`: a budgeted sweep of then is still the same one.
        stated["search"] = {"recipes" if k == "trials" else k: v for k, v in stated["search"].items() if v is not None}
        if self.target is None:
            del stated["target"]
        # The order of `space` is the order of the steps, so it is part of what is hashed.
        return f"{slug}-{digest([stated, list(self.space)])[:6]}"


def parse_sweep(value: Any, base: Path | None = None) -> Sweep:
    """A spec as Python data -> Sweep, recipes checked; relative paths in it are taken from `base`. Raises SpecError."""
    if not isinstance(value, Mapping):
        raise SpecError(f"a spec is a mapping with `model`, `data` and `space`, but this is {type(value).__name__}")
    sweep: Sweep = validated(Sweep, dict(value), "")
    if base is not None:
        model = sweep.model.model_copy(
            update={
                "source": _absolute(sweep.model.source, base),
                "weights": sweep.model.weights and _absolute(sweep.model.weights, base),
            }
        )
        data = sweep.data.model_copy(update={"source": _absolute(sweep.data.source, base)})
        space = {family: _absolute_teachers(entry, base) for family, entry in sweep.space.items()}
        recipes = tuple(tuple(_absolute_teacher(step, base) for step in steps) for steps in sweep.recipes)
        sweep = sweep.model_copy(update={"model": model, "data": data, "space": space, "recipes": recipes})
    for recipe in sweep.all_recipes:
        if sweep.model.is_onnx:
            _check_onnx_steps(recipe, sweep.model.source)
    return sweep


def _check_onnx_steps(recipe: Recipe, source: str) -> None:
    """An ONNX file can be quantized, and teach a student that is built here; nothing else changes its graph."""
    first = next((s for s in recipe.steps if isinstance(s, TORCH_STEPS)), None)
    if first is None or (isinstance(first, Distill) and first.is_fresh and first.student != SELF):
        return
    what = f"distill with student {first.student}" if isinstance(first, Distill) else first.step
    raise SpecError(
        f"space: {what} needs a torch network, but {source} is an ONNX file; use quantize, or distill it into a built-in student"
    )


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


def _absolute(source: str, base: Path) -> str:
    """A source that names a file, relative to the spec's folder -> an absolute one; other sources as they are."""
    path, colon, function = source.partition(".py:")
    if colon:
        return str((base / f"{path}.py").resolve()) + ":" + function
    if Path(source).suffix in {".npz", ".onnx", ".safetensors", ".pt", ".pth"}:
        return str((base / source).resolve())
    return source


def load_yaml(text: str, where: str) -> Any:
    """YAML as plain data, which holds no code; `where` names the text in the SpecError of a mistake."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        if mark is None or not problem:
            raise SpecError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
        raise SpecError(f"{where} is not YAML: line {mark.line + 1}, column {mark.column + 1}: {problem}") from None


DEEPEST = 30
"""Levels of nesting in a text that somebody sent."""


def load_plain_yaml(text: str, where: str) -> Any:
    """As `load_yaml`, for texts of anybody's: refuses what makes a short text long or deep, references within it and nesting."""
    depth = 0
    # Of broken YAML the reader tells.
    with contextlib.suppress(yaml.YAMLError, ValueError):
        for event in yaml.parse(text, yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise SpecError(f"line {line}: *{event.anchor} refers to another place; write out what it stands for")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise SpecError(f"line {line}: nested more than {DEEPEST} deep")
    return load_yaml(text, where)


def read_sweep(path: Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """A YAML (or JSON) file -> Sweep; `overrides` are KEY=VALUE with dotted keys. Raises SpecError."""
    try:
        value = load_yaml(path.read_text(), str(path))
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; give the path of a spec file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    for override in overrides:
        _override(value, override)
    return parse_sweep(value, path.resolve().parent)


def _override(value: Any, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise SpecError(f"--set {override!r} is not KEY=VALUE; write, say, --set seed=1")
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(value, dict) or not isinstance(value.setdefault(parent, {}), dict):
            raise SpecError(f"--set {key}: {parent!r} is not a mapping in this spec")
        value = value[parent]
    value[last] = yaml.safe_load(text)


def to_yaml(sweep: Sweep) -> str:
    """The spec as YAML that reads back as the same sweep."""
    return yaml.safe_dump(sweep.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
