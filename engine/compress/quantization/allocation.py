"""Mixed precision: which layer gets how many bits, or stays in float, under a budget; and the bits that a step states outright.

All of it is one problem, a knapsack with several choices for each layer (Sinha & Zoltners 1979, doi:10.1287/opre.27.3.503), solved exactly
by dynamic programming over a budget in whole units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt
import onnx

from engine.compress.quantization.others import worth_rounding
from engine.compress.quantization.weights import Layer, find_layers, layer_bits, weight_names
from engine.errors import StepError
from engine.spec.steps import Quantize

Sensitivity = Mapping[str, Mapping[str, float]]
"""{weight initialiser: {bits, as text: what rounding that layer alone costs}}, as sensitivity.py measures it."""
Times = Mapping[str, tuple[float, float]]
"""{weight initialiser: (float, integer) kernel milliseconds}, and under "" all other kernels of the two networks."""

SMALLEST_BITS = 2
FLOAT_BITS = 32
# What layers of a step that says nothing of it share out: so much more than with as many bits each, up to what no CPU's sums overflow with.
# Beyond, divergence fell more slowly than bytes grew on the built-in networks.
_SHARED_OUT, _SHARED_MOST = 1.05, 7
# Of two kernels' times so much is no difference.
_LEAST_MS = 1e-4
# The most units that a budget is divided into. Beyond, units are coarser and sizes rounded up: the budget holds, the optimum may be missed
# by what rounding adds, a layer's worth of 1 / _UNITS.
_UNITS = 200_000


def choose(costs: Sequence[Sequence[float]], weights: Sequence[Sequence[int]], capacity: int) -> list[int] | None:
    """One option of each item such that Σ weight <= capacity and Σ cost is least; None where nothing fits.

    `weights` are whole numbers of at least 0. Time and memory grow with items × options × capacity.
    """
    if capacity < 0:
        return None
    least: npt.NDArray[np.float64] = np.zeros(capacity + 1)  # by capacity used at most
    picks: list[npt.NDArray[np.int8]] = []
    for options, sizes in zip(costs, weights, strict=True):
        best = np.full(capacity + 1, np.inf)
        pick = np.zeros(capacity + 1, np.int8)
        for option, (cost, size) in enumerate(zip(options, sizes, strict=True)):
            if size > capacity:
                continue
            total = least[: capacity + 1 - size] + cost
            better = total < best[size:]
            best[size:][better], pick[size:][better] = total[better], option
        least = best
        picks.append(pick)
    if not np.isfinite(least[capacity]):
        return None
    chosen, left = [], capacity
    for pick, sizes in zip(reversed(picks), reversed(weights), strict=True):
        option = int(pick[left])
        chosen.append(option)
        left -= sizes[option]
    return chosen[::-1]


def allocate_bits(
    sensitivity: Sensitivity,
    sizes: Mapping[str, int],
    mean_bits: float,
    most: int,
    fixed: Mapping[str, int],
    least: int = SMALLEST_BITS,
) -> dict[str, int]:
    """Bits for each weight in `sizes`, {name: number of weights}: Σ sensitivity is least under Σ size × bits <= mean_bits × Σ size.

    Each gets `least` to `most`, or what `fixed` says. Raises StepError where the budget is too small.
    """
    names = list(sizes)
    options = [[fixed[n]] if n in fixed else list(range(least, most + 1)) for n in names]
    costs = [
        [0.0] if name in fixed else [float(sensitivity[name][str(bits)]) for bits in bit_options]
        for name, bit_options in zip(names, options, strict=True)
    ]
    unit = max(math.gcd(*sizes.values()), math.ceil(mean_bits * sum(sizes.values()) / _UNITS))
    weights = [[-(-sizes[n] * bits // unit) for bits in opts] for n, opts in zip(names, options, strict=True)]
    capacity = math.floor(mean_bits * sum(sizes.values()) / unit + 1e-9)
    chosen = choose(costs, weights, capacity)
    if chosen is None:
        needed = sum(sizes[n] * opts[0] for n, opts in zip(names, options, strict=True)) / sum(sizes.values())
        raise StepError(
            f"quantize: mean_bits {mean_bits:g} cannot be reached, the layers need at least {needed:.2f} bits on average "
            "(first and last layer, and those under `layers`, have theirs); use more, or ends_8bit false"
        )
    return {name: opts[i] for name, opts, i in zip(names, options, chosen, strict=True)}


def allocate_float(
    costs: Mapping[str, float], times: Times, max_latency: float, fixed: Mapping[str, bool]
) -> dict[str, bool]:
    """Which layers stay in float, {weight: True}: Σ cost of the others is least while the time allows.

    `costs`: what an integer layer costs; `max_latency`: the share of the float network's time that may be used; `fixed`: choices that
    are made already. Raises StepError where even the fastest choice takes longer.
    """
    names = list(costs)
    options = [[fixed[n]] if n in fixed else [False, True] for n in names]
    whole = sum(floating for floating, _ in times.values())
    unit = whole / _UNITS
    others = times[""][1]
    weights = [
        [math.ceil(times[n][0 if f else 1] / unit) for f in opts] for n, opts in zip(names, options, strict=True)
    ]
    chosen = choose(
        [[0.0 if f else costs[n] for f in opts] for n, opts in zip(names, options, strict=True)],
        weights,
        math.floor((max_latency * whole - others) / unit + 1e-9),
    )
    if chosen is None:
        fastest = (sum(min(w) for w in weights) * unit + others) / whole
        raise StepError(
            f"quantize: max_latency {max_latency:g} cannot be reached, the fastest choice of layers takes {fastest:.2f} of the float "
            "network's time on this machine; use more"
        )
    return {name: opts[i] for name, opts, i in zip(names, options, chosen, strict=True)}


def stated_bits(step: Quantize, layers: Sequence[Layer]) -> dict[str, int]:
    """What `step.layers` says, {weight: bits}; layers go by their node's name, as tables show it.

    Raises StepError, in one line, for a name that the network does not have, for bits that no layer can have, and where layers that share
    a weight are to differ.
    """
    known = {layer.node.name or layer.output: layer.weight for layer in layers}
    bits: dict[str, int] = {}
    for name, wanted in step.stated_layers.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"its layers are {_listed(list(known))}"
            raise StepError(f"quantize: layers names {name!r}, which the network does not have; {hint}")
        if not SMALLEST_BITS <= wanted <= 8 and wanted != FLOAT_BITS:
            raise StepError(f"quantize: layers gives {name!r} {wanted} bits; use 2 to 8, or 32 for float")
        if bits.setdefault(known[name], wanted) != wanted:
            raise StepError(
                f"quantize: layers gives {name!r} {wanted} bits, but a layer that shares its weights {bits[known[name]]}"
            )
    return bits


def _listed(names: list[str], shown: int = 12) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def mixed_bits(
    step: Quantize, prepared: onnx.ModelProto, sensitivity: Sensitivity | None = None, times: Times | None = None
) -> dict[str, int]:
    """Bits for every weight of a graph that `prepare` made, {initialiser: bits}, 32 for layers that stay in float.

    Follows `layers`, then `ends_8bit`, then `mean_bits` or `float_layers` (need `sensitivity`) or `max_latency` (needs both), or what the
    step shares out by itself, if there is a `sensitivity`. Raises StepError as the functions above do.
    """
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    stated = stated_bits(step, layers)
    usual = layer_bits(layers, step.weight_bits, bool(step.ends_8bit))
    if step.mean_bits is not None:
        if sensitivity is None:
            raise ValueError("mean_bits needs sensitivity")
        ends = {layers[0].weight, layers[-1].weight} if step.ends_8bit else set()
        fixed = dict.fromkeys(ends, 8) | stated
        return allocate_bits(sensitivity, weight_sizes(prepared, layers), step.mean_bits, step.weight_bits, fixed)
    # Where one layer's rounding makes answers infinite, nothing is told apart by harm.
    finite = all(math.isfinite(cost) for costs in (sensitivity or {}).values() for cost in costs.values())
    if step.shares_out_bits and sensitivity and finite:
        sizes = weight_sizes(prepared, layers)
        plain = sum(size * usual[name] for name, size in sizes.items()) / sum(sizes.values())
        wide = {name: bits for name, bits in usual.items() if bits > _SHARED_MOST}
        costs_of = _of_every_width(sensitivity, step.weight_bits)
        return allocate_bits(costs_of, sizes, _SHARED_OUT * plain, _SHARED_MOST, wide, step.weight_bits - 1)
    if step.max_latency is not None:
        if sensitivity is None or times is None:
            raise ValueError("max_latency needs sensitivity and times")
        usual |= stated
        costs = {name: float(sensitivity[name][str(bits)]) for name, bits in usual.items() if bits != FLOAT_BITS}
        costs |= {name: 0.0 for name, bits in usual.items() if bits == FLOAT_BITS}
        in_float = allocate_float(costs, times, step.max_latency, {n: b == FLOAT_BITS for n, b in stated.items()})
        return {name: FLOAT_BITS if in_float[name] else bits for name, bits in usual.items()}
    if step.float_layers is not None:
        if sensitivity is None:
            raise ValueError("float_layers needs sensitivity")
        return most_in_float(usual | stated, ranked(sensitivity, usual, stated), step.float_layers)
    nothing = set((usual | stated).values()) == {FLOAT_BITS} and not worth_rounding(
        prepared, usual, step.weight_bits, {}
    )
    if nothing:
        raise StepError(
            "quantize: layers leaves every layer in float; give some of them 2 to 8 bits, or leave the step out"
        )
    return usual | stated


def _of_every_width(sensitivity: Sensitivity, bits: int) -> Sensitivity:
    """Costs of all widths from one that was measured: the power of rounding's noise is a quarter with each bit more.

    Bits that are shared out so harm hardly more than by costs that were measured for each width, which takes several times as long.
    """
    widths = range(SMALLEST_BITS, _SHARED_MOST + 1)
    return {name: {str(n): costs[str(bits)] * 4.0 ** (bits - n) for n in widths} for name, costs in sensitivity.items()}


def shared_out(bits: Mapping[str, int]) -> list[str]:
    """What `Quantized.chosen` says where the step shared out bits by itself; nothing where all layers have the same."""
    return [f"layers in {min(bits.values())} to {max(bits.values())} bits"] if len(set(bits.values())) > 1 else []


def ranked(
    sensitivity: Sensitivity, bits: Mapping[str, int], stated: Mapping[str, int], times: Times | None = None
) -> list[str]:
    """Weights of layers whose bits are not stated, the one that loses most with its `bits` first; with `times` the one that loses most for
    each millisecond that it saves: what saves none costs a tenth of a microsecond.
    """

    def harm(name: str) -> float:
        lost = float(sensitivity[name][str(bits[name])])
        return lost if times is None else lost / max(times[name][0] - times[name][1], _LEAST_MS)

    return sorted((name for name in bits if name not in stated), key=lambda name: -harm(name))


def most_in_float(bits: Mapping[str, int], order: Sequence[str], count: int) -> dict[str, int]:
    """The bits with the first `count` of the order in float. Raises StepError where there are no more than so many layers."""
    if count >= len(order):
        raise StepError(
            f"quantize: float_layers {count} leaves none of the {len(order)} layers to be quantized; use less, or leave the step out"
        )
    return dict(bits) | dict.fromkeys(order[:count], FLOAT_BITS)


def by_layer(prepared: onnx.ModelProto, bits: Mapping[str, int]) -> dict[str, int]:
    """Bits by weight -> bits by layer, in graph order and under the names that `layers` of a step takes."""
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    return {layer.node.name or layer.output: bits[layer.weight] for layer in layers}


def weight_sizes(prepared: onnx.ModelProto, layers: Sequence[Layer]) -> dict[str, int]:
    """{weight initialiser: number of weights}, in graph order."""
    stored = {t.name: math.prod(t.dims) for t in prepared.graph.initializer}
    return {layer.weight: stored[layer.weight] for layer in layers}
