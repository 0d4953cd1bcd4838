"""What is wrong with a sweep that can be told without its data and without running anything; told before it is planned."""

from __future__ import annotations

from engine.devices.profiles import profile_names
from engine.errors import ModelError, SpecError, StepError
from engine.measure.machine import machine as this_machine
from engine.measure.provider_device import check_device
from engine.models.catalog import check_model, source_kind, zoo_index, zoo_names
from engine.spec.runtime import Runtime
from engine.spec.sections import EMBEDDED, Model
from engine.spec.steps import CURRENT, SELF, Distill
from engine.spec.sweep import Sweep
from engine.trials.measurements import Machine


def check_plannable(sweep: Sweep, machine: Machine) -> None:
    """All of this module; raises InputError when a source, a profile or a provider is missing or unknown."""
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
