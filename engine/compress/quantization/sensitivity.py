"""What rounding one layer alone costs, and what its kernels take: measured once for a network, for allocation.py to choose by."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from scipy.special import logsumexp
from torch import Tensor
from torch.nn import functional as F

from engine.compress.quantization.calibrate import runs
from engine.compress.quantization.codes import quantized_weight
from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.lsq import RoundedActivation
from engine.compress.quantization.part import in_float
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.torch_graph import Call, as_call, constants_of, execute, with_lifetimes
from engine.compress.quantization.torch_operators import Operator
from engine.compress.quantization.weights import Layer, compared_tensors, find_layers, first_use, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import make_scheme, prepare
from engine.compress.teacher import logits_name
from engine.compress.torch_device import from_array, to_array
from engine.cores import share_torch_threads
from engine.datasets.dataset import Dataset
from engine.errors import StepError
from engine.graph.counts import graph_facts
from engine.graph.graph import fixed_batch, gives_shares
from engine.graph.inputs import Array, Feeds, Inputs
from engine.spec.steps import Quantize

BITS = (2, 3, 4, 5, 6, 7, 8)
"""The bit widths tried for every layer."""
# Images of the validation split, between these two: as many as `_WORK` multiply-accumulates allow.
_FEWEST, _MOST, _WORK = 16, 256, 10**12
_CHUNK = 32
_RUNS = 40
# Kernels that multiply by weights; what else takes time is not a layer's own.
_LAYER_KERNELS = re.compile(r"Conv|Gemm|MatMul")


def measure_sensitivity(
    step: Quantize, model: onnx.ModelProto, data: Dataset, widths: Sequence[int] = BITS
) -> dict[str, dict[str, float]]:
    """{weight initialiser of the prepared graph: {bits, as text: cost}}; numbers and text only, so it can be kept as JSON.

    `widths`: those that are wanted; what is found of one does not depend on the others.

    The cost is the mean Kullback-Leibler divergence, in nats, from the float network's class probabilities on validation images, labels not
    needed, when that layer alone is rounded: its weights to so many bits and, where `step.activation_bits` is below 32, its input and
    output to those; of outputs that are values, it is the mean squared difference from the float network's. Of the step, `activation_bits`,
    `per_channel`, `symmetric`, `equalize`, `calibration` and `calibration_samples` matter. A graph with a fixed batch, or with operators
    that torch_graph.py does not know, is run whole in ONNX Runtime, on fewer images; of one whose tables and recurrent layers alone are
    rounded, nothing is found. Raises StepError for graphs that cannot be quantized.
    """
    scheme = _scheme_of_bytes(step, model, data)
    if not scheme.layers:
        return {}
    try:
        if fixed_batch(scheme.model):
            raise StepError("quantize: a fixed batch")
        network = _OneLayerRounded(step, scheme, data.has_classes, widths)
    except StepError:
        images = data.preprocessing(data.validation.head(_FEWEST).inputs)
        return _in_runtime(step, scheme, images, data.has_classes, widths)
    macs = graph_facts(scheme.model).macs * len(scheme.layers) * len(BITS) // 2
    images = data.preprocessing(data.validation.head(int(np.clip(_WORK // max(1, macs), _FEWEST, _MOST))).inputs)
    total: Counter[tuple[str, int]] = Counter()
    with torch.no_grad():
        for start in range(0, len(images), _CHUNK):
            share_torch_threads()
            total.update(network.costs(images[start : start + _CHUNK]))
    return {name: {str(bits): total[name, bits] / len(images) for bits in widths} for name in network.names}


def _in_runtime(
    step: Quantize, scheme: Scheme, images: Inputs, classes: bool, widths: Sequence[int]
) -> dict[str, dict[str, float]]:
    """The same costs from whole files, each with one layer rounded."""
    model, outputs = scheme.model, compared_tensors(scheme.model, scheme.layers)
    outputs = outputs[:1] if outputs[0] == model.graph.output[0].name else outputs
    shares = classes and gives_shares(model)

    def said(graph: onnx.ModelProto) -> Array:
        batches = [[value.reshape(len(value), -1) for value in values] for values in runs(graph, outputs, images)]
        found = np.concatenate([np.concatenate(batch, 1) for batch in batches])[: len(images)].astype(np.float64)
        if not classes:
            return found
        return np.log(np.maximum(found, 1e-12)) if shares else found - logsumexp(found, axis=1, keepdims=True)

    expected = said(model)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    layers = find_layers(model.graph.node, weight_names(model.graph))
    every = {layer.weight: layer for layer in layers}
    costs: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(map(first_use, every)):
        own = {weight for weight in every if first_use(weight) == name}
        part = in_float(scheme, {first_use(weight) for weight in every} - {name})
        for bits in widths:
            codes = {w: quantized_weight(stored[w], every[w].axis, bits, step.per_channel, step.symmetric) for w in own}
            found = said(write(replace(part, weights=codes, others={}), packed=False))
            same = np.isinf(expected) if classes else np.isinf(expected) & (found == expected)
            away = np.subtract(expected, found, out=np.zeros_like(expected), where=~same)
            off = np.exp(expected) * away if classes else np.square(away) / found.shape[1]
            costs.setdefault(name, {})[str(bits)] = float(off.sum() / len(images))
    return costs


def _scheme_of_bytes(step: Quantize, model: onnx.ModelProto, data: Dataset) -> Scheme:
    """The network with weights of 8 bits and the step's activations: where rounding goes, and activation scales."""
    prepared = prepare(model, others=True)
    prepared = equalize(prepared) if step.equalize is True else prepared
    calibration = data.preprocessing(data.calibrating(step.calibration_samples).inputs)
    return make_scheme(step.model_copy(update={"weight_bits": 8, "ends_8bit": False}), prepared, calibration)


