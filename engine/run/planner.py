"""Recipes -> the graph of unique nodes that a sweep needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine.datasets.load import dataset_checksum
from engine.datasets.user_function import function_code
from engine.devices.profiles import profile_names
from engine.errors import ModelError, SpecError, StepError
from engine.measure.machine import integer_sums
from engine.measure.machine import machine as this_machine
from engine.measure.provider_device import check_device
from engine.measure.providers import available_providers, brought_by
from engine.measure.task_metric import metric_options
from engine.models.catalog import check_model, model_fingerprint, source_kind, zoo_index, zoo_names
from engine.run.code_digest import code_digest
from engine.run.node_key import USES_SEED, node_key
from engine.run.plan import Chain, Kind, Node, Plan, computes_on
from engine.run.screening import with_shorts
from engine.run.training_device import kind_of, training_device
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.sections import EMBEDDED, Model
from engine.spec.steps import CURRENT, SELF, Distill, Finetune, Imported, Prune, Quantize
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
        key, macs = self.source(self.sweep.model), self.own_macs
        for step in recipe.steps:
            if isinstance(step, Quantize):
                key = self.quantize(step, key, macs)
                continue
            if isinstance(step, Runtime):
                continue  # changes no file
            if isinstance(step, Imported):
                # Whatever it is called: its bytes are what is measured.
                stated = self.sweep.model.model_dump(include={"output", "outputs", "state", "axes"})
                key = self.add("imported", (), {"sha256": step.sha256} | ({"like": stated} if stated else {}))
                continue
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
                inputs += (
                    self.said(self.source(self.sweep.model), None, step.augment != "none", False, self.own_macs),
                )
            key = self.add(step.step, inputs, options, _training_work(step, macs))
        return self.exported(key), macs

    def quantize(self, step: Quantize, network: str, macs: float) -> str:
        """The node of a quantized file of a network in whatever form, and those that its choice of bits reads."""
        onnx = self.exported(network)
        options = step.model_dump(mode="json") | {"weight_range": self.weight_range(step)}
        inputs: tuple[str, ...] = (onnx,)
        if any(getattr(step, n) is not None for n in ("mean_bits", "max_latency", "max_drop", "float_layers")):
            shared = {"weight_bits": 8} | {name: options[name] for name in _SENSITIVITY}
            inputs += (self.add("sensitivity", (onnx,), shared),)
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
            runtime, own = measure.latency.filled(recipe.runtime), measure.latency.filled(None)
            inputs = (model,) if model == self.baseline and runtime == own else (model, self.baseline)
            options = {"measure": measure.latency.model_dump(), "runtime": runtime.options}
            options |= brought_by(runtime.provider, self.machine)
            latency = self.add("latency", inputs, options)
        self.chains[recipe] = Chain(recipe, model, facts, accuracy, latency, before, self.seed)
        return self.chains[recipe]

    def reported(self, recipe: Recipe, model: str, work: float) -> tuple[str, str]:
        """The nodes of a file's accuracy, as the recipe runs it, and of what can be read off it."""
        measure = self.sweep.measure
        options: dict[str, Any] = {"samples": measure.test_samples, "held_back": measure.held_back}
        if recipe.runtime:
            options |= recipe.runtime.numerics | brought_by(recipe.runtime.provider, self.machine)
        if self.metric is not None:
            options["metric"] = self.metric
            # Of a metric of the whole set nothing that is kept tells what it is of some samples.
            if self.sweep.data.slices and self.sweep.metric and not self.sweep.metric.is_of_each:
                options["slices"] = [*self.sweep.data.slices]
        return self.add("accuracy", (model,), options, work), self.add("facts", (model,), {})

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
    check_model(sweep.model)
    for profile in sweep.measure.profiles:
        if profile not in profile_names():
            raise SpecError(
                f"measure.profiles: {profile!r} is not a profile; known profiles: {', '.join(profile_names())}"
            )
    for step in {s for r in sweep.all_recipes for s in r.steps}:
        if isinstance(step, Distill):
            _check_distill(step)
        if isinstance(step, Runtime) and step.provider not in (None, "CPU"):
            _check_provider(step, machine)
    _check_batch(sweep)
    _check_trained_on(sweep)
    _check_torch_steps(sweep)
    builder = _Builder(sweep, machine, digest_of, kind_of(training_device()) if device is None else device)
    firsts = [builder.chain(recipe) for recipe in sweep.all_recipes]
    # After all first seeds, so that every point is on the chart before any is repeated.
    chains = tuple(replace(chain, replicas=builder.replicas(chain)) for chain in firsts)
    plan = Plan(sweep, builder.nodes, chains, device=builder.device)
    return with_shorts(plan, lambda short: make_plan(short, machine, digest_of, builder.device))


def _check_provider(step: Runtime, where: Machine) -> None:
    """The provider is there and has a device, as far as can be told from here; workers elsewhere say so themselves. Raises SpecError."""
    if where.fingerprint != this_machine().fingerprint:
        return
    try:
        check_device(step.provider or "CPU")
    except StepError as error:
        raise SpecError(str(error)) from None


def _check_batch(sweep: Sweep) -> None:
    """A graph that fixes its batch is timed with that batch; raises SpecError where the sweep asks for another."""
    latency = sweep.measure.latency
    if latency is None or not sweep.model.is_onnx:
        return
    from engine.models.files import batch_of  # not at the top, as in engine/models/catalog.py

    fixed = batch_of(sweep.model, sweep.data)
    asked = sorted({latency.filled(recipe.runtime).batch or 1 for recipe in sweep.all_recipes} - {fixed or 0})
    if fixed is not None and asked:
        raise SpecError(
            f"model {sweep.model.source} takes batches of {fixed} only, and latency is to be measured with {asked[0]}; set "
            f"measure.latency.batch to {fixed} (and no other in runtime steps), leave latency out, or export a free batch axis"
        )


def _check_torch_steps(sweep: Sweep) -> None:
    """An ONNX file that steps train or prune can become a torch network; raises ModelError."""
    if sweep.trains_a_file:
        from engine.models.convertible import check_trained  # not at the top, as in engine/models/catalog.py

        check_trained(sweep)


def _check_distill(step: Distill) -> None:
    """Student and teacher exist; raises ModelError."""
    if step.student not in (SELF, CURRENT):
        if source_kind(step.student) not in {"zoo", "torchvision", "timm"}:
            raise ModelError(f"student {step.student!r} is not a built-in network; known: {', '.join(zoo_names())}")
        if source_kind(step.student) != "zoo":
            check_model(Model(source=step.student))
    if step.teacher not in ("baseline", "previous"):
        check_model(Model(source=step.teacher))
        if source_kind(step.teacher) in {"torchvision", "timm"}:
            raise ModelError(
                f"teacher {step.teacher!r} has random weights here; give a trained one: {', '.join(zoo_index())}, an .onnx file, or "
                "path/to/file.py:function"
            )


def _check_trained_on(sweep: Sweep) -> None:
    """A shipped checkpoint and shipped data belong together; raises ModelError. Of other data it is known when they have been read."""
    entry = zoo_index().get(sweep.model.source)
    if entry is None or sweep.model.weights or sweep.data.source not in set(EMBEDDED) - {entry.dataset}:
        return
    fitting = ", ".join(name for name, other in zoo_index().items() if other.dataset == sweep.data.source)
    raise ModelError(
        f"{entry.name}'s shipped checkpoint is for data {entry.dataset}, not {sweep.data.source}; choose {fitting}, or give a checkpoint "
        "of your own under `weights`"
    )


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
