"""What is known of recipes before anything runs: about how many bytes they leave, how much they compute, and that they hardly get better.

Pruning says which share of the parameters goes, quantization how many bits are left, and the shipped networks how large students are; so a
large step is expected to do more than a small one, and what has not been tried yet is not taken for a copy of the baseline. How much time
that saves, and what it costs in right answers, are rules of thumb: measurements soon outweigh them (`belief` learns what they leave).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.metrics import COUNTS
from engine.models.catalog import zoo_index
from engine.search.belief import Floats
from engine.search.evidence import Scale
from engine.spec.recipe import Recipe
from engine.spec.steps import Quantize
from engine.spec.torch_steps import CURRENT, SELF, Distill, Prune

_FLOAT_BITS = 32
_OF_MACS = 0.5
"""Latency goes with about the square root of the computations: the rest is memory, and calls of small layers."""
_INTEGER = 0.6
"""Time of a network that computes in integers of 8 bits, as a share of floats'."""
_KEPT = 0.3
"""Log-odds of a right answer that go for each factor e by which the network is smaller."""
_COARSE = 4.0
"""Log-odds that go with weights of b bits: this times 2^-b, the step between two of them."""

_BYTES = frozenset({"size_bytes", "size_zipped_bytes"})
_TIMES = frozenset(
    {"latency_ms", "latency_ratio", "energy_mj", "kwh_per_million", "cost_per_million", "co2e_kg_per_million", "macs"}
)


@dataclass(frozen=True)
class Guess:
    """Natural logarithms of what is left of bytes and of time, and the log-odds that a right answer loses; each 0 for the baseline."""

    bytes: float = 0.0
    time: float = 0.0
    harm: float = 0.0


def guess(recipe: Recipe, source: str) -> Guess:
    """About what a recipe of the network `source` comes to, beside the network itself."""
    params = macs = coarse = 0.0
    dense, bits, integer = 0.0, float(_FLOAT_BITS), False
    for step in recipe.steps:
        if isinstance(step, Distill) and step.student != CURRENT:
            params, macs = _of_student(step, source)
            dense = 0.0
        elif isinstance(step, Prune):
            gone = math.log(max(0.01, 1 - (step.macs_ratio or step.ratio or 0.5)))
            if step.is_smaller:
                params, macs = params + gone, macs + gone
            else:
                dense += gone
        elif isinstance(step, Quantize):
            # Those on average, where layers differ.
            bits, integer = step.mean_bits or step.weight_bits, step.activation_bits <= 8
            coarse = _COARSE * 2.0**-bits * (0.5 if step.method == "qat" else 1.0)
    # Of zeros about half the bytes are saved, where anything is.
    size = params + dense / 2 + math.log(bits / _FLOAT_BITS)
    time = _OF_MACS * macs + (math.log(_INTEGER) if integer else 0.0)
    return Guess(size, time, _KEPT * max(0.0, -params - dense / 2) + coarse)


def _of_student(step: Distill, source: str) -> tuple[float, float]:
    """Logarithms of a student's parameters and computations beside the network's own; its shape alone where one of both is not known."""
    shape = math.log(step.width**2 * step.depth)
    zoo = zoo_index()
    if step.student == SELF or step.student not in zoo or source not in zoo:
        return shape, shape
    student, own = zoo[step.student], zoo[source]
    return shape + math.log(student.params / own.params), shape + math.log(student.macs / own.macs)


@dataclass(frozen=True)
class Guesses:
    """Of many recipes: each (n,)."""

    bytes: Floats
    time: Floats
    harm: Floats

    @classmethod
    def of(cls, recipes: Sequence[Recipe], source: str) -> Guesses:
        """In the order of the recipes."""
        found = [guess(recipe, source) for recipe in recipes]
        return cls(*(np.array([getattr(g, name) for g in found]) for name in ("bytes", "time", "harm")))

    def of_metric(self, scale: Scale) -> Floats:
        """What is expected of a figure on its scale (n,), beside the baseline's; zeros of those that nothing is known of.

        Harm makes what is better when larger less, and an error more: of a small one the logarithm grows as its log-odds do.
        """
        if scale.kind == "size" and scale.key in _BYTES:
            return self.bytes
        if scale.kind == "size" and scale.key in _TIMES:
            return self.time
        if scale.kind == "plain" or scale.key in COUNTS:
            return np.zeros(len(self.harm))
        return -self.harm if scale.maximise else self.harm
