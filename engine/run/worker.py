"""What one node of a plan does, in the worker process: read the inputs' artifacts, apply one step, leave one artifact.

Every function here takes the task and returns the node's small JSON result; the file it made is put under the node's key.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cores import share_torch_threads
from engine.errors import NotFoundError, SetupError, StepError
from engine.measure.session import one_line
from engine.run import measuring
from engine.run.away import ready
from engine.run.kept_answers import kept
from engine.run.measuring import noted
from engine.run.on_host import on_host
from engine.run.plan import Node
from engine.run.task import Task, dataset_of
from engine.run.training_device import kind_of, training_device
from engine.scratch import own_temporary_files
from engine.spec.sections import Model
from engine.spec.steps import CURRENT, SELF, Distill, Finetune, Prune, Quantize

if TYPE_CHECKING:
    import onnx

# Real images on which an exported graph is held against the network.
_COMPARED = 100


def run_node(task: Task, *_inputs_first: object) -> tuple[float, dict[str, Any]]:
    """Do a node's work; (core-seconds that it took, or seconds where it measures time; result). The other arguments only make the scheduler
    finish the inputs first.

    Raises StepError or InputError when the step does not fit the network, or ONNX Runtime refuses it.
    """
    # A worker of somebody else's cluster may be killed like any other, and its folder for temporary files is nobody's.
    own_temporary_files()
    if (answer := kept(task)) is not None:
        return answer
    with (
        ready(task.node, task.away),
        on_host(task.node) as cores,
        _on_device(task.node),
        tempfile.TemporaryDirectory(prefix="paretoscope-") as folder,
    ):
        share_torch_threads()
        result = _worked(task, Path(folder))
    return cores.core_seconds, result


def _on_device(node: Node) -> AbstractContextManager[None]:
    """Torch on the device of the kind that is in the node's key; raises SetupError where this worker has another."""
    if node.device == "cpu":
        return nullcontext()
    found = training_device()
    if kind_of(found) != node.device:
        raise SetupError(
            f"{node.kind}: planned for a worker with {node.device}, but this one has {found}; give all workers with the resource gpu "
            "the same kind of GPU, or set PARETOSCOPE_DEVICE=cpu"
        )
    from engine.compress.torch_device import on_device

    return on_device(found)


def _worked(task: Task, folder: Path) -> dict[str, Any]:
    output = folder / f"output{task.node.suffix or ''}"
    try:
        result = _WORK[task.node.kind](task, output)
    except Exception as error:
        # Its exceptions have no common base but the module that they come from.
        if type(error).__module__.startswith("onnxruntime"):
            raise StepError(f"{task.node.kind}: onnxruntime refuses this network: {one_line(error)}") from None
        raise
    if task.node.artifact:
        task.artifacts.put(task.node.artifact, output)
    return result


def _source(task: Task, output: Path) -> dict[str, Any]:
    options, data = task.node.options, dataset_of(task.data)
    model = Model(**{name: value for name, value in options.items() if name != "digest"})
    if model.is_onnx:
        from engine.graph.graph import save_onnx
        from engine.models.files import load_file

        graph, note = load_file(model, data)
        save_onnx(graph, output)
        return noted("; ".join([*([note] if note else []), *data.notes]))
    from engine.models.sources import load_network, save_network

    network = load_network(model, data)
    save_network(network, output)
    return noted("; ".join([*([network.note] if network.note else []), *data.notes]))


def _convert(task: Task, output: Path) -> dict[str, Any]:
    from engine.graph.graph import load_onnx
    from engine.graph.states import states_of
    from engine.models.interface import closed
    from engine.models.sources import convert_file, save_network

    model, file = Model(**task.node.options["model"]), load_onnx(task.input(), several=True)
    network = convert_file(model, closed(file), dataset_of(task.data))
    save_network(network, output)
    notes = [network.note]
    if held := ", ".join(state.input for state in states_of(file)):
        notes.append(
            f"as a torch network it has state {held} as zeros: its file neither takes nor gives it, and cannot stream; give the network "
            "in torch for that"
        )
    return noted("; ".join(note for note in notes if note) or None)


