"""Bias correction: what rounding shifts the mean of a channel by is taken off its bias.

Rounded weights make errors that do not average out over a channel's inputs, which are rarely centred. Layer by layer, in graph order and
with all layers before already corrected, the mean of each channel over calibration images is brought back to the float network's (Nagel et
al. 2019, arXiv:1906.04721, section 4.2, with means observed rather than derived).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from engine.compress.quantization.calibrate import runs, squared_distance
from engine.compress.quantization.kinds import limit_codes
from engine.compress.quantization.others import other_values
from engine.compress.quantization.scheme import Float32, Scheme
from engine.compress.quantization.weights import Layer, compared_tensors
from engine.graph.graph import fixed_batch
from engine.graph.inputs import Feeds, Inputs, resized
from engine.graph.one_node import run_node

Float64 = npt.NDArray[np.float64]

_IMAGES = 128
# Bytes of the largest tensor for all images; so many are kept at a time as the graph has branches.
_LARGEST_BYTES = 128 * 2**20


def correct_biases(scheme: Scheme, calibration: Inputs) -> Scheme:
    """The scheme with biases that restore channel means on `calibration`, of which 128 images are used at most.

    Means are those of the float network; or, where noise has grown so strong that these would drown what signal is left, those that the
    layer's own float weights give on the rounded input: whichever brings the network's output closer to the float network's, or the scheme
    as it was if neither does. Convolutions and Gemms that have no bias get one. Raises StepError for images of the wrong shape.
    """
    layers = [x for x in scheme.layers if x.weight in scheme.weights and x.node.op_type in ("Conv", "Gemm")]
    if not layers:
        return scheme
    written = {(n.op_type, *n.input): n.output[0] for n in scheme.model.graph.node}
    # What the layer writes in the float graph, before activation functions that rounding does.
    exact = {layer.output: written[(layer.node.op_type, *layer.node.input)] for layer in layers}
    images = _few(scheme, calibration, list(exact.values()))
    means, wanted = _float_means(scheme, list(exact.values()), images)
    best, least = scheme.biases, squared_distance(_walk(scheme, images, {}, set())[1], wanted)
    targets = {layer: means[name] for layer, name in exact.items()}
    for known, own in ((targets, set[str]()), ({}, set(targets))):
        biases, found = _walk(scheme, images, known, own)
        if (distance := squared_distance(found, wanted)) < least:
            best, least = biases, distance
    return replace(scheme, biases=best)


def _few(scheme: Scheme, images: Inputs, tensors: list[str]) -> Inputs:
    """As many images as memory allows, as many as the graph insists on if it does."""
    fixed = fixed_batch(scheme.model)
    if fixed:
        return resized(images, fixed)
    sizes = next(runs(scheme.model, tensors, images[:1]))
    return images[: int(np.clip(_LARGEST_BYTES // max(v.nbytes for v in sizes), 8, _IMAGES))]


def _mean(values: Float32) -> Float64:
    """(n, channels, …) -> (channels,)."""
    mean: Float64 = values.mean(axis=(0, *range(2, values.ndim)), dtype=np.float64)
    return mean


def _float_means(scheme: Scheme, tensors: list[str], images: Inputs) -> tuple[dict[str, Float64], Float32]:
    """The float network's channel means, and what it is compared by on the images, end to end."""
    totals = dict.fromkeys(tensors, np.zeros(1))
    answers, last = list[list[Float32]](), _compared(scheme)
    for batch in runs(scheme.model, [*tensors, *last], images):
        values, outputs = batch[: len(tensors)], batch[len(tensors) :]
        answers.append(outputs)
        for name, value in zip(tensors, values, strict=True):
            totals[name] = totals[name] + _mean(value) * len(value)
    return {name: total / len(images) for name, total in totals.items()}, _end_to_end(
        [np.concatenate(parts) for parts in zip(*answers, strict=True)]
    )


def _compared(scheme: Scheme) -> list[str]:
    """The graph's first output, or what its last layers give where post-processing picks how many values there are."""
    tensors = compared_tensors(scheme.model, scheme.layers)
    return tensors[:1] if tensors[0] == scheme.model.graph.output[0].name else tensors


def _end_to_end(values: list[Float32]) -> Float32:
    return values[0] if len(values) == 1 else np.concatenate([value.ravel() for value in values])


def _walk(
    scheme: Scheme, images: Inputs, means: dict[str, Float64], own: set[str]
) -> tuple[dict[str, Float32], Float32]:
    """Run the rounded network node by node, each layer's bias corrected before the next layer sees its output.

    `means`: what layers are to have, by their output; `own`: layers that are to have what their float weights give. Returns the biases and
    what the network is compared by.
    """
    biases = dict(scheme.biases)
    layers = {layer.output: layer for layer in scheme.layers}
    constants = {t.name: numpy_helper.to_array(t) for t in scheme.model.graph.initializer} | other_values(scheme)
    results = _compared(scheme)
    fed = Feeds.of_graph(scheme.model)(images)
    values = {name: _rounded(scheme, name, array) for name, array in fed.items()}
    last = {name: i for i, node in enumerate(scheme.nodes) for name in node.input}
    for i, node in enumerate(scheme.nodes):
        layer = layers.get(node.output[0])
        outputs = _run(scheme, node, values | constants | _changed(scheme, layer, biases))
        if layer is not None and layer.output in means.keys() | own:
            mean = means.get(layer.output)
            wanted = _mean(_run(scheme, node, values | constants)[0]) if mean is None else mean
            shift = (wanted - _mean(outputs[0])).astype(np.float32)
            biases[layer.output] = biases.get(layer.output, np.zeros_like(shift)) + shift
            outputs[0] = outputs[0] + shift.reshape(-1, *[1] * (outputs[0].ndim - 2))
        named = zip(filter(None, node.output), outputs, strict=True)
        values |= {name: _rounded(scheme, name, value) for name, value in named}
        for name in {*node.input, *node.output} & values.keys():
            if last.get(name, i) <= i and name not in results:
                del values[name]
    return biases, _end_to_end([values[name] for name in results])


def _changed(scheme: Scheme, layer: Layer | None, biases: dict[str, Float32]) -> dict[str, npt.NDArray[Any]]:
    """The rounded weight and the bias of a layer, by the names under which its node reads them."""
    if layer is None:
        return {}
    weight = {layer.weight: scheme.weights[layer.weight].values()} if layer.weight in scheme.weights else {}
    return weight | ({layer.bias: biases[layer.output]} if layer.bias else {})


def _run(scheme: Scheme, node: onnx.NodeProto, known: dict[str, npt.NDArray[Any]]) -> list[Float32]:
    """One node's outputs in ONNX Runtime, those that it names."""
    return run_node(scheme.model, node, known)


def _rounded(scheme: Scheme, tensor: str, values: Float32) -> Float32:
    """Values as the rest of the rounded network reads them."""
    activation = scheme.activations.get(tensor)
    if activation is None:
        return values
    codes, limits = activation.codes(values), limit_codes(scheme, tensor)
    if limits is not None:
        codes = np.minimum(codes, limits)
    return (codes - activation.zero_point).astype(np.float32) * activation.scale
