"""A model repository for NVIDIA's Triton Inference Server: the file, and the config.pbtxt that says what it takes, gives and allows.

    NAME/config.pbtxt  NAME/1/model.onnx  NAME/preprocess.json  [NAME/labels.txt]

The fields are those of `protobuf/model_config.proto` in triton-inference-server/common; what they mean for ONNX files is told in
triton-inference-server/onnxruntime_backend. A request is what the graph takes: Triton
prepares nothing, so clients do, as preprocess.json says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from engine.export.parts_folder import Made, Opened, opened
from engine.export.tensors import Tensor, any_batch, shares_calls, tensors_of

LARGEST_BATCH = 32
"""As many as `paretoscope serve` puts together; a deployment may raise it."""

_LEVELS = {"basic": -1, "extended": 1, "disable": 2}
"""A runtime's `graph_optimisation` -> Triton's level; all is what it does unless told otherwise."""
_ACCELERATORS = {"OpenVINO": ("cpu", "openvino"), "TensorRT": ("gpu", "tensorrt")}
_ON_GPU = ("CUDA", "TensorRT")


def repository(parts: Mapping[str, bytes]) -> Made:
    """The repository of a bundle's parts; raises BundleError for what Triton cannot serve."""
    with opened(parts) as bundle:
        largest, why = _largest_batch(bundle)
        text = config(bundle, largest)
        source = str(yaml.safe_load(parts["recipe.yaml"])["model"]["source"])
        name = f"{re.sub(r'[^A-Za-z0-9_]+', '_', source).strip('_') or 'model'}_{bundle.manifest['trial']}"
    members = {"config.pbtxt": text.encode(), "1/model.onnx": parts["model.onnx"]}
    members["preprocess.json"] = parts["preprocess.json"]
    if bundle.labels:
        members["labels.txt"] = parts["labels.txt"]
    facts = {"model": name, "max_batch_size": largest, "dynamic_batching": largest > 1}
    return {f"{name}/{member}": content for member, content in members.items()}, facts, f"model {name}, {why}"


def _largest_batch(bundle: Opened) -> tuple[int, str]:
    """Triton's max_batch_size, and why: 0 where the graph fixes its first axes, 1 where samples of one call change each other's answers."""
    if not any_batch(bundle.session):
        return 0, "no batching: the graph fixes how many samples a call takes"
    if not shares_calls(bundle.session, bundle.inputs, bundle.settings, bundle.manifest["arithmetic"]):
        return 1, "one sample a call: those of one call change each other's answers"
    return LARGEST_BATCH, f"batches of up to {LARGEST_BATCH}, put together as requests come"


def config(bundle: Opened, largest: int) -> str:
    """config.pbtxt in protobuf's text format."""
    inputs, outputs = (tensors_of(found) for found in (bundle.session.get_inputs(), bundle.session.get_outputs()))
    how, lines = bundle.manifest["runtime"], ["# The model is named after its folder.", 'platform: "onnxruntime_onnx"']
    lines.append(f"max_batch_size: {largest}")
    lines += [line for tensor in inputs for line in _tensor("input", tensor, largest)]
    for number, tensor in enumerate(outputs):
        lines += _tensor("output", tensor, largest, "labels.txt" if bundle.labels and not number else "")
    if largest > 1:
        lines.append("dynamic_batching { }")
    lines.append(f"instance_group [ {{ kind: {'KIND_GPU' if how['provider'] in _ON_GPU else 'KIND_CPU'} }} ]")
    lines += _optimization(how)
    # As it was measured; more threads answer one request sooner, more instances more of them.
    for key, value in (("intra_op_thread_count", how["threads"]), ("inter_op_thread_count", 1)):
        lines.append(f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"


def _tensor(field: str, tensor: Tensor, largest: int, labels: str = "") -> list[str]:
    shape = tensor.shape[1:] if largest else tensor.shape
    # Triton wants one dimension at least, and is told that the graph has none.
    reshape = [] if shape else ["  reshape { shape: [ ] }"]
    return [
        f"{field} {{",
        f"  name: {json.dumps(tensor.name, ensure_ascii=False)}",
        f"  data_type: TYPE_{tensor.datatype}",
        f"  dims: [ {', '.join(map(str, shape or (1,)))} ]",
        *reshape,
        *([f'  label_filename: "{labels}"'] if labels else []),
        "}",
    ]


def _optimization(how: Mapping[str, Any]) -> Sequence[str]:
    said = []
    if how["graph_optimisation"] in _LEVELS:
        said.append(f"graph {{ level: {_LEVELS[how['graph_optimisation']]} }}")
    if how["provider"] in _ACCELERATORS:
        where, name = _ACCELERATORS[how["provider"]]
        said.append(f'execution_accelerators {{ {where}_execution_accelerator: [ {{ name: "{name}" }} ] }}')
    return [f"optimization {{ {' '.join(said)} }}"] if said else []
