"""Learned rounding: each weight goes up or down such that its layer's outputs change least (AdaRound; Nagel et al. 2020, arXiv:2004.10568).

The objective is AdaRound's, layer by layer, with the inputs that a layer will see once everything before it is rounded. It is quadratic in
the weights, so moments of the inputs are all that is needed of the images, and no gradient descent on relaxed codes: codes are first set
one after the other, each error passed on to the weights still exact (GPTQ; Frantar et al. 2022, arXiv:2210.17323), then each in turn takes
the better of its two values until none changes (coordinate descent; Behdin et al. 2023, arXiv:2309.01885). That is deterministic, has no
learning rate and takes seconds. Biases take up what is left of the mean error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from engine.compress.quantization.codes import code_range
from engine.compress.quantization.grid import storable_bias, storable_scales
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
from engine.cores import one_torch_thread, share_torch_threads
from engine.errors import StepError
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
_PASSES = 20
# It has converged when a pass changes no more than this share of all codes.
_SETTLED = 1e-3
# Codes are set in blocks of so many, and the others learn of a whole block at once: one matrix product instead of many small steps.
_BLOCK = 64
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
    chosen for the first of them. Raises StepError for operators that torch_graph.py does not know.
    """
    simulation = Simulation(scheme).eval()
    layers = {layer.output: layer for layer in scheme.layers}
    learned: dict[str, Codes] = {}
    biases = dict(scheme.biases)
    with torch.no_grad():
        parts = _parts(simulation, scheme, calibration)
        exact, fed = _FloatGraph(scheme, parts), _fed(scheme, parts)
        # Constants once, not for each part; the weights of layers are those that are learned here.
        read = {name for call in simulation.calls if not isinstance(call.run, RoundedLayer) for name in call.inputs}
        start = call_with(simulation.values, parts[0])
        fixed = {name: value for name, value in start.items() if name in read and name not in fed[0]}
        del start
        values = [fixed | some for some in fed]
        between: list[Call] = []
        for call in simulation.calls:
            if not isinstance(call.run, RoundedLayer):
                between.append(call)
                continue
            share_torch_threads()
            layer = layers[call.outputs[0]]
            # Part by part up to the next layer: what lies between two layers is there for one part at a time.
            for some in values:
                execute(between, some)
            exact.run_up_to(layer)
            if layer.weight not in learned:
                data, weight = [some[layer.data] for some in values], exact.constants[layer.weight]
                centred = moves_biases and layer.output in biases
                codes = scheme.weights[layer.weight]
                learned[layer.weight] = _learned(layer, data, exact.products(layer), weight, codes, centred)
                del data
            _run_layer(call, layer, exact if moves_biases else None, learned[layer.weight], biases, values)
            between = []
    return replace(scheme, weights=learned, biases=biases)


def obstacle(scheme: Scheme) -> str | None:
    """Why rounding cannot be learned on a graph, in a few words; None where it can."""
    try:
        Simulation(scheme)
    except StepError as error:
        return str(error).removeprefix("quantize: ")
    return None


def _run_layer(
    call: Call,
    layer: Layer,
    exact: _FloatGraph | None,
    codes: Codes,
    biases: dict[str, Float32],
    values: Sequence[dict[str, Tensor]],
) -> None:
    """Run the rounded layer on all parts; its bias, where it has one, makes up for the mean error against the `exact` graph, if given."""
    weight, run = from_array(codes.values()), operator(layer.node)
    wanted = exact.products(layer) if exact is not None and layer.output in biases else None
    outputs: list[Tensor] = []
    error: Tensor | float = 0.0
    for some in values:
        output: Tensor = run(some[call.inputs[0]], weight)
        for name in call.spent:
            some.pop(name, None)
        if wanted is not None:
            others = [i for i in range(output.ndim) if i != _channels(layer, output)]
            error = error + (next(wanted) - output).sum(others)
        outputs.append(output)
    if layer.output in biases:
        if wanted is not None:
            places = sum(output.numel() for output in outputs) // len(biases[layer.output])
            biases[layer.output] = biases[layer.output] + to_array(torch.as_tensor(error) / places)
        stored = from_array(storable_bias(biases[layer.output], codes.bits))
        shape = [1] * outputs[0].ndim
        shape[_channels(layer, outputs[0])] = -1
        for output in outputs:
            output += stored.reshape(shape)
    if layer.output not in call.spent:
        for some, output in zip(values, outputs, strict=True):
            some[layer.output] = output


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
        self._values = [self.constants | some for some in _fed(scheme, parts)]
        kept = {scheme.model.graph.output[0].name, *self.constants}
        self._calls = iter(with_lifetimes([as_call(node) for node in scheme.model.graph.node], kept))

    def run_up_to(self, layer: Layer) -> None:
        """Compute what the layer reads, for each part in turn; layers in graph order."""
        calls: list[Call] = []
        there = set(self._values[0])
        while layer.data not in there:
            calls.append(next(self._calls))
            there.update(calls[-1].outputs)
        for values in self._values:
            execute(calls, values)

    def products(self, layer: Layer) -> Iterator[Tensor]:
        """What the layer computes here, before its bias and activation function, part by part; after `run_up_to` it."""
        run, weight = operator(layer.node), self.constants[layer.weight]
        return (run(values[layer.data], weight) for values in self._values)