class _OneLayerRounded:
    """The float network, run up to each layer once, and from there on once for each way to round that layer."""

    def __init__(self, step: Quantize, scheme: Scheme, classes: bool, widths: Sequence[int]) -> None:
        self._classes, self._widths = classes, widths
        self._constants = constants_of(scheme.model)
        output = logits_name(scheme.model) if classes else scheme.model.graph.output[0].name
        self._feeds, self._output = Feeds.of_graph(scheme.model), output
        self._calls = with_lifetimes(
            [as_call(node) for node in scheme.model.graph.node], {self._output, *self._constants}
        )
        # Rounding names a layer's output after the activation function that it takes in.
        exact = find_layers(scheme.model.graph.node, weight_names(scheme.model.graph))
        self._rounded_name = {a.output: b.output for a, b in zip(exact, scheme.layers, strict=True)}
        self._activations = {name: RoundedActivation(a) for name, a in scheme.activations.items()}
        self.weights: dict[str, list[Layer]] = {}
        for layer in exact:
            self.weights.setdefault(layer.weight, []).append(layer)
        self.names = dict.fromkeys(first_use(name) for name in self.weights)
        self._codes = {
            (name, bits): quantized_weight(
                to_array(self._constants[name]), layers[0].axis, bits, step.per_channel, step.symmetric
            )
            for name, layers in self.weights.items()
            for bits in widths
        }

    def costs(self, images: Inputs) -> dict[tuple[str, int], float]:
        """{(weight, bits): the sum over images of the divergence}."""
        fed = {name: from_array(array) for name, array in self._feeds(images).items()}
        values = {**self._constants, **fed}
        expected = self._said(self._run(self._calls, values))
        first = {layers[0].output: name for name, layers in self.weights.items()}
        result: defaultdict[tuple[str, int], float] = defaultdict(float)
        for position, call in enumerate(self._calls):
            name = first.get(call.outputs[0])
            if name is not None:
                rest = self._with_rounding(self._calls[position:], self.weights[name])
                for bits in self._widths:
                    weight = from_array(self._codes[name, bits].values())
                    found = self._said(self._run(rest, values | {name: weight}))
                    # What a mask rules out, for a class a share of nothing, is no difference.
                    same = expected.isinf() if self._classes else expected.isinf() & (found == expected)
                    off = torch.where(same, 0.0, expected - found)
                    cost = (expected.exp() * off).sum() if self._classes else off.square().mean(dim=1).sum()
                    result[first_use(name), bits] += float(cost)
            execute([call], values)
        return result

    def _said(self, outputs: Tensor) -> Tensor:
        """What is compared: logarithms of the classes' shares, or values as they are."""
        return F.log_softmax(outputs, dim=1) if self._classes else outputs.flatten(1)

    def _run(self, calls: Sequence[Call], values: dict[str, Tensor]) -> Tensor:
        values = dict(values)
        execute(calls, values)
        return values[self._output]

    def _with_rounding(self, calls: Sequence[Call], layers: Sequence[Layer]) -> list[Call]:
        """The calls with the inputs, for these layers alone, and outputs of these layers rounded."""
        inputs = {layer.output: self._activations.get(layer.data) for layer in layers}
        outputs = {self._rounded_name[layer.output] for layer in layers}
        result = []
        for call in calls:
            rounding = inputs.get(call.outputs[0])
            result.append(call if rounding is None else replace(call, run=_after(rounding, call.run)))
            result += [
                Call(self._activations[name], (name,), (name,))
                for name in call.outputs
                if name in outputs and name in self._activations
            ]
        return result


