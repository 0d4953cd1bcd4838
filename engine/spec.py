"""What the user asks for: frozen steps, recipes and sweeps, read from YAML or JSON and written back the same.

Nothing here imports torch: the command line and the browser check a spec before any work starts.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from engine.errors import SpecError


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Distill(_Frozen):
    """Replace the network by a student that learns from it (Hinton et al. 2015, arXiv:1503.02531).

    `alpha` weighs the teacher's softened outputs against the labels; alpha = 0 trains the student without a teacher.
    """

    step: Literal["distill"] = "distill"
    student: str
    width: float = Field(1.0, gt=0, le=4)
    temperature: float = Field(4.0, gt=0, le=100)
    alpha: float = Field(0.9, ge=0, le=1)
    epochs: int = Field(2, ge=1, le=1000)
    samples: int | None = Field(None, ge=1)
    learning_rate: float = Field(0.1, gt=0, le=10)


class Prune(_Frozen):
    """Set the smallest weights of the whole network to zero (`magnitude`), or remove whole channels (`channel`).

    `ratio` is the share of weights set to zero, or the share of channels removed from each layer.
    """

    step: Literal["prune"] = "prune"
    method: Literal["magnitude", "channel"]
    ratio: float = Field(gt=0, lt=1)
    round_to: int = Field(4, ge=1, le=256)


class Finetune(_Frozen):
    """Train on, with labels; zeros set by pruning stay zero. `samples` images are drawn anew for each epoch (null: all)."""

    step: Literal["finetune"] = "finetune"
    epochs: int = Field(1, ge=1, le=1000)
    samples: int | None = Field(None, ge=1)
    learning_rate: float = Field(0.02, gt=0, le=10)


class Quantize(_Frozen):
    """Store weights, and compute activations, in fewer bits.

    (8, 8) is QDQ int8, calibrated on real images; activation_bits = 32 is weight-only: 2 to 8 bits per weight, or 16 for fp16.
    """

    step: Literal["quantize"] = "quantize"
    weight_bits: Literal[2, 3, 4, 5, 6, 7, 8, 16]
    activation_bits: Literal[8, 32]
    method: Literal["ptq"] = "ptq"
    per_channel: bool = True
    calibration: Literal["minmax", "percentile"] = "percentile"
    calibration_samples: int = Field(256, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _pairs_exist(self) -> Quantize:
        if self.activation_bits == 8 and self.weight_bits == 16:
            raise ValueError("16-bit weights go with activation_bits 32")
        return self


Step = Annotated[Distill | Prune | Finetune | Quantize, Field(discriminator="step")]
TorchStep = Distill | Prune | Finetune
TORCH_STEPS = (Distill, Prune, Finetune)
"""Steps on a torch network; all others work on the ONNX graph, after the one export."""
_STEP = TypeAdapter[Step](Step)
_FAMILIES: dict[str, type[_Frozen]] = {"distill": Distill, "prune": Prune, "finetune": Finetune, "quantize": Quantize}


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces; what is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """Full SHA-256, in hex, of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Recipe(_Frozen):
    """An ordered tuple of steps; the empty recipe is the baseline."""

    steps: tuple[Step, ...] = ()

    @model_validator(mode="after")
    def _order_is_possible(self) -> Recipe:
        onnx_step = next((s.step for s in self.steps if not isinstance(s, TORCH_STEPS)), None)
        seen = False
        for step in self.steps:
            if isinstance(step, TORCH_STEPS) and seen:
                raise ValueError(f"{step.step} cannot follow {onnx_step}; put {onnx_step} last in `space`")
            seen = seen or not isinstance(step, TORCH_STEPS)
        return self

    def to_json(self) -> list[dict[str, Any]]:
        """Flat dicts, `{"step": "quantize", "weight_bits": 8, …}`."""
        return [s.model_dump() for s in self.steps]

    @classmethod
    def from_json(cls, steps: list[dict[str, Any]]) -> Recipe:
        """The inverse of `to_json`; raises SpecError."""
        recipe: Recipe = _validated(TypeAdapter(Recipe), {"steps": steps}, "recipe")
        return recipe

    @cached_property
    def id(self) -> str:
        """Eight hex digits that name the recipe, the same in every sweep."""
        return digest(self.to_json())[:8]

    @cached_property
    def label(self) -> str:
        """What people read: `channel 50 % · finetune 1 · int8`."""
        return " · ".join(step_label(s) for s in self.steps) or "baseline"


