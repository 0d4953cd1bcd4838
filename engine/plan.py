"""Recipes -> the graph of unique nodes that a sweep needs.

    source ─ distill ─ prune ─ finetune ─ export ─ quantize ┬ facts
    (torch nodes; recipes that begin alike share them)      ├ accuracy
                                                            └ latency  (also reads the baseline's ONNX file)

A node's key is the SHA-256 over all that determines its output: its inputs' keys, its options, the code that runs it, the seed where
it draws random numbers, the dataset where it reads it, and for latency the machine. Sharing, cache and resume all follow from it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from engine.datasets import dataset_checksum
from engine.devices import profile_names
from engine.errors import ModelError, SpecError
from engine.models.catalog import check_model, model_fingerprint, source_kind, zoo_index, zoo_names
from engine.record import Machine
from engine.spec import TORCH_STEPS, Distill, Finetune, Prune, Recipe, Sweep, TorchStep, digest

Kind = Literal["source", "distill", "prune", "finetune", "export", "quantize", "facts", "accuracy", "latency"]

# The module that does the work of each kind of node. Its code, and that of what it imports, is part of the node's key.
_CODE: dict[str, str] = {
    "source": "models/sources.py",
    "distill": "compress/distill.py",
    "prune": "compress/prune.py",
    "finetune": "compress/finetune.py",
    "export": "models/export.py",
    "quantize": "compress/quantize.py",
    "facts": "onnx_graph.py",
    "accuracy": "measure/accuracy.py",
    "latency": "measure/latency.py",
}
# Of these the keys hold the content (options, checksums, the machine), so their code may change without emptying the cache.
_NOT_CODE = {"errors.py", "spec.py", "record.py", "paths.py", "datasets.py", "models/catalog.py", "measure/machine.py"}
_SUFFIX = dict.fromkeys(("source", "distill", "prune", "finetune"), ".safetensors")
_SUFFIX |= {"export": ".onnx", "quantize": ".onnx", "accuracy": ".npz"}
_USES_DATA = {"source", "distill", "finetune", "quantize", "accuracy"}
_USES_SEED = {"source", "distill", "finetune"}
_LIBRARY = {"prune": "torch-pruning", "export": "torch", "accuracy": "onnxruntime", "latency": "onnxruntime"}

# Zoo networks have about as many; only forecasts use it.
_TYPICAL_MACS = 10e6


@dataclass(frozen=True)
class Node:
    """One unit of work. `inputs` are keys; the first is what it works on. `options` is what the node is told.

    `work` is in the unit that its forecast scales with: million MACs of training for distill and finetune, million MACs of inference
    for accuracy, one for the others.
    """

    key: str
    kind: Kind
    inputs: tuple[str, ...]
    options: dict[str, Any] = field(hash=False)
    work: float
    suffix: str | None

    @property
    def artifact(self) -> str | None:
        """The name of the file it makes, if it makes one."""
        return self.key + self.suffix if self.suffix else None


@dataclass(frozen=True)
class Chain:
    """The nodes of one recipe: the one whose ONNX file would be exported, and its measurements."""

    recipe: Recipe
    model: str
    facts: str
    accuracy: str
    latency: str | None

    @property
    def measures(self) -> tuple[str, ...]:
        """The keys that must be finished before the trial is."""
        return tuple(k for k in (self.facts, self.accuracy, self.latency) if k)


@dataclass(frozen=True)
class Plan:
    """Unique nodes in an order in which they can run, and each recipe's place in them."""

    sweep: Sweep
    nodes: dict[str, Node]
    chains: tuple[Chain, ...]

    @property
    def unique(self) -> int:
        """How many nodes there are."""
        return len(self.nodes)

    @property
    def naive(self) -> int:
        """How many nodes there would be if every recipe were run from scratch."""
        return sum(len(self.needed(c)) for c in self.chains)

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """Every node's direct and indirect inputs."""
        found: dict[str, frozenset[str]] = {}
        for key, node in self.nodes.items():
            found[key] = frozenset(node.inputs).union(*(found[k] for k in node.inputs))
        return found

    def needed(self, chain: Chain) -> frozenset[str]:
        """All nodes of one recipe."""
        return frozenset(chain.measures).union(*(self.ancestors[k] for k in chain.measures))


@cache
def _code_digest(kind: str) -> str:
    """A hash of the code of a node kind, blind to comments, layout and docstrings: a cache cannot outlive the code it came from."""
    library = _LIBRARY.get(kind)
    trees = [ast.dump(_undocumented(_tree(name))) for name in sorted(_with_imports(_CODE[kind]))]
    return digest([trees, version(library) if library else None])


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / name).read_text())


