"""Few bits shared out by the layers' harm, or as many in each: whichever answers calibration samples closer to the float network.

The harm of one layer alone, rounded to the nearest, is no promise for all of them as learned (EfficientNet-Lite0 diverged more with bits
shared out so), so both networks are made and held side by side. A file that is much larger is not worth it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from scipy.special import logsumexp

from engine.compress.quantization.allocation import shared_out
from engine.compress.quantization.calibrate import runs, squared_distance
from engine.compress.quantization.weights import compared_tensors, find_layers, weight_names
from engine.compress.quantize import Quantized, prepare, quantized
from engine.graph.graph import gives_shares
from engine.graph.inputs import Array, Inputs
from engine.spec.steps import Quantize

# Samples on which the two are compared.
_COMPARED = 128
# A file with as many bits in each layer is at most so much smaller. In a network of a few kilobytes the unpacking of a further width takes
# more than narrower weights save.
_MOST_BYTES = 1.1


def better_shared(
    step: Quantize, model: onnx.ModelProto, calibration: Inputs, bits: Mapping[str, int] | None, classes: bool
) -> tuple[Quantized, bool]:
    """The quantized network, and whether its layers have `bits`, as of `mixed_bits`; without a step that shares them out by itself they do.

    Other arguments and errors as of `quantized`. The measure is the divergence of classes' shares from the float network's, in nats; of
    outputs that are no `classes`, their squared distance. (By that EfficientNet-Lite0 would have been given the worse of the two.)
    """
    done = quantized(step, model, calibration, bits)
    if not (step.shares_out_bits and bits and len(set(bits.values())) > 1):
        return done, True
    alike = quantized(step, model, calibration)
    if done.model.ByteSize() > _MOST_BYTES * alike.model.ByteSize():
        return alike, False
    samples = calibration[: min(_COMPARED, step.calibration_samples)]
    floating = prepare(model)
    outputs = [output.name for output in floating.graph.output]
    if compared_tensors(floating, find_layers(floating.graph.node, weight_names(floating.graph))) != outputs:
        return alike, False  # how many values there are depends on what they are
    if not _distance(done.model, floating, samples, classes) < _distance(alike.model, floating, samples, classes):
        return alike, False
    return replace(done, chosen=(*done.chosen, *shared_out(bits))), True


def _distance(model: onnx.ModelProto, floating: onnx.ModelProto, samples: Inputs, classes: bool) -> float:
    names = [output.name for output in floating.graph.output]
    pairs = zip(runs(floating, names, samples), runs(model, names, samples), strict=True)
    if not classes:
        return sum(squared_distance(b, a) for one, other in pairs for a, b in zip(one, other, strict=True))
    shares, total = gives_shares(floating), 0.0
    for one, other in pairs:
        p, q = (_logarithms(values[0], shares) for values in (one, other))
        # What a mask rules out, for a class a share of nothing, is no difference.
        total += float((np.exp(p) * np.subtract(p, q, out=np.zeros_like(p), where=~np.isinf(p))).sum())
    return total


def _logarithms(answers: Array, shares: bool) -> Array:
    """Logarithms of the classes' shares, (n, classes) float64, from shares or from logits."""
    flat = answers.reshape(len(answers), -1).astype(np.float64)
    return np.log(np.maximum(flat, 1e-12)) if shares else flat - logsumexp(flat, axis=1, keepdims=True)
