"""Learned rounding: each weight goes up or down such that its layer's outputs change least (AdaRound; Nagel et al. 2020, arXiv:2004.10568).

The objective is AdaRound's, layer by layer, with the inputs that a layer will see once everything before it is rounded. It is quadratic in
the weights, so moments of the inputs are all that is needed of the images, and no gradient descent on relaxed codes: codes are first set
one after the other, each error passed on to the weights still exact (GPTQ; Frantar et al. 2022, arXiv:2210.17323), then each in turn takes
the better of its two values until none changes (coordinate descent; Behdin et al. 2023, arXiv:2309.01885). That is deterministic, has no
learning rate and takes seconds. Biases take up what is left of the mean error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from engine.compress.heap import large_blocks_given_back
from engine.compress.quantization.codes import code_range
from engine.compress.quantization.descent import least_error, squared_error
from engine.compress.quantization.grid import storable_bias, storable_scales
from engine.compress.quantization.held import HELD, Held
from engine.compress.quantization.moments import Moments, groups_of, moments
from engine.compress.quantization.scheme import Codes, Float32, Scheme
from engine.compress.quantization.simulate import RoundedLayer, Simulation
from engine.compress.quantization.torch_graph import (
    Call,
    as_call,
    constants_of,
    execute,
    input_types,
    named_tensors,
    with_lifetimes,
)
from engine.compress.quantization.torch_operators import operator
from engine.compress.quantization.weights import Layer
from engine.compress.torch_device import from_array, from_inputs, to_array
from engine.cores import share_torch_threads
from engine.graph.graph import fixed_batch
from engine.graph.inputs import Inputs, resized
from engine.models.torch_inputs import Tensors
from engine.models.torch_inputs import call as call_with

# Step sizes tried beside the given one, as multiples of it; with many codes there is nothing to gain.
_SCALES = (1.0, 0.85, 1.15)
_FEW_BITS = 5
DAMPING = 0.01
"""A pull towards the float weights, as a share of the inputs' mean power: it decides where the images say nothing."""
LEAST_POWER = 1e-6
"""What an input's mean power counts for at least, so that one that is always zero can be divided by."""
LARGEST_FAN_IN = 8192
"""A layer with more inputs per output than this keeps its codes: their moments would not fit in memory."""
# Bytes of activations kept between two layers, of both networks; images that do not fit are left out.
_MEMORY = 2**29
# Images that are run at a time, at most, and bytes that their activations take meanwhile.
_CHUNK, _PART = 32, 2**26


def learn_rounding(scheme: Scheme, calibration: Inputs, moves_biases: bool = True) -> Scheme:
    """The scheme with codes, scales of channels and, where it `moves_biases`, biases chosen by what they do to each layer's outputs.

    `calibration`: preprocessed images (n, C, H, W), of which as many are used as fit in memory. Every code is one of the two next to
    weight / scale, and weights of zero stay zero. The same scheme and images give the same result. Weights that several layers share are
    chosen for the first of them. What torch has no operator for, ONNX Runtime computes.
    """
    layers = {layer.output: layer for layer in scheme.layers}
    with torch.no_grad(), ExitStack() as stack:
        simulation = Simulation(scheme, learns=False).eval()
        last = max((i for i, call in enumerate(simulation.calls) if isinstance(call.run, RoundedLayer)), default=-1)
        rounded = {i for i, call in enumerate(simulation.calls) if isinstance(call.run, RoundedLayer)}
        # Weights are chosen here, so that the layers' own are not kept.
        calls = [
            replace(call, run=operator(layers[call.outputs[0]].node)) if i in rounded else call
            for i, call in enumerate(simulation.calls[: last + 1])
        ]
        parts, held = _parts(simulation, scheme, calibration)
        if held > HELD:
            stack.enter_context(large_blocks_given_back())
        exact, fed = _FloatGraph(scheme, parts), _fed(scheme, parts)
        read = {name for i, call in enumerate(calls) if i not in rounded for name in call.inputs}
        start = call_with(simulation.values, parts[0])
        fixed = {name: exact.same(name, value) for name, value in start.items() if name in read and name not in fed[0]}
        del start, simulation, parts
        values = Held(fed, fixed)
        del fed, fixed
        learned: dict[str, Codes] = {}
        biases = dict(scheme.biases)
        for i, call in enumerate(calls):
            if i not in rounded:
                values.then([call])
                continue
            share_torch_threads()
            layer = layers[call.outputs[0]]
            # Part by part up to the next layer: what lies between two layers is there for one part at a time.
            values.settle()
            values.to_come(calls[i:])
            exact.run_up_to(layer)
            if layer.weight not in learned:
                centred = moves_biases and layer.output in biases
                codes = scheme.weights[layer.weight]
                learned[layer.weight] = _learned(layer, values, exact, codes, centred)
            _run_layer(call, layer, exact if moves_biases else None, learned[layer.weight], biases, values)
    return replace(scheme, weights=learned, biases=biases)


