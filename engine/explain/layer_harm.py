"""What rounding one layer alone does to a network: to its metric on validation samples, to its bytes, and to its time.

For each layer with weights and each width a file is written in which that layer alone is rounded, to the nearest, as the recipe's quantize
step would round it, and all others stay in float; what it answers, and what it weighs, is that file's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.weights import find_layers, first_use, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import SAFE_BITS, make_scheme, prepare
from engine.datasets.dataset import Dataset
from engine.datasets.splits import Split
from engine.errors import ModelError, StepError
from engine.graph.counts import graph_facts
from engine.graph.graph import load_onnx, save_onnx
from engine.graph.inputs import Inputs
from engine.graph.one_output import as_one, as_several
from engine.measure.answers import Answers, answers
from engine.measure.operators import profile_pair
from engine.measure.size_parts import ROLES, measure_parts
from engine.measure.task_metric import metric_of
from engine.metrics import METRICS
from engine.quality.drop import drop
from engine.quality.predictions import Predictions
from engine.quality.scores import fidelity
from engine.quality.values import Values, value_fidelity
from engine.spec.runtime import Runtime
from engine.spec.steps import Quantize
from engine.trials.evidence import Interval

BITS = (8, 6, 5, 4, 3, 2)
"""The widths that are tried; of blocks 8 and 4."""
_FLOAT_BITS = 32
_CALIBRATING = 64
# Validation samples, between these two: as many as so many multiply-accumulates allow, all layers and widths together.
_FEWEST, _MOST, _WORK = 50, 1000, 6 * 10**11


@dataclass(frozen=True)
class Layer:
    """One row: a stored weight. `names` of the layers that multiply by it, as `layers` of a step takes them, the first first."""

    names: tuple[str, ...]
    op_type: str
    weight: str
    params: int


@dataclass(frozen=True)
class Asked:
    """What is to be found out.

    `metric`: options of the spec's own metric, None without one; `runtime`: as latencies are measured, every option stated; `safe`: whether
    weights of 8 bits are kept in 7, as the machine that measures needs it; `samples`: None for as many as the work allows.
    """

    step: Quantize
    metric: Mapping[str, Any] | None
    runtime: Runtime
    safe: bool
    samples: int | None = None

    @property
    def bits(self) -> tuple[int, ...]:
        """The widths of the step's kind."""
        return (8, 4) if self.step.method == "block" else BITS

    @property
    def plain(self) -> Quantize:
        """The step with one width for all and nothing that chooses, learns or corrects."""
        nothing = dict.fromkeys(
            ("layers", "mean_bits", "max_latency", "max_drop", "float_layers", "epochs", "learning_rate")
        )
        method = "ptq" if self.step.method == "qat" else self.step.method
        usual = {"weight_bits": 8, "ends_8bit": False, "rounding": "nearest", "method": method, "samples": None}
        return self.step.model_copy(update=nothing | usual)


def layers_of(prepared: onnx.ModelProto) -> list[Layer]:
    """The layers of a graph that `quantize.prepare` made, in graph order; those that share a weight are one."""
    sizes = {t.name: int(np.prod(t.dims)) for t in prepared.graph.initializer}
    found: dict[str, Layer] = {}
    for layer in find_layers(prepared.graph.node, weight_names(prepared.graph)):
        name = layer.node.name or layer.output
        known = found.get(layer.weight)
        names = (*known.names, name) if known else (name,)
        found[layer.weight] = Layer(names, layer.node.op_type, layer.weight, sizes[layer.weight])
    return list(found.values())


def rounded_alone(
    asked: Asked, prepared: onnx.ModelProto, calibration: Inputs, layer: Layer
) -> Iterator[tuple[int, onnx.ModelProto]]:
    """Files of a prepared graph with one layer rounded and all others in float, for each width, as (bits, graph). Raises StepError as
    `make_scheme`.
    """
    others = {x.weight: _FLOAT_BITS for x in layers_of(prepared)}
    step = asked.plain
    scheme = make_scheme(step, prepared, calibration, others | {layer.weight: 8})
    stored = {t.name: t for t in scheme.model.graph.initializer}
    axes = {x.weight: x.axis for x in scheme.layers}
    for bits in asked.bits:
        if scheme.blocks:
            narrow = step.model_copy(update={"weight_bits": bits})
            scheme = make_scheme(narrow, prepared, calibration, others | {layer.weight: bits})
            yield bits, write(replace(scheme, others={}))
            continue
        width = min(bits, SAFE_BITS) if asked.safe else bits
        codes = {
            name: quantized_weight(
                numpy_helper.to_array(stored[name]), axes[name], width, step.per_channel, step.symmetric
            )
            for name in scheme.weights
            if first_use(name) == layer.weight
        }
        yield bits, write(replace(scheme, weights=codes, others={}))