def _percent(ratio: float) -> str:
    return f"{ratio * 100:g} %"


def step_label(step: Step) -> str:
    """A few words for one step."""
    if isinstance(step, Distill):
        width = "" if step.width == 1 else f" ×{step.width:g}"
        return f"{'train' if step.alpha == 0 else 'distil'} {step.student}{width}"
    if isinstance(step, Prune):
        return f"{'channels' if step.method == 'channel' else 'weights'} −{_percent(step.ratio)}"
    if isinstance(step, Finetune):
        return f"finetune {step.epochs}"
    if step.activation_bits == 32:
        return "fp16 weights" if step.weight_bits == 16 else f"{step.weight_bits}-bit weights"
    return "int8" if step.weight_bits == 8 else f"w{step.weight_bits}a{step.activation_bits}"


class Model(_Frozen):
    """A model source: a zoo name, `torchvision:NAME`, `path/to/file.py:function`, or an `.onnx` file.

    `weights` is a checkpoint for a Python builder (safetensors, or a .pt/.pth file of plain tensors).
    """

    source: str = Field(min_length=1)
    weights: str | None = None

    @property
    def is_onnx(self) -> bool:
        """Whether only ONNX steps are possible."""
        return self.source.endswith(".onnx")


class Data(_Frozen):
    """A dataset: `fashion_mnist`, or an `.npz` with x_train, y_train, x_test, y_test; `mean` and `std` per channel."""

    source: str = Field("fashion_mnist", min_length=1)
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    classes: tuple[str, ...] | None = None


class LatencyOptions(_Frozen):
    """How latency is measured: intra-op threads and images per run."""

    threads: int = Field(1, ge=1, le=1024)
    batch: int = Field(1, ge=1, le=65_536)


class Measure(_Frozen):
    """What is measured of each recipe. `latency: null` leaves latency (and with it the host's energy) out."""

    test_samples: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    latency: LatencyOptions | None = LatencyOptions()
    profiles: tuple[str, ...] = ("host", "stm32h7a3-xcubeai")


class Search(_Frozen):
    """How the space is walked; the grid is every combination."""

    method: Literal["grid"] = "grid"


def _choices(family: str, entry: Any) -> Iterator[tuple[_Frozen, ...]]:
    """One entry of `space.<family>` -> the step tuples it stands for; list values are swept."""
    where = f"space.{family}"
    if entry is None:
        yield ()
        return
    if not isinstance(entry, Mapping):
        raise SpecError(f"{where}: {entry!r} is not a step; write null to leave the step out, or {{key: value, …}}")
    options = dict(entry)
    finetunes: list[Any] = [0]
    finetune_options: dict[str, Any] = {}
    if family == "prune":
        # Pruning and the training after it are two steps, so that sweeps share the pruned network.
        finetunes = _as_list(options.pop("finetune_epochs", 0))
        for key in ("samples", "learning_rate"):
            if f"finetune_{key}" in options:
                finetune_options[key] = options.pop(f"finetune_{key}")
    names = list(options)
    for values in itertools.product(*(_as_list(options[name]) for name in names)):
        step = _validated(TypeAdapter(_FAMILIES[family]), dict(zip(names, values, strict=True)), where)
        for epochs in finetunes:
            if epochs == 0:
                yield (step,)
            else:
                finetune = {"epochs": epochs, **finetune_options}
                yield (step, _validated(TypeAdapter(Finetune), finetune, f"{where} finetune"))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def expand_space(space: Mapping[str, Any]) -> tuple[Recipe, ...]:
    """Every recipe of a space, without repeats, the baseline first; raises SpecError."""
    columns = []
    for family, entries in space.items():
        if family not in _FAMILIES:
            raise SpecError(f"space: {family!r} is not a step; known steps: {', '.join(_FAMILIES)}")
        column = [choice for entry in _as_list(entries) for choice in _choices(family, entry)]
        if not column:
            raise SpecError(f"space.{family}: an empty list leaves no recipe; write [null] to leave the step out")
        columns.append(column)
    recipes: dict[Recipe, None] = {Recipe(): None}
    for parts in itertools.product(*columns):
        steps = tuple(itertools.chain.from_iterable(parts))
        recipes[_validated(TypeAdapter(Recipe), {"steps": steps}, "space")] = None
    return tuple(recipes)


