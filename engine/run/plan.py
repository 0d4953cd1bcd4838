"""The graph of unique nodes that a sweep needs: nodes, the chain of them that is a recipe, and the plan of all. `planner.py` makes it.

    source ─┬─────────────── distill ─ prune ─ finetune ─ export ─┬─ quantize ┬ facts
            └ export ─ teacher ┘                                  └ qat       ├ accuracy
                                                                              └ latency  (also reads the baseline's ONNX file)

    An .onnx source is its own export; `convert` makes the torch network of it that prune, finetune and distill go on from.

    imported ─ facts, accuracy, latency: a file made elsewhere, as it is

Recipes that begin alike share nodes. `sensitivity` and `layer_times` are measured once on an exported network, for all quantize steps that
choose bits by layer.

A node's key is the SHA-256 over all that determines its output: its inputs' keys, its options, the code that runs it, the seed where
it draws random numbers, the dataset where it reads it, and for latency the machine. With several seeds the nodes that train, and
what comes after them, are there once for each. Sharing, cache and resume all follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from engine.spec.canonical import digest
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from engine.spec.sweep import Sweep

Kind = Literal[
    "source", "convert", "teacher", "distill", "prune", "finetune", "export", "sensitivity", "layer_times", "quantize", "fewest", "qat",
    "imported", "facts", "accuracy", "latency",
]  # fmt: skip

EXCLUSIVE: frozenset[str] = frozenset({"latency", "layer_times"})
"""Kinds that measure time: nothing else computes on the host while one runs."""

_WIDE: frozenset[str] = frozenset({"teacher", "distill", "finetune", "qat", "sensitivity", "accuracy"})


def computes_on(device: str, kind: Kind, options: Mapping[str, Any]) -> str:
    """The kind of device that a node's torch computes on, where its worker has a `device` (`cpu`, `cuda` or `mps`)."""
    if device == "cpu":
        return device
    if kind in ("teacher", "distill", "finetune"):
        return device
    if kind == "prune":
        return device if "taylor" in options.values() or "sensitivity" in options.values() else "cpu"
    # Learned rounding needs float64, which Apple's GPUs do not have.
    learns = kind in ("qat", "sensitivity") or (kind in ("quantize", "fewest") and _learns_rounding(options))
    return "cuda" if learns and device == "cuda" else "cpu"


def _learns_rounding(options: Mapping[str, Any]) -> bool:
    """Whether a quantize node with these options does more than round to the nearest."""
    return Quantize(**{name: value for name, value in options.items() if name != "metric"}).learns_rounding


@dataclass(frozen=True)
class Node:
    """One unit of work. `inputs` are keys; the first is what it works on. `options` is what the node is told.

    `work` is in the unit that its forecast scales with: million MACs of training for distill, finetune and qat, million MACs of inference
    for accuracy and teacher, one for the others. `seed` is what it draws random numbers from, 0 where it draws none. `device`: the kind of
    device that its torch computes on.
    """

    key: str
    kind: Kind
    inputs: tuple[str, ...]
    options: dict[str, Any] = field(hash=False)
    work: float
    suffix: str | None
    seed: int = 0
    device: str = "cpu"

    @property
    def artifact(self) -> str | None:
        """The name of the file it makes, if it makes one."""
        return self.key + self.suffix if self.suffix else None

    @property
    def is_of_a_machine(self) -> bool:
        """Whether its result is one of the machine in its key alone."""
        return self.kind in EXCLUSIVE or "computed_on" in self.options

    def task_name(self, files: str = "", alone: bool = False, before: int = 0) -> str:
        """What Dask calls it: by its kind, by which it keeps its own statistics, and by the address of the artifact store, since a file in
        another one is of no use. Tried again `alone`, or taken back so many times `before`, it has another name, since by the same Dask
        would answer with how the first try ended.
        """
        return f"{self.kind}-{self.key}-{digest(files)[:8]}{f'-{before}' if before else ''}{'-alone' if alone else ''}"

    @cached_property
    def is_wide(self) -> bool:
        """Whether more cores than one make it faster."""
        return self.kind in _WIDE or (self.kind in ("quantize", "fewest") and _learns_rounding(self.options))


@dataclass(frozen=True)
class Chain:
    """The nodes of one recipe: the one whose ONNX file would be exported, and its measurements.

    `before` is the recipe one stage earlier, measured as well so that a trial can say what its last stage bought; None for the baseline.
    `replicas` are the same recipe with the next seeds, where it trains and more than one is asked for; their latency is not measured:
    training changes weights, not the graph.
    """

    recipe: Recipe
    model: str
    facts: str
    accuracy: str
    latency: str | None
    before: Chain | None = None
    seed: int = 0
    replicas: tuple[Chain, ...] = ()

    @property
    def measures(self) -> tuple[str, ...]:
        """The keys that must be finished before the trial is."""
        own = tuple(k for k in (self.facts, self.accuracy, self.latency) if k)
        return own + tuple(key for replica in self.replicas for key in replica.measures)

    @property
    def models(self) -> tuple[str, ...]:
        """The nodes whose files are the recipe's, one for each seed."""
        return (self.model, *(replica.model for replica in self.replicas))

    @property
    def stages(self) -> tuple[Chain, ...]:
        """From the baseline to this recipe."""
        return (*(self.before.stages if self.before else ()), self)


@dataclass(frozen=True)
class Plan:
    """Unique nodes in an order in which they can run, and each recipe's place in them.

    `old`: those of them that an earlier version of the code has finished and that are taken as they are. `device`: the kind of device that
    its workers' torch has. `shorts`: where recipes are screened, by their ids, the same recipes in short, of which `in_short` is the sweep
    (`screening.py`); their nodes are among the others.
    """

    sweep: Sweep
    nodes: dict[str, Node]
    chains: tuple[Chain, ...]
    old: frozenset[str] = frozenset()
    device: str = "cpu"
    shorts: Mapping[str, Chain] = field(default_factory=dict)
    in_short: Sweep | None = None

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

    @cached_property
    def first_recipes(self) -> dict[str, str]:
        """Every node's recipe, by its label: the first of those that wait for it."""
        found: dict[str, str] = {}
        for chain in (*self.chains, *self.shorts.values()):
            label = chain.recipe.label
            # One by one: a difference from all that is found would look at all of it for each recipe.
            for key in self.awaited(chain):
                found.setdefault(key, label)
        return found

    def asked_of(self, chain: Chain) -> frozenset[str]:
        """What must be finished before the recipe's trial is, the figures of the stages on the way to it included."""
        return frozenset((*chain.models, *(key for stage in chain.stages for key in stage.measures)))

    def waiting(self, needs: Mapping[str, frozenset[str]]) -> dict[str, list[Chain]]:
        """Of each node the recipes that wait for it; `needs` is, by the recipe's id, what each waits for (`awaited`)."""
        found: dict[str, list[Chain]] = {}
        for chain in self.chains:
            for key in needs[chain.recipe.id]:
                found.setdefault(key, []).append(chain)
        return found

    def awaited(self, chain: Chain) -> frozenset[str]:
        """`asked_of` a recipe, and every node that leads there."""
        asked = self.asked_of(chain)
        return asked.union(*(self.ancestors[k] for k in asked))

    def needed(self, chain: Chain) -> frozenset[str]:
        """All nodes of one recipe."""
        return frozenset(chain.measures).union(*(self.ancestors[k] for k in chain.measures))
