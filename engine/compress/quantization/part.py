"""A scheme of which some layers stay in float after all, with the codes and scales that the others have: nothing is calibrated anew."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from onnx import numpy_helper

from engine.compress.quantization.qdq_placement import place
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.weights import first_use


def in_float(scheme: Scheme, weights: Collection[str]) -> Scheme:
    """The scheme with the layers of `weights` (by the names that they have in a prepared graph) in float, and the graph's own biases.

    Activations, where any are rounded, are so for integer kernels. What is rounded only beside a layer in float, and has no scale
    therefore, stays exact.
    """
    graph = scheme.model.graph
    stored = {t.name: t for t in graph.initializer}
    # Those that the step states in float have no codes.
    own = {x.weight for x in scheme.layers if first_use(x.weight) in weights or x.weight not in scheme.weights}
    part = replace(scheme, weights={n: codes for n, codes in scheme.weights.items() if n not in own})
    if scheme.activations:
        placement = place(scheme.model, own)
        known = {name: scheme.activations[name] for name in placement.rounded if name in scheme.activations}
        part = replace(
            part,
            nodes=placement.nodes,
            layers=placement.layers,
            activations=known,
            shared={name: source for name, source in placement.shared.items() if name in known},
            limits={name: bounds for name, bounds in placement.limits.items() if name in known},
        )
    biases = {x.output: numpy_helper.to_array(stored[x.bias]).reshape(-1) for x in part.layers if x.bias in stored}
    return replace(part, biases=biases)