def _with_imports(name: str) -> frozenset[str]:
    """A module of the engine and those that it imports, directly or not, as paths below `engine/`."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found or current in _NOT_CODE:
            continue
        found.add(current)
        for part in ast.walk(_tree(current)):
            if isinstance(part, ast.ImportFrom) and part.module and part.module.split(".")[0] == "engine":
                inside = "/".join(part.module.split(".")[1:])
                paths = [f"{inside}.py", *(f"{inside}/{a.name}.py".lstrip("/") for a in part.names)]
                waiting += [p for p in paths if (Path(__file__).parent / p).is_file()]
    return frozenset(found)


def _undocumented(tree: ast.Module) -> ast.Module:
    for part in ast.walk(tree):
        body = getattr(part, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return tree


class _Builder:
    """Collects unique nodes for one sweep."""

    def __init__(self, sweep: Sweep, machine: Machine) -> None:
        self.sweep = sweep
        self.machine = machine
        self.source_digest = model_fingerprint(sweep.model)
        self.data_digest = dataset_checksum(sweep.data)
        self.nodes: dict[str, Node] = {}

    def add(self, kind: Kind, inputs: tuple[str, ...], options: dict[str, Any], work: float = 1.0) -> str:
        """The key of the node, new or shared."""
        suffix = _SUFFIX.get(kind)
        if kind == "source" and self.sweep.model.is_onnx:
            suffix = ".onnx"
        key = digest(
            {
                "kind": kind,
                "inputs": inputs,
                "options": options,
                "code": _code_digest(kind),
                "seed": self.sweep.seed if kind in _USES_SEED else None,
                "data": self.data_digest if kind in _USES_DATA else None,
                "machine": self.machine.fingerprint if kind == "latency" else None,
            }
        )
        self.nodes.setdefault(key, Node(key, kind, inputs, options, work, suffix))
        return key

    def source(self) -> str:
        """The node that loads the model."""
        return self.add("source", (), {"digest": self.source_digest, "source": self.sweep.model.source})

    def model(self, recipe: Recipe) -> tuple[str, float]:
        """The nodes that make the recipe's ONNX file, and about how many MACs it will have."""
        key, macs = self.source(), _source_macs(self.sweep.model.source)
        torch_steps = [s for s in recipe.steps if isinstance(s, TORCH_STEPS)]
        for step in torch_steps:
            macs = _macs_after(step, macs)
            key = self.add(step.step, (key,), step.model_dump(), _step_work(step, macs))
        if not self.sweep.model.is_onnx:
            key = self.add("export", (key,), {})
        for onnx_step in recipe.steps[len(torch_steps) :]:
            key = self.add(onnx_step.step, (key,), onnx_step.model_dump())
        return key, macs

    def chain(self, recipe: Recipe, baseline: str) -> Chain:
        """A recipe's nodes, measurements included."""
        measure = self.sweep.measure
        model, macs = self.model(recipe)
        images = 10_000 if measure.test_samples == "all" else measure.test_samples
        accuracy = self.add("accuracy", (model,), {"samples": measure.test_samples}, images * macs / 1e6)
        facts = self.add("facts", (model,), {})
        latency = None
        if measure.latency:
            inputs = (model,) if model == baseline else (model, baseline)
            latency = self.add("latency", inputs, measure.latency.model_dump())
        return Chain(recipe, model, facts, accuracy, latency)


def make_plan(sweep: Sweep, machine: Machine) -> Plan:
    """The plan of a sweep on a machine; raises InputError when a source or profile is missing or unknown."""
    check_model(sweep.model)
    for profile in sweep.measure.profiles:
        if profile not in profile_names():
            raise SpecError(
                f"measure.profiles: {profile!r} is not a profile; known profiles: {', '.join(profile_names())}"
            )
    for step in {s for r in sweep.recipes for s in r.steps}:
        if isinstance(step, Distill) and source_kind(step.student) not in {"zoo", "torchvision"}:
            raise ModelError(f"student {step.student!r} is not a built-in network; known: {', '.join(zoo_names())}")
    builder = _Builder(sweep, machine)
    baseline, _ = builder.model(Recipe())
    chains = tuple(builder.chain(recipe, baseline) for recipe in sweep.recipes)
    return Plan(sweep, builder.nodes, chains)


def _source_macs(source: str) -> float:
    entry = zoo_index().get(source)
    return float(entry.macs) if entry and entry.macs else _TYPICAL_MACS


def _macs_after(step: TorchStep, macs: float) -> float:
    """A guess, for forecasts only."""
    if isinstance(step, Distill):
        return _source_macs(step.student) * step.width**2
    if isinstance(step, Prune) and step.method == "channel":
        return macs * (1 - step.ratio) ** 2
    return macs


def _step_work(step: TorchStep, macs: float) -> float:
    if isinstance(step, Distill | Finetune):
        return step.epochs * (step.samples or 54_000) * macs / 1e6
    return 1.0