def _teacher(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress.teacher import teacher_note, teacher_outputs
    from engine.run.steps_graph import counted_as_one

    data, options = dataset_of(task.data), task.node.options
    model = counted_as_one(task.input(), data)
    images = data.train.head(options["images"])
    values = not data.has_classes
    outputs = teacher_outputs(
        model, images, data.preprocessing, options["mirrored"], options["features"], values=values
    )
    outputs.save(output)
    return noted(None if values else teacher_note(outputs, images.labels))


def _distill(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import distill
    from engine.compress.losses import task_loss
    from engine.compress.teacher import TeacherOutputs
    from engine.models.sources import open_network, save_network

    step, loss = Distill(**_of_step(task)), task.node.options.get("loss")
    losses: list[float] = []
    data = dataset_of(task.data)
    outputs = TeacherOutputs.load(task.input(1)) if step.has_teacher else None
    student = distill.apply(
        step,
        data,
        task.seed,
        outputs=outputs,
        network=open_network(task.input()) if step.student in (SELF, CURRENT) else None,
        on_epoch=lambda _, value: losses.append(value),
        loss=task_loss(data, loss),
    )
    save_network(student, output)
    return {"loss": losses} | noted(distill.far_off(step, student, data, outputs))


def _of_step(task: Task) -> dict[str, Any]:
    """A node's options but for the loss and the metric, which are the sweep's, and what a sensitivity is asked for."""
    return {name: value for name, value in task.node.options.items() if name not in ("loss", "metric", "widths")}


def _prune(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import prune
    from engine.models.sources import Network, open_network, save_network

    network = open_network(task.input())
    module, report = prune.apply(Prune(**task.node.options), network, dataset_of(task.data), task.seed)
    save_network(Network(module, network.origin), output)
    return asdict(report)


def _finetune(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import finetune
    from engine.compress.losses import imitation, task_loss
    from engine.compress.pruning.weights import trained_zeros
    from engine.compress.teacher import TeacherOutputs
    from engine.compress.torch_device import from_array
    from engine.models.sources import Network, open_network, save_network

    network = open_network(task.input())
    notes = [note for note in [trained_zeros(network.module)] if note]
    losses: list[float] = []

    def on_epoch(epoch: int, value: float) -> None:
        losses[epoch - 1 :] = [value]  # it may begin again

    data = dataset_of(task.data)
    loss = task_loss(data, task.node.options.get("loss"))
    module = finetune.apply(
        Finetune(**_of_step(task)),
        network.module,
        data,
        task.seed,
        on_epoch=on_epoch,
        loss=loss or imitation(data, from_array(TeacherOutputs.load(task.input(1)).logits)),
        on_note=notes.append,
    )
    save_network(Network(module, network.origin), output)
    return {"loss": losses} | noted("; ".join(notes) or None)


def _export(task: Task, output: Path) -> dict[str, Any]:
    from engine.graph.graph import save_onnx
    from engine.graph.one_output import with_outputs_of
    from engine.models.agreement import check_agreement, check_stream
    from engine.models.export import export_onnx
    from engine.models.sources import open_network

    network, data = open_network(task.input()), dataset_of(task.data)
    images = data.preprocessing(data.calibration.head(_COMPARED).inputs)
    own = network.origin
    model = export_onnx(network.module, own.input_shape, name=own.only if own.state else None)
    note = check_agreement(model, network.module, images)
    check_stream(model, network.module, images)
    save_onnx(with_outputs_of(model, own.several), output)
    return noted(note)


def _sensitivity(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress.quantization.sensitivity import BITS, measure_sensitivity
    from engine.run.steps_graph import steps_graph

    step, widths = Quantize(**_of_step(task)), task.node.options.get("widths", BITS)
    graph = steps_graph(task.input(), dataset_of(task.data), step.calibration_samples)
    output.write_text(json.dumps(measure_sensitivity(step, graph.model, graph.data, widths)))
    return {}


def _layer_times(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress.quantization.sensitivity import layer_times
    from engine.run.steps_graph import steps_graph

    step = Quantize(**task.node.options)
    graph = steps_graph(task.input(), dataset_of(task.data), step.calibration_samples)
    output.write_text(json.dumps(layer_times(step, graph.model, graph.data)))
    return {}


def _chosen_bits(task: Task, step: Quantize, model: onnx.ModelProto) -> tuple[dict[str, int] | None, dict[str, Any]]:
    """Bits by weight where layers differ, and what the trial shows of them, by layer."""
    from engine.compress.quantization.allocation import by_layer, mixed_bits
    from engine.compress.quantize import prepare

    if not step.differs_by_layer:
        return None, {}
    prepared = prepare(model, others=step.shares_out_bits)
    measured = [
        json.loads(path.read_text()) for path in map(task.input, range(1, len(task.inputs))) if path.suffix == ".json"
    ]
    bits = mixed_bits(step, prepared, *measured)
    return bits, {"layer_bits": by_layer(prepared, bits)}


def _quantize(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress.shared_bits import better_shared
    from engine.graph.graph import save_onnx
    from engine.run.steps_graph import steps_graph

    step = Quantize(**_of_step(task))
    graph = steps_graph(task.input(), dataset_of(task.data), step.calibration_samples)
    images = graph.data.preprocessing(graph.data.calibrating(step.calibration_samples).inputs)
    bits, shown = _chosen_bits(task, step, graph.model)
    done, has_bits = better_shared(step, graph.model, images, bits, graph.data.has_classes)
    save_onnx(graph.as_file(done.model), output)
    return (shown if has_bits else {}) | {"chosen": list(done.chosen)} | noted(done.note)


def _fewest(task: Task, output: Path) -> dict[str, Any]:
    from engine.graph.graph import save_onnx
    from engine.run.float_layers import fewest_in_float

    step = Quantize(**_of_step(task))
    sensitivity, *times = (json.loads(task.input(i).read_text()) for i in range(1, len(task.inputs)))
    choice = task.node.options.get("metric")
    done, shown = fewest_in_float(step, task.input(), dataset_of(task.data), sensitivity, choice, *times)
    save_onnx(done.model, output)
    return shown | {"chosen": list(done.chosen)} | noted(done.note)


def _qat(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import qat, quantize
    from engine.compress.losses import task_loss
    from engine.graph.graph import save_onnx
    from engine.models.sources import open_network
    from engine.run.steps_graph import steps_graph

    step, losses, data = Quantize(**_of_step(task)), list[float](), dataset_of(task.data)
    graph = steps_graph(task.input(), data, qat.calibrates(step), trains=True)
    bits, shown = _chosen_bits(task, step, graph.model)
    exported = task.inputs[-1].endswith(".safetensors")
    trained = qat.train_quantized(
        step,
        graph.model,
        graph.data,
        task.seed,
        on_epoch=lambda _, value: losses.append(value),
        bits=bits,
        taken=data.input_shape,
        task=None if graph.imitates else task_loss(data, task.node.options.get("loss")),
        network=open_network(task.input(len(task.inputs) - 1)).module if exported else None,
    )
    save_onnx(graph.as_file(trained.model), output)
    notes = [
        trained.note,
        None if exported else qat.note(graph.model),
        quantize.note(step, graph.model),
        graph.imitated,
    ]
    found = {"loss": losses, "chosen": quantize.chosen_range(step)} | shown
    return found | noted("; ".join(note for note in notes if note) or None)


def _imported(task: Task, output: Path) -> dict[str, Any]:
    from engine.models.made_elsewhere import fit

    sha256 = task.node.options["sha256"]
    try:
        made = task.artifacts.local(f"{sha256}.onnx")
    except NotFoundError:
        raise StepError(
            f"the file that was added (SHA-256 {sha256[:12]}…) is not in the artifact store any more; add it again with `paretoscope add`, "
            "under the same name (in a bundle it is model.onnx)"
        ) from None
    like = task.node.options.get("like")
    return noted(fit(made, dataset_of(task.data), output, like and Model(source="that was added", **like)))


_WORK: dict[str, Callable[[Task, Path], dict[str, Any]]] = {
    "source": _source,
    "convert": _convert,
    "teacher": _teacher,
    "distill": _distill,
    "prune": _prune,
    "finetune": _finetune,
    "export": _export,
    "sensitivity": _sensitivity,
    "layer_times": _layer_times,
    "quantize": _quantize,
    "fewest": _fewest,
    "qat": _qat,
    "imported": _imported,
    "facts": measuring.facts,
    "accuracy": measuring.accuracy,
    "latency": measuring.latency,
}
