"""Recipes -> the graph of unique nodes that a sweep needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.datasets.load import dataset_checksum
from engine.datasets.user_function import function_code
from engine.measure.machine import integer_sums
from engine.measure.providers import available_providers, brought_by
from engine.measure.task_metric import metric_options
from engine.models.catalog import model_fingerprint, zoo_index
from engine.run.check_plan import check_plannable
from engine.run.code_digest import code_digest
from engine.run.node_key import USES_SEED, node_key
from engine.run.plan import Chain, Kind, Node, Plan, computes_on
from engine.run.screening import with_shorts
from engine.run.training_device import kind_of, training_device
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions, Model
from engine.spec.steps import SELF, Distill, Finetune, Imported, Prune, Quantize, Step
from engine.spec.sweep import LOSSES, Sweep
from engine.trials.measurements import Machine

_SUFFIX = dict.fromkeys(("source", "convert", "distill", "prune", "finetune"), ".safetensors")
_SUFFIX |= dict.fromkeys(("export", "quantize", "fewest", "qat", "imported"), ".onnx")
_SUFFIX |= {"accuracy": ".npz", "teacher": ".npz", "sensitivity": ".json", "layer_times": ".json"}
# What of a quantize step its sensitivity and its layers' times depend on; budgets share the rest.
_SENSITIVITY = ("activation_bits", "per_channel", "symmetric", "format", "calibration", "calibration_samples")
# Zoo networks have about as many; only forecasts use it.
_TYPICAL_MACS = 10e6
# Of a transformer with MLPs four times as wide as it is.
_PART_OF_MACS = {"heads": 0.35, "mlp": 0.6, "heads_and_mlp": 0.95}
# So many images does a dataset have, as far as forecasts care.
_TYPICAL_TRAIN, _TYPICAL_TEST = 54_000, 10_000
# Learned rounding takes about as long as so many plain roundings.
_LEARNING_WORK = 30.0
# So many networks are quantized, about, to find how few layers stay in float.
_PROBES = 5


class _Builder:
    """Collects unique nodes for one sweep."""

    def __init__(self, sweep: Sweep, machine: Machine, digest_of: Callable[[str], str], device: str) -> None:
        self.sweep = sweep
        self.device = device
        self.seed = sweep.seed
        self.machine = machine
        self.digest_of = digest_of
        self.data_digest = dataset_checksum(sweep.data)
        self.metric = metric_options(sweep.metric) if sweep.metric else None
        # What training makes small, where that is not the cross-entropy of labels.
        valued = bool(sweep.model.outputs) or sweep.data.task not in (None, "classification")
        loss = sweep.loss or ("imitation" if valued else None)
        self.imitates = loss == "imitation"
        code = {"code": function_code(loss, "loss")} if loss and loss not in LOSSES else {}
        self.loss: dict[str, Any] = {"loss": {"source": loss, **code}} if loss else {}
        self.nodes: dict[str, Node] = {}
        self.chains: dict[Recipe, Chain] = {}
        self.sources: dict[Model, dict[str, Any]] = {}
        # What many recipes of a large space share is worked out once: what their first steps make, and what nodes are told.
        self.made: dict[tuple[int, tuple[Step, ...]], tuple[str, float]] = {}
        self.told: dict[tuple[str, Any], dict[str, Any]] = {}
        self.own_macs = _source_macs(sweep.model.source)
        self.baseline, _ = self.model(Recipe())

    def add(
        self,
        kind: Kind,
        inputs: tuple[str, ...],
        options: dict[str, Any],
        work: float = 1.0,
        suffix: str | None = None,
    ) -> str:
        """The key of the node, new or shared."""
        seed = self.seed if kind in USES_SEED else 0
        device = computes_on(self.device, kind, options)
        key = node_key(kind, inputs, options, self.digest_of(kind), seed, self.data_digest, self.machine, device)
        self.nodes.setdefault(key, Node(key, kind, inputs, options, work, suffix or _SUFFIX.get(kind), seed, device))
        return key

    def source(self, model: Model) -> str:
        """The node that loads a network: the sweep's, or a teacher."""
        if model not in self.sources:
            # Reads whole files, and every recipe asks for it.
            self.sources[model] = {"digest": model_fingerprint(model), **model.model_dump()}
        return self.add("source", (), self.sources[model], suffix=".onnx" if model.is_onnx else None)

    def exported(self, key: str) -> str:
        """The node of the ONNX file of a network in whatever form."""
        return key if self.nodes[key].suffix == ".onnx" else self.add("export", (key,), {})

    def trainable(self, key: str) -> str:
        """The node of a network that torch steps can go on from: of an ONNX file, the one that it is turned into."""
        if self.nodes[key].suffix != ".onnx":
            return key
        return self.add("convert", (key,), {"model": self.sweep.model.model_dump()})

    def said(self, network: str, images: int | None, mirrored: bool, features: bool, macs: float) -> str:
        """The node of what a network says to every training image."""
        options = {"images": images, "mirrored": mirrored, "features": features}
        work = (images or _TYPICAL_TRAIN) * (2 if mirrored else 1) * macs / 1e6
        return self.add("teacher", (self.exported(network),), options, work)

    def teacher(self, step: Distill, current: str) -> str:
        """The node of what a teacher says."""
        if step.teacher == "previous":
            network, macs = current, _TYPICAL_MACS
        else:
            model = self.sweep.model if step.teacher == "baseline" else Model(source=step.teacher)
            network, macs = self.source(model), _source_macs(model.source)
        return self.said(network, step.images_needed, step.augment != "none", step.feature_weight > 0, macs)

    def model(self, recipe: Recipe) -> tuple[str, float]:
        """The nodes that make the recipe's ONNX file, and about how many MACs it will have."""
        key, macs = self.after(recipe.steps)
        return self.exported(key), macs

    def after(self, steps: tuple[Step, ...]) -> tuple[str, float]:
        """The node that a recipe's first steps leave, and about how many MACs that has."""
        if (at := (self.seed, steps)) not in self.made:
            key, macs = self.after(steps[:-1]) if steps else (self.source(self.sweep.model), self.own_macs)
            self.made[at] = self.apply(steps[-1], key, macs) if steps else (key, macs)
        return self.made[at]

    def apply(self, step: Step, key: str, macs: float) -> tuple[str, float]:
        """As `after`, of one step more."""
        if isinstance(step, Quantize):
            return self.quantize(step, key, macs), macs
        if isinstance(step, Runtime):
            return key, macs  # changes no file
        if isinstance(step, Imported):
            # Whatever it is called: its bytes are what is measured.
            stated = self.sweep.model.model_dump(include={"output", "outputs", "state", "axes"})
            return self.add("imported", (), {"sha256": step.sha256} | ({"like": stated} if stated else {})), macs
        macs = _macs_after(step, macs, self.own_macs)
        # A fresh student reads the sweep's own network at most, for its shape.
        fresh = isinstance(step, Distill) and step.is_fresh
        inputs: tuple[str, ...] = (self.source(self.sweep.model) if fresh else self.trainable(key),)
        if isinstance(step, Distill) and step.has_teacher:
            inputs += (self.teacher(step, key),)
        options = step.model_dump(mode="json")
        if not isinstance(step, Prune):
            options |= self.loss
        if isinstance(step, Finetune) and self.imitates:
            inputs += (self.said(self.source(self.sweep.model), None, step.augment != "none", False, self.own_macs),)
        return self.add(step.step, inputs, options, _training_work(step, macs)), macs

    def once(self, what: str, of: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a node is told because of a step, made for the first recipe that has it."""
        if (what, of) not in self.told:
            self.told[what, of] = make()
        return self.told[what, of]

    def quantize(self, step: Quantize, network: str, macs: float) -> str:
        """The node of a quantized file of a network in whatever form, and those that its choice of bits reads."""
        onnx = self.exported(network)
        options = self.once(
            "quantize", step, lambda: step.model_dump(mode="json") | {"weight_range": self.weight_range(step)}
        )
        inputs: tuple[str, ...] = (onnx,)
        choosing = ("mean_bits", "max_latency", "max_drop", "float_layers")
        if step.shares_out_bits or any(getattr(step, n) is not None for n in choosing):
            shared = {"weight_bits": 8} | {name: options[name] for name in _SENSITIVITY}
            # Budgets choose among all widths; so many layers in float are ranked by the widths that they have otherwise, and bits that
            # the step shares out by itself by its own.
            ranked = step.max_drop is not None or step.float_layers is not None
            ends = {8} if ranked and step.ends_8bit else set()
            asked = {"widths": sorted({step.weight_bits} | ends)} if ranked or step.shares_out_bits else {}
            inputs += (self.add("sensitivity", (onnx,), shared | asked),)
            if step.max_latency is not None or step.cheapest:
                inputs += (self.add("layer_times", (onnx,), shared),)
        if step.method == "qat":
            # Last, where the network is not the file itself: it knows which of its weights were pruned.
            inputs += (network,) if network != onnx else ()
            return self.add("qat", inputs, options | self.loss, _training_work(step, macs))
        work = _LEARNING_WORK if step.learns_rounding else 1.0
        if step.max_drop is not None:
            return self.add("fewest", inputs, options | {"metric": self.metric}, work * _PROBES)
        return self.add("quantize", inputs, options, work)

    def weight_range(self, step: Quantize) -> str:
        """The range of a step's weights, `auto` told apart by what the measuring machine adds without overflow."""
        if step.weight_range != "auto" or step.activation_bits > 8:
            return step.weight_range
        return "safe" if step.can_overflow and integer_sums(self.machine) != "exact" else "full"

    def chain(self, recipe: Recipe) -> Chain:
        """A recipe's nodes, measurements included, and those of the recipes on the way to it."""
        if recipe in self.chains:
            return self.chains[recipe]
        before = self.chain(recipe.stages[-2]) if len(recipe.stages) > 1 else None
        measure = self.sweep.measure
        model, macs = self.model(recipe)
        images = _TYPICAL_TEST if measure.test_samples == "all" else measure.test_samples
        accuracy, facts = self.reported(recipe, model, images * macs / 1e6)
        latency = None
        if measure.latency:
            options = self.once("latency", recipe.runtime, lambda: self.timed(recipe.runtime))
            own = self.once("latency", None, lambda: self.timed(None))
            alone = model == self.baseline and options["runtime"] == own["runtime"]
            latency = self.add("latency", (model,) if alone else (model, self.baseline), options)
        self.chains[recipe] = Chain(recipe, model, facts, accuracy, latency, before, self.seed)
        return self.chains[recipe]

    def timed(self, runtime: Runtime | None) -> dict[str, Any]:
        """What a latency node is told of a file that a recipe runs in some way of its own, or in none."""
        latency = self.sweep.measure.latency or LatencyOptions()
        filled = latency.filled(runtime)
        options = {"measure": latency.model_dump(), "runtime": filled.options}
        return options | brought_by(filled.provider, self.machine)

    def reported(self, recipe: Recipe, model: str, work: float) -> tuple[str, str]:
        """The nodes of a file's accuracy, as the recipe runs it, and of what can be read off it."""
        options = self.once("accuracy", recipe.runtime, lambda: self.judged(recipe.runtime))
        return self.add("accuracy", (model,), options, work), self.add("facts", (model,), {})

    def judged(self, runtime: Runtime | None) -> dict[str, Any]:
        """What an accuracy node is told."""
        measure = self.sweep.measure
        options: dict[str, Any] = {"samples": measure.test_samples, "held_back": measure.held_back}
        if runtime:
            options |= runtime.numerics | brought_by(runtime.provider, self.machine)
        if self.metric is not None:
            options["metric"] = self.metric
            # Of a metric of the whole set nothing that is kept tells what it is of some samples.
            if self.sweep.data.slices and self.sweep.metric and not self.sweep.metric.is_of_each:
                options["slices"] = [*self.sweep.data.slices]
        return options

    def replicas(self, chain: Chain) -> tuple[Chain, ...]:
        """A recipe with every further seed; none where no step of it draws random numbers."""
        found: list[Chain] = []
        for seed in range(self.sweep.seed + 1, self.sweep.seed + self.sweep.replicates):
            self.seed = seed
            model, _ = self.model(chain.recipe)
            if model == chain.model:
                break
            accuracy, facts = self.reported(chain.recipe, model, self.nodes[chain.accuracy].work)
            found.append(Chain(chain.recipe, model, facts, accuracy, None, seed=seed))
        self.seed = self.sweep.seed
        return tuple(found)


def providers_here() -> tuple[str, ...]:
    """The execution providers that a runtime step can name on this machine."""
    return available_providers()


def make_plan(
    sweep: Sweep, machine: Machine, digest_of: Callable[[str], str] = code_digest, device: str | None = None
) -> Plan:
    """The plan of a sweep on a machine; raises InputError when a source or profile is missing or unknown.

    `device`: the kind of device that torch computes on, that of this host where it is left out.
    `digest_of`: the digest of the code of a kind of node, that of this version unless another is looked for (`old_code`).
    """
    check_plannable(sweep, machine)
    builder = _Builder(sweep, machine, digest_of, kind_of(training_device()) if device is None else device)
    firsts = [builder.chain(recipe) for recipe in sweep.all_recipes]
    # After all first seeds, so that every point is on the chart before any is repeated.
    chains = tuple(replace(chain, replicas=builder.replicas(chain)) for chain in firsts)
    plan = Plan(sweep, builder.nodes, chains, device=builder.device)
    return with_shorts(plan, lambda short: make_plan(short, machine, digest_of, builder.device))


def _source_macs(source: str) -> float:
    entry = zoo_index().get(source)
    return float(entry.macs) if entry and entry.macs else _TYPICAL_MACS


def _macs_after(step: Distill | Prune | Finetune, macs: float, own_macs: float) -> float:
    """A guess, for forecasts only."""
    if isinstance(step, Distill) and step.is_fresh:
        student = own_macs if step.student == SELF else _source_macs(step.student)
        return student * step.width**2 * step.depth
    if isinstance(step, Prune) and step.is_smaller:
        return macs * (1 - _PART_OF_MACS.get(step.method, 1.0) * (step.macs_ratio or step.ratio or 0.0))
    return macs


def _training_work(step: Distill | Prune | Finetune | Quantize, macs: float) -> float:
    if isinstance(step, Prune) or step.epochs is None:
        return 1.0
    return step.epochs * (step.samples or _TYPICAL_TRAIN) * macs / 1e6
