"""What one node of a plan does, in the worker process: read the inputs' artifacts, apply one step, leave one artifact.

Every function here takes the task and returns the node's small JSON result; the file it made is put under the node's key.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.artifacts import Artifacts
from engine.datasets import Dataset, load_dataset
from engine.plan import Node
from engine.spec import Data, Distill, Finetune, LatencyOptions, Model, Prune, Quantize


@dataclass(frozen=True)
class Task:
    """A node with all that its work needs; it travels to the worker."""

    node: Node
    inputs: tuple[str, ...]
    model: Model
    data: Data
    seed: int
    artifacts: Artifacts

    def input(self, position: int = 0) -> Path:
        """The file of an input node, in the order of `node.inputs`."""
        return self.artifacts.local(self.inputs[position])


@lru_cache(maxsize=1)
def _dataset(data: Data) -> Dataset:
    """Read once per worker process; frozen specs are hashable."""
    return load_dataset(data)


def run_node(task: Task, *_inputs_first: object) -> tuple[float, dict[str, Any]]:
    """Do a node's work; (seconds, result). The other arguments only make the scheduler finish the inputs first.

    Raises StepError or InputError when the step does not fit the network.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        output = Path(folder) / f"output{task.node.suffix or ''}"
        result = _WORK[task.node.kind](task, output)
        if task.node.artifact:
            task.artifacts.put(task.node.artifact, output)
    return time.monotonic() - started, result


def _one_torch_thread() -> None:
    """Tasks share the cores among them; torch's thread count belongs to the calling thread, so each task sets its own."""
    import torch

    torch.set_num_threads(1)


def _source(task: Task, output: Path) -> dict[str, Any]:
    if task.model.is_onnx:
        from engine.onnx_graph import load_onnx, save_onnx

        save_onnx(load_onnx(Path(task.model.source)), output)
        return {}
    from engine.models.sources import load_network, save_network

    _one_torch_thread()
    save_network(load_network(task.model, _dataset(task.data)), output)
    return {}


def _distill(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import distill
    from engine.models.sources import open_network, save_network

    _one_torch_thread()
    losses: list[float] = []
    student = distill.apply(
        Distill(**task.node.options),
        open_network(task.input()),
        _dataset(task.data),
        task.seed,
        on_epoch=lambda _, loss: losses.append(loss),
    )
    save_network(student, output)
    return {"loss": losses}


def _prune(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import prune
    from engine.models.sources import Network, open_network, save_network

    _one_torch_thread()
    network = open_network(task.input())
    module = prune.apply(Prune(**task.node.options), network.module, network.origin.input_shape)
    save_network(Network(module, network.origin), output)
    return {}


def _finetune(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import finetune
    from engine.models.sources import Network, open_network, save_network

    _one_torch_thread()
    network = open_network(task.input())
    losses: list[float] = []
    module = finetune.apply(
        Finetune(**task.node.options),
        network.module,
        _dataset(task.data),
        task.seed,
        on_epoch=lambda _, loss: losses.append(loss),
    )
    save_network(Network(module, network.origin), output)
    return {"loss": losses}


def _export(task: Task, output: Path) -> dict[str, Any]:
    from engine.models.export import export_onnx
    from engine.models.sources import open_network
    from engine.onnx_graph import save_onnx

    _one_torch_thread()
    network = open_network(task.input())
    save_onnx(export_onnx(network.module, network.origin.input_shape), output)
    return {}


def _quantize(task: Task, output: Path) -> dict[str, Any]:
    from engine.compress import quantize
    from engine.onnx_graph import load_onnx, save_onnx

    step = Quantize(**task.node.options)
    data = _dataset(task.data)
    images = data.preprocessing(data.calibration.head(step.calibration_samples).inputs)
    save_onnx(quantize.apply(step, load_onnx(task.input()), images), output)
    return {}


def _facts(task: Task, output: Path) -> dict[str, Any]:
    from engine.measure.size import measure_size
    from engine.onnx_graph import graph_facts, load_onnx

    facts = graph_facts(load_onnx(task.input()))
    return asdict(facts) | asdict(measure_size(task.input()))


def _accuracy(task: Task, output: Path) -> dict[str, Any]:
    from engine.measure.accuracy import predict

    data = _dataset(task.data)
    samples = task.node.options["samples"]
    split = data.test.head(None if samples == "all" else samples)
    predictions = predict(task.input(), split, data.preprocessing)
    predictions.save(output)
    return {"n": len(split), "right": int((predictions.predicted == split.labels).sum())}


def _latency(task: Task, output: Path) -> dict[str, Any]:
    from engine.measure.latency import measure_latency
    from engine.measure.machine import machine

    options = LatencyOptions(**task.node.options)
    baseline = task.input(1) if len(task.inputs) > 1 else None
    result = measure_latency(task.input(), baseline, _dataset(task.data).input_shape, options)
    return result.to_json() | {"machine": asdict(machine())}


_WORK: dict[str, Callable[[Task, Path], dict[str, Any]]] = {
    "source": _source,
    "distill": _distill,
    "prune": _prune,
    "finetune": _finetune,
    "export": _export,
    "quantize": _quantize,
    "facts": _facts,
    "accuracy": _accuracy,
    "latency": _latency,
}