class Sweep(_Frozen):
    """Model source, dataset, a space of recipes and what to measure. `space` keeps the order in which steps are applied."""

    name: str = Field("sweep", min_length=1, max_length=200)
    model: Model
    data: Data = Data()
    space: dict[str, Any] = Field(default_factory=dict)
    search: Search = Search()
    measure: Measure = Measure()
    seed: int = Field(0, ge=0, lt=2**31)

    @cached_property
    def recipes(self) -> tuple[Recipe, ...]:
        """Every recipe of the grid, the baseline first."""
        return expand_space(self.space)

    @cached_property
    def id(self) -> str:
        """The name as a slug and six hex digits of the whole spec: the same spec is the same sweep."""
        slug = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")[:40] or "sweep"
        # The order of `space` is the order of the steps, so it is part of what is hashed.
        return f"{slug}-{digest([self.model_dump(), list(self.space)])[:6]}"


def _where(prefix: str, location: tuple[str | int, ...]) -> str:
    names = [str(part) for part in location if part not in _FAMILIES]
    return ".".join([prefix, *names] if prefix else names)


def _first_line(error: ValidationError, prefix: str) -> str:
    """pydantic's findings as one line: where, what was wrong, the value, and the names that would do."""
    finding = error.errors()[0]
    where, value = _where(prefix, finding["loc"]), finding["input"]
    message = finding["msg"]
    if finding["type"] == "value_error":
        return f"{where}: {message.removeprefix('Value error, ')}"
    if finding["type"] == "extra_forbidden":
        parent, _, key = where.rpartition(".")
        return f"{where}: {key!r} is not a known key{' of ' + parent if parent else ''}; see README, “A spec”"
    if finding["type"] == "missing":
        return f"{where} is missing; add it to the spec"
    shown = repr(value)
    return f"{where}: {message[0].lower()}{message[1:]}, but is {shown if len(shown) < 80 else shown[:77] + '…'}"


def _validated(adapter: TypeAdapter[Any], value: Any, where: str) -> Any:
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        raise SpecError(_first_line(error, where)) from None


def parse_sweep(value: Any, base: Path | None = None) -> Sweep:
    """A spec as Python data -> Sweep, recipes checked; relative paths in it are taken from `base`. Raises SpecError."""
    if not isinstance(value, Mapping):
        raise SpecError(f"a spec is a mapping with `model`, `data` and `space`, but this is {type(value).__name__}")
    sweep: Sweep = _validated(TypeAdapter(Sweep), dict(value), "")
    if base is not None:
        model = sweep.model.model_copy(
            update={
                "source": _absolute(sweep.model.source, base),
                "weights": sweep.model.weights and _absolute(sweep.model.weights, base),
            }
        )
        data = sweep.data.model_copy(update={"source": _absolute(sweep.data.source, base)})
        sweep = sweep.model_copy(update={"model": model, "data": data})
    torch_step = next((s.step for r in sweep.recipes for s in r.steps if isinstance(s, TORCH_STEPS)), None)
    if sweep.model.is_onnx and torch_step:
        raise SpecError(
            f"space: {torch_step} needs a torch network, but {sweep.model.source} is an ONNX file; use quantize alone"
        )
    return sweep


def _absolute(source: str, base: Path) -> str:
    """A source that names a file, relative to the spec's folder -> an absolute one; other sources as they are."""
    path, colon, function = source.partition(".py:")
    if colon:
        return str((base / f"{path}.py").resolve()) + ":" + function
    if Path(source).suffix in {".npz", ".onnx", ".safetensors", ".pt", ".pth"}:
        return str((base / source).resolve())
    return source


def read_sweep(path: Path, overrides: tuple[str, ...] = ()) -> Sweep:
    """A YAML (or JSON) file -> Sweep; `overrides` are KEY=VALUE with dotted keys. Raises SpecError."""
    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist; give the path of a spec file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
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