def measure_layers(asked: Asked, source: Path, data: Dataset) -> dict[str, Any]:
    """Every layer at every width, on validation samples; `source`: the float network's file.

    `layers`: [{name, also, op_type, params, cells}], in graph order, `also` the names of layers that share its weight; `cells`: [{bits,
    harm, divergence, bytes_saved, ms_saved}]. `harm` is what the metric lost, with its paired 95 % interval, as `drop` counts it: points of
    accuracy, the unit of the spec's own metric, or per cent where there are no labels; None where it cannot be counted. `divergence` is
    the mean Kullback-Leibler divergence from the float network in nats, or the relative error of values; `bytes_saved` is of weights,
    scales and biases; `ms_saved` is of its kernel for one sample, None where that is not known. `kernels`: whether times were measured, or
    none computes in fewer bits. `metric`, `divergence`: their names and units, and whether a loss can be chance (`tested`), as it cannot
    be where answers are held against the float network's own. Raises StepError or ModelError.
    """
    calibration = data.preprocessing(data.calibrating(_CALIBRATING).inputs)[:_CALIBRATING]
    model = load_onnx(source, several=True)
    ends = list(model.graph.output) if len(model.graph.output) > 1 else []
    prepared = prepare(as_one(model, calibration) if ends else model)
    prepared = equalize(prepared) if asked.step.equalize is True else prepared
    rows = layers_of(prepared)
    macs = max(1, graph_facts(prepared).macs)
    most = asked.samples or int(np.clip(_WORK // (macs * len(rows) * len(asked.bits)), _FEWEST, _MOST))
    split = data.validation.head(most)
    if not len(split):
        raise StepError("the dataset has no validation samples, and test samples may not guide a choice")
    with TemporaryDirectory(prefix="paretoscope-layers-") as folder:
        path = Path(folder) / "float.onnx"
        save_onnx(as_several(prepared, ends) if ends else prepared, path)
        before, _ = answers(path, split, data, asked.metric)
        whole = _bytes(path)
        saved = _milliseconds(asked, prepared, calibration, Path(folder))
        found = []
        for layer in rows:
            cells = []
            for bits, model in rounded_alone(asked, prepared, calibration, layer):
                path = Path(folder) / "rounded.onnx"
                save_onnx(as_several(model, ends) if ends else model, path)
                after, _ = answers(path, split, data, asked.metric)
                times = saved.get(bits)
                cells.append(
                    {
                        "bits": bits,
                        "harm": _harm(after, before, split, data, asked.metric),
                        "divergence": divergence(after, before),
                        "bytes_saved": whole - _bytes(path),
                        "ms_saved": _summed(times, layer.names) if times else None,
                    }
                )
            found.append(
                {
                    "name": layer.names[0],
                    "also": list(layer.names[1:]),
                    "op_type": layer.op_type,
                    "params": layer.params,
                    "cells": cells,
                }
            )
    return {
        "layers": found,
        "samples": len(split),
        "bits": list(asked.bits),
        "kernels": "measured" if saved else "none",
        "safe": asked.safe,
        **_named(asked, split, data),
    }


def _named(asked: Asked, split: Split, data: Dataset) -> dict[str, dict[str, Any]]:
    """What `harm` and `divergence` are, and in which units."""
    if asked.metric:
        metric = METRICS[metric_of(asked.metric).key]
        harm = metric.name, "points" if metric.unit == "%" else metric.unit
    elif data.has_classes:
        harm = ("Accuracy", "points") if split.is_labelled else ("Agreement", "%")
    else:
        harm = "Fidelity", "%"
    other = ("KL divergence", "nats") if data.has_classes else ("Relative error", "")
    tested = bool(asked.metric) or (data.has_classes and split.is_labelled)
    return {
        "metric": {"name": harm[0], "unit": harm[1], "tested": tested},
        "divergence": {"name": other[0], "unit": other[1]},
    }


def _summed(times: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    """None where one of the layers has no kernel of its own to be told by."""
    return sum(times[n] for n in names) if all(n in times for n in names) else None


def _bytes(path: Path) -> int:
    """Bytes of a file's weights, scales and biases; the graph around them is no layer's."""
    parts = measure_parts(path).by_type
    return sum(parts[kind] for kind in ROLES)


def _harm(
    after: Answers, before: Answers, split: Split, data: Dataset, metric: Mapping[str, Any] | None
) -> dict[str, float] | None:
    key = metric_of(metric).key if metric else None
    try:
        found: Interval = drop(after, before, split.labels, data.classes, key)
    except ValueError:
        return None
    # A difference of nothing may come as minus zero.
    return {name: value + 0.0 for name, value in asdict(found).items()}


def divergence(found: Answers, before: Answers) -> float | None:
    """The mean Kullback-Leibler divergence of class shares from the float network's, in nats, or the relative error of values."""
    if isinstance(found, Predictions) and isinstance(before, Predictions):
        kl = fidelity(found, before).kl
        return None if kl is None else kl.value
    assert isinstance(found, Values)
    assert isinstance(before, Values)
    error = value_fidelity(found, before).relative_error
    return None if error is None else error.value


def _milliseconds(
    asked: Asked, prepared: onnx.ModelProto, calibration: Inputs, folder: Path
) -> dict[int, dict[str, float]]:
    """{bits: {layer: milliseconds that its kernel takes less than the float one's}}, for one sample, in a network that is rounded
    throughout; empty where rounded layers compute in floats.

    Narrower weights become 8-bit ones at load, so that their kernels are the same; those of blocks multiply 4 bits as they are.
    """
    if asked.step.activation_bits > 8 and asked.step.method != "block":
        return {}
    widths = asked.bits if asked.step.method == "block" else (8,)
    paths = [folder / "times.onnx", *(folder / f"times{bits}.onnx" for bits in widths)]
    save_onnx(prepared, paths[0])
    for bits, path in zip(widths, paths[1:], strict=True):
        step = asked.plain.model_copy(update={"weight_bits": bits})
        # In the plain form, which loads to the same kernels: those of a packed file do not all say which layer they are.
        save_onnx(write(make_scheme(step, prepared, calibration), packed=False), path)
    try:
        before, *after = (p.by_layer() for p in profile_pair(paths, [asked.runtime] * len(paths)))
    except (StepError, ModelError):
        return {}
    saved = {
        bits: {name: before[name] - ms for name, ms in times.items() if name and name in before}
        for bits, times in zip(widths, after, strict=True)
    }
    return saved if asked.step.method == "block" else dict.fromkeys(asked.bits, saved[8])