def _parts(simulation: Simulation, scheme: Scheme, images: Inputs) -> list[Tensors]:
    """The images, a few or a fixed batch at a time, as many as `_MEMORY` holds what is kept of in both networks."""
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
    return [from_inputs(used[start : start + size]) for start in range(0, len(used), size)]


def _as_rows(values: Tensor, layer: Layer) -> Tensor:
    """A weight, or what broadcasts against it, as (groups, outputs, inputs)."""
    groups = groups_of(layer)
    return values.movedim(layer.axis, 0).reshape(groups, values.shape[layer.axis] // groups, -1)


def _learned(
    layer: Layer, data: Sequence[Tensor], wanted: Iterable[Tensor], weight: Tensor, codes: Codes, centred: bool
) -> Codes:
    if weight.numel() // weight.shape[layer.axis] > LARGEST_FAN_IN:
        return codes
    return _best_codes(layer, weight, codes, moments(layer, data, wanted, weight, centred))


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
    best = _error(gram[:, None], cross, found * tried).argmin(1, keepdim=True)
    chosen = torch.take_along_dim(found, best, 1)[:, 0] + zero
    new_scale = to_array(torch.take_along_dim(tried, best, 1).flatten()) if per_channel else codes.scale
    moved = chosen.flatten(0, 1).reshape(weight.movedim(layer.axis, 0).shape).movedim(0, layer.axis)
    return replace(codes, codes=np.ascontiguousarray(to_array(moved), np.int16), scale=new_scale)


def _storable(scale: Tensor, bits: int) -> Tensor:
    return from_array(storable_scales(to_array(scale.flatten()), bits)).reshape(scale.shape)


def least_error(
    gram: Tensor, cross: Tensor, below: Tensor, above: Tensor, nearest: Tensor, passes: int = _PASSES
) -> Tensor:
    """Values c that make the error cᵀ gram c - 2 c·cross small, each `below` or `above`, which are the same where a weight is zero.

    `gram` (g, d, d), positive definite; all others and the result (g, o, d). Never worse than `nearest`. `passes`: how often every code is
    looked at again, at most.
    """
    with one_torch_thread():
        found = _descended(gram, cross, _in_sequence(gram, cross, below, above), below + above, passes)
    worse = _error(gram, cross, found) > _error(gram, cross, nearest)
    return torch.where(worse, nearest, found)


def _error(gram: Tensor, cross: Tensor, codes: Tensor) -> Tensor:
    """(g, o, 1)."""
    return ((codes @ gram - 2 * cross) * codes).sum(-1, keepdim=True)


def _in_sequence(gram: Tensor, cross: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """From the best real numbers on, one input after the other is set to the nearer of its codes; those after it make up for its error."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram.double()))
    passing_on = torch.linalg.cholesky(inverse, upper=True)
    best = cross.double() @ inverse
    codes = torch.empty_like(best)
    size = codes.shape[-1]
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        block = slice(start, end)
        # Inputs first: what one step reads and writes lies together in memory, which takes a fraction of the time.
        left, low, high = (_inputs_first(part[..., block].double()) for part in (best, below, above))
        spread, errors, found = passing_on[:, block, block], torch.empty_like(left), torch.empty_like(left)
        for j in range(end - start):
            wanted = left[:, j]
            found[:, j] = torch.where(wanted - low[:, j] <= high[:, j] - wanted, low[:, j], high[:, j])
            errors[:, j] = (wanted - found[:, j]) / spread[:, j, j, None]
            left[:, j + 1 :] -= errors[:, j, None] * spread[:, j, j + 1 :, None]
        codes[..., block] = found.mT
        best[..., end:] -= errors.mT.contiguous() @ passing_on[:, block, end:]
    return codes.to(below.dtype)


def _inputs_first(values: Tensor) -> Tensor:
    """(g, outputs, inputs) -> (g, inputs, outputs), a copy."""
    return values.mT.contiguous()


def _descended(gram: Tensor, cross: Tensor, codes: Tensor, both: Tensor, passes: int) -> Tensor:
    """Codes after as many changes, each for the better, as there are. `both`: the sum of the two values that each may have."""
    codes = codes.clone()
    slope = codes @ gram - cross
    for _ in range(passes):
        changes = 0
        for start in range(0, codes.shape[-1], _BLOCK):
            block = slice(start, start + _BLOCK)
            steps = _set_block(gram[:, block, block], slope[..., block], codes[..., block], both[..., block])
            slope += steps @ gram[:, block]
            changes += int(steps.count_nonzero())
        if changes <= _SETTLED * codes.numel():
            break
    return codes


def _set_block(gram: Tensor, slope: Tensor, codes: Tensor, both: Tensor) -> Tensor:
    """Set a block of codes in place, one input at a time; what was added to them."""
    local, steps = _inputs_first(slope), _inputs_first(both - 2 * codes)
    power = gram.diagonal(dim1=1, dim2=2)[..., None]
    bent, least = steps * power, -1e-6 * power * steps * steps
    for j in range(steps.shape[1]):
        step = steps[:, j]
        gain = step * (bent[:, j] + 2 * local[:, j])
        step = torch.where(gain < least[:, j], step, 0.0)
        steps[:, j] = step
        local[:, j + 1 :] += step[:, None] * gram[:, j, j + 1 :, None]
    taken = _inputs_first(steps)
    codes += taken
    return taken