def too_wide(scheme: Scheme) -> str | None:
    """Which layers keep the nearest codes since they sum up too many inputs, in words; None for none."""
    axes = {layer.weight: layer for layer in scheme.layers}
    wide = [axes[n] for n, c in scheme.weights.items() if c.codes.size // c.codes.shape[c.axis] > LARGEST_FAN_IN]
    if not wide:
        return None
    nodes = [f"{layer.node.op_type} {layer.node.name or layer.output!r}" for layer in wide]
    named = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
    return f"Rounded to the nearest, not as learned, for more than {LARGEST_FAN_IN} inputs to each output: {named}."


def _run_layer(
    call: Call,
    layer: Layer,
    exact: _FloatGraph | None,
    codes: Codes,
    biases: dict[str, Float32],
    values: Held,
) -> None:
    """Run the rounded layer on all parts; its bias, where it has one, makes up for the mean error against the `exact` graph, if given."""
    weight = from_array(codes.values())
    wanted = exact.products(layer) if exact is not None and layer.output in biases else None
    outputs: list[Tensor] = []
    error: Tensor | float = 0.0
    count = ndim = channels = 0
    held = True
    for part, data in enumerate(values.read(layer.data)):
        output: Tensor = call.run(data, weight)
        del data
        if part == 0:
            ndim, channels, held = output.ndim, _channels(layer, output), values.may_add(output, call.spent)
        if wanted is not None:
            others = [i for i in range(ndim) if i != channels]
            error = error + (next(wanted) - output).sum(others)
        count += output.numel()
        if held:
            values.drop(part, call.spent)
            outputs.append(output)
    stored: Tensor | None = None
    if layer.output in biases:
        if wanted is not None:
            places = count // len(biases[layer.output])
            biases[layer.output] = biases[layer.output] + to_array(torch.as_tensor(error) / places)
        shape = [1] * ndim
        shape[channels] = -1
        stored = from_array(storable_bias(biases[layer.output], codes.bits)).reshape(shape)
    if not held:
        values.then([Call(_fixed(call, weight, stored), (layer.data,), call.outputs, call.spent)])
        return
    if stored is not None:
        for output in outputs:
            output += stored
    if layer.output not in call.spent:
        values.add(layer.output, outputs)


def _fixed(call: Call, weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """A layer whose weight and bias are chosen, data -> its output."""

    def run(data: Tensor) -> Tensor:
        output: Tensor = call.run(data, weight)
        return output if bias is None else output.add_(bias)

    return run


def _channels(layer: Layer, output: Tensor) -> int:
    """The axis of a layer's output that its bias lies along."""
    return 1 if layer.node.op_type == "Conv" else output.ndim - 1


def _fed(scheme: Scheme, parts: Sequence[Tensors]) -> list[dict[str, Tensor]]:
    """What either network is fed, by name, for each part."""
    types = input_types(scheme.model)
    split = [((), part) if isinstance(part, dict) else ((part,), {}) for part in parts]
    return [named_tensors(types, images, named) for images, named in split]


class _FloatGraph:
    """The float network on the parts that the images come in, run as far as it is needed."""

    def __init__(self, scheme: Scheme, parts: Sequence[Tensors]) -> None:
        self.constants = constants_of(scheme.model)
        fed = _fed(scheme, parts)
        self._there = {*fed[0], *self.constants}
        self._values = Held(fed, self.constants)
        kept = {scheme.model.graph.output[0].name, *self.constants}
        self._calls = deque(with_lifetimes([as_call(node, scheme.model) for node in scheme.model.graph.node], kept))

    def same(self, name: str, value: Tensor) -> Tensor:
        """A constant of the other network: this one's where they are the same, so that one is kept."""
        mine = self.constants.get(name)
        return mine if mine is not None and mine.dtype == value.dtype and torch.equal(mine, value) else value

    def run_up_to(self, layer: Layer) -> None:
        """Compute what the layer reads, for each part in turn; layers in graph order."""
        while layer.data not in self._there:
            call = self._calls.popleft()
            self._values.then([call])
            self._there.update(call.outputs)
        self._values.settle()
        self._values.to_come(self._calls)
        read = {name for call in self._calls for name in call.inputs}
        self.constants = {name: value for name, value in self.constants.items() if name in read}

    def products(self, layer: Layer) -> Iterator[Tensor]:
        """What the layer computes here, before its bias and activation function, part by part; after `run_up_to` it."""
        run, weight = operator(layer.node), self.constants[layer.weight]
        return (run(data, weight) for data in self._values.read(layer.data))


def _parts(simulation: Simulation, scheme: Scheme, images: Inputs) -> tuple[list[Tensors], int]:
    """The images, a few or a fixed batch at a time, as many as `_MEMORY` holds what is kept of in both networks; and what that takes, in
    bytes.
    """
    batch = fixed_batch(scheme.model)
    if batch:
        images = resized(images, max(batch, len(images) // batch * batch))
    some = images[: batch or 1]
    values = call_with(simulation.values, from_inputs(some))
    constant, most, kept = set(values), 1, 1
    for call in simulation.calls:
        here = sum(v.nbytes for name, v in values.items() if name not in constant)
        kept = max(kept, here) if isinstance(call.run, RoundedLayer) else kept
        execute([call], values)
        most = max(most, sum(v.nbytes for name, v in values.items() if name not in constant))
    fitting = max(1, _MEMORY // (2 * kept))
    used, size = images[: fitting * len(some)], batch or max(1, min(_CHUNK, _PART // most))
    parts = [from_inputs(used[start : start + size]) for start in range(0, len(used), size)]
    return parts, kept * len(used) // len(some)


def _as_rows(values: Tensor, layer: Layer) -> Tensor:
    """A weight, or what broadcasts against it, as (groups, outputs, inputs)."""
    groups = groups_of(layer)
    return values.movedim(layer.axis, 0).reshape(groups, values.shape[layer.axis] // groups, -1)


def _learned(layer: Layer, values: Held, exact: _FloatGraph, codes: Codes, centred: bool) -> Codes:
    weight = exact.constants[layer.weight]
    if weight.numel() // weight.shape[layer.axis] > LARGEST_FAN_IN:
        return codes

    def seen(exactly: bool = False) -> Moments:
        data, wanted = values.read(layer.data), exact.products(layer)
        return moments(layer, data, wanted, weight, centred, values.length(layer.data), exactly)

    found = seen()
    return _best_codes(layer, weight, codes, seen(exactly=True) if found.drowned else found)


def _best_codes(layer: Layer, weight: Tensor, codes: Codes, seen: Moments) -> Codes:
    """The codes of least output error, and of a few scales the one that each channel does best with."""
    rows, per_channel = _as_rows(weight, layer), codes.scale.ndim == 1
    scale, zero = (
        from_array(v.astype(np.float32)).expand(weight.shape[layer.axis]).reshape(*rows.shape[:2], 1)
        for v in (codes.scale, codes.zero_point)
    )
    damping = DAMPING * seen.gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=LEAST_POWER).reshape(-1, 1, 1)
    gram = seen.gram + damping * torch.eye(rows.shape[-1], device=rows.device)
    cross = (seen.cross + damping * rows)[:, None]
    shares = _SCALES if codes.bits <= _FEW_BITS and per_channel else _SCALES[:1]
    tried = torch.stack([scale if share == 1 else _storable(scale * share, codes.bits) for share in shares], 1)
    low, high = (end - zero for end in code_range(codes.bits, codes.symmetric))
    # (groups, scales, outputs, inputs), where all scales of a group are so many more outputs to the descent.
    ends = [end[:, None].expand_as(tried).flatten(1, 2) for end in (low, high)]
    exact = (rows[:, None] / tried).flatten(1, 2)
    below, above, nearest = (torch.clamp(found, *ends) for found in (exact.floor(), exact.ceil(), exact.round()))
    flat = least_error(gram, (cross / tried).flatten(1, 2), below, above, nearest)
    found = flat.reshape(*tried.shape[:3], -1)
    best = squared_error(gram[:, None], cross, found * tried).argmin(1, keepdim=True)
    chosen = torch.take_along_dim(found, best, 1)[:, 0] + zero
    new_scale = to_array(torch.take_along_dim(tried, best, 1).flatten()) if per_channel else codes.scale
    moved = chosen.flatten(0, 1).reshape(weight.movedim(layer.axis, 0).shape).movedim(0, layer.axis)
    return replace(codes, codes=np.ascontiguousarray(to_array(moved), np.int16), scale=new_scale)


def _storable(scale: Tensor, bits: int) -> Tensor:
    return from_array(storable_scales(to_array(scale.flatten()), bits)).reshape(scale.shape)