def _after(rounding: Operator, run: Operator) -> Operator:
    return lambda data, *others: run(rounding(data), *others)


def layer_times(step: Quantize, model: onnx.ModelProto, data: Dataset) -> dict[str, tuple[float, float]]:
    """{weight initialiser of the prepared graph: (float, integer) milliseconds of its kernels for one image, one thread, on this machine}.

    Under "" stand all other kernels of the float network and of the integer one. Medians of ONNX Runtime's own profile; numbers and text
    only, so it can be kept as JSON. Of the step, what `measure_sensitivity` looks at matters, and `format`.
    """
    scheme = _scheme_of_bytes(step, _labelled(prepare(model)), data)
    weights = [first_use(layer.weight) for layer in scheme.layers]
    image = Feeds.of_graph(scheme.model).blank()
    floating, integer = (_kernel_times(graph, image) for graph in (scheme.model, write(scheme, packed=False)))
    times: dict[str, tuple[float, float]] = {"": (floating.pop(None, 0.0), integer.pop(None, 0.0))}
    for i, weight in enumerate(weights):
        before = times.get(weight, (0.0, 0.0))
        times[weight] = (before[0] + floating.get(i, 0.0), before[1] + integer.get(i, 0.0))
    return times


def _labelled(prepared: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose nodes and tensors say which layer they follow, since fused kernels are called after either."""
    model = onnx.ModelProto()
    model.CopyFrom(prepared)
    layers = {layer.output: i for i, layer in enumerate(find_layers(model.graph.node, weight_names(model.graph)))}
    kept = {v.name for v in (*model.graph.input, *model.graph.output)}
    owner: dict[str, int] = {}
    names: dict[str, str] = {}
    for node in model.graph.node:
        followed = next((owner[name] for name in node.input if name in owner), None)
        label = layers.get(node.output[0], followed)
        if node.output[0] in layers:
            node.name = _label(layers[node.output[0]])
        for i, name in enumerate(node.input):
            node.input[i] = names.get(name, name)
        for i, name in enumerate(node.output):
            if label is not None and name:
                owner[name] = label
                names[name] = name if name in kept else f"{_label(label)}{len(names)}"
            node.output[i] = names.get(name, name)
    return model


def _label(layer: int) -> str:
    return f"layer<{layer}>"


_LABEL = re.compile(r"layer<(\d+)>")


def _kernel_times(model: onnx.ModelProto, image: dict[str, Array]) -> dict[int | None, float]:
    """{number of the layer: milliseconds}, None for kernels that are no layer's."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for _ in range(_RUNS):
            session.run(None, image)
        events = json.loads(Path(session.end_profiling()).read_text())
    runs: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs.setdefault((event["name"], event["args"]["op_name"]), []).append(event["dur"] / 1000)
    times: dict[int | None, float] = {}
    for (name, kernel), seen in runs.items():
        found = _LABEL.search(name) if _LAYER_KERNELS.search(kernel) else None
        layer = int(found[1]) if found else None
        # A name may stand for several nodes; each of them ran `_RUNS` times.
        times[layer] = times.get(layer, 0.0) + statistics.median(seen) * len(seen) / _RUNS
    return times
