"""Where the time of a file goes: ONNX Runtime's own profile of each kernel, by operator type and by layer."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from engine.graph.counts import graph_facts
from engine.graph.graph import constant_names, load_onnx
from engine.graph.inline import inlined
from engine.graph.inputs import Feeds, drawn
from engine.measure.profile import Kernel, Profile
from engine.measure.session import Runner
from engine.spec.runtime import Runtime

_RUNS = 60
_BLOCK = 10
# What ONNX Runtime appends to the names of nodes that it changes the layout of, and its profiler to all.
_SUFFIXES = re.compile(r"_(kernel_time|nchwc|token_\d+|quant)$")
# What a provider that compiles whole graphs calls the one kernel that it makes of them, `OpenVINOExecutionProvider_14189728820987750123_0`.
_COMPILED = re.compile(r"ExecutionProvider_\d+_\d+$")
# Kernels that multiply by weights; what else takes time is not a layer's own.
_MULTIPLIES = re.compile(r"Conv|Gemm|MatMul")


def owners(model: onnx.ModelProto) -> dict[str, str]:
    """{name of a node or a tensor: the layer that it is, or that it follows}: fused kernels are called after any of them."""
    flat = inlined(model)
    known = constant_names(flat)
    found: dict[str, str] = {}
    for node in flat.graph.node:
        if set(node.output) <= known:
            continue
        layer = next((found[name] for name in node.input if name in found), "")
        if _MULTIPLIES.search(node.op_type):
            layer = node.name or node.output[0]
        for name in (node.name, *node.output):
            if name and layer:
                found[name] = layer
    return found


def kernels_of(events: Sequence[Mapping[str, Any]], owner: Mapping[str, str]) -> tuple[Kernel, ...]:
    """Events of a profile -> kernels in the order in which they run, each with its median milliseconds."""
    taken: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (f"{event['args'].get('node_index')} {event['name']}", event["args"]["op_name"])
            taken.setdefault(key, []).append(event["dur"] / 1000)
    found = []
    for (name, op_type), times in taken.items():
        plain = name.partition(" ")[2]
        while plain not in owner and _SUFFIXES.search(plain):
            plain = _SUFFIXES.sub("", plain)
        layer = owner.get(plain, "") if _MULTIPLIES.search(op_type) else ""
        compiled = f"{_COMPILED.sub('', op_type)} (compiled)" if _COMPILED.search(op_type) else op_type
        found.append(Kernel(_SUFFIXES.sub("", plain), compiled, layer, statistics.median(times)))
    return tuple(found)


def _call_ms(events: Sequence[Mapping[str, Any]]) -> float:
    """Median milliseconds of a whole call, as the runtime sees it."""
    times = (e["dur"] / 1000 for e in events if e.get("cat") == "Session" and e["name"] == "model_run")
    return float(statistics.median(times))


def profile_pair(paths: Sequence[Path], runtimes: Sequence[Runtime]) -> list[Profile]:
    """Profiles of several files, each run as its runtime (every option stated) says, in blocks in turns on noise.

    Raises ModelError or StepError when one cannot be loaded or run.
    """
    models = [load_onnx(path, several=True) for path in paths]
    facts = [graph_facts(model) for model in models]
    with tempfile.TemporaryDirectory(prefix="paretoscope-profile-") as folder:
        runners = []
        for i, (path, how) in enumerate(zip(paths, runtimes, strict=True)):
            options = (how.threads or 1, how.graph_optimisation or "all", how.provider or "CPU")
            runners.append(Runner(path, *options, profile=str(Path(folder) / f"side{i}")))
        images = [
            drawn(Feeds.of_graph(model).shape, runner.fixed_batch or how.batch or 1, np.random.default_rng(0))
            for runner, how, model in zip(runners, runtimes, models, strict=True)
        ]
        for _ in range(_RUNS // _BLOCK):
            for runner, batch in zip(runners, images, strict=True):
                for _ in range(_BLOCK):
                    runner(batch)
        events = [json.loads(runner.end_profiling().read_text()) for runner in runners]
    profiles = []
    for model, fact, batch, found in zip(models, facts, images, events, strict=True):
        layers = {x.name: x for x in fact.layers if x.macs}
        profiles.append(
            Profile(
                kernels=kernels_of(found, owners(model)),
                call_ms=_call_ms(found),
                images=len(batch),
                macs=fact.macs,
                layer_macs={name: x.macs for name, x in layers.items()},
                # Channels of images are the second axis.
                channels={n: x.output_shape[1] for n, x in layers.items() if len(x.output_shape) == 4},
            )
        )
    return profiles
