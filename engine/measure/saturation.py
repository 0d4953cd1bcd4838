"""Sums of uint8 × int8 products as x86 kernels without VNNI add them: in pairs of 16 bits, which can saturate.

ONNX Runtime's matrix kernels (MLAS) multiply uint8 activations and int8 weights with `vpmaddubsw` on AVX2, and on AVX-512 without VNNI: two
neighbouring products are added in int16, which saturates at -32768 and 32767, before the sums are widened to int32. What of it differs
from exact arithmetic is the *excess*; everything else about a layer is exact.

A pair can leave int16 only where its weights have one sign and add up to 129 or more, and where both codes are large. With weights of 7
bits the largest pair is 2 × 255 × 64 = 32640, so that they never saturate: the "reduced range". Which products are neighbours:
`engine/measure/integer_nodes.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LOW, HIGH = -32768, 32767
"""The range of int16, in which pairs are added."""
_LARGEST_CODE = 255
# Numbers that are held at a time while pairs are added.
_BLOCK = 2**24

Integers = npt.NDArray[np.integer[Any]]
Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LayerSaturation:
    """One integer layer: the share of its pair sums that saturated, and of its outputs that came out different for it.

    `possible`: whether any image could make a pair of its weights saturate.
    """

    name: str
    possible: bool
    saturated: float
    outputs_changed: float


@dataclass(frozen=True)
class _Pair:
    """Two neighbouring weights of those outputs whose pair could saturate: rows 2j and 2j + 1, (outputs, 1) each.

    `least`: below this sum of the two codes none of them does.
    """

    first: int
    outputs: Integers
    weights: tuple[Integers, Integers]
    least: int


class PairedWeights:
    """Weights (K, outputs) of -128 .. 127, ordered as the kernel sums them; an odd last one stands alone and cannot saturate."""

    def __init__(self, weights: Integers) -> None:
        self.inner, self.outputs = weights.shape
        whole = weights[: self.inner // 2 * 2].astype(np.int32)
        positive, negative = (
            np.clip(whole, *ends).reshape(-1, 2, self.outputs).sum(1) for ends in ((0, 127), (-128, 0))
        )
        risky = (positive * _LARGEST_CODE > HIGH) | (negative * _LARGEST_CODE < LOW)
        self._pairs = [
            self._pair(whole, 2 * int(j), np.flatnonzero(risky[j])) for j in np.flatnonzero(risky.any(axis=1))
        ]

    @staticmethod
    def _pair(whole: Integers, first: int, outputs: Integers) -> _Pair:
        two = whole[first : first + 2, outputs]
        # a · w0 + b · w1 reaches 32768 only where (a + b) · max |w| does.
        least = -(-(HIGH + 1) // int(np.abs(two).max()))
        return _Pair(first, outputs[:, None], (two[0][:, None], two[1][:, None]), least)

    @property
    def possible(self) -> bool:
        """Whether any codes could make a pair saturate."""
        return bool(self._pairs)

    def excess(self, codes: Callable[[int], Codes], places: int) -> tuple[npt.NDArray[np.int32], int]:
        """What saturation adds to sums of products, (outputs, places), and how many pairs saturated.

        `codes(k)` are those that weights k multiply, uint8, one for each place in any shape.
        """
        found = np.zeros((self.outputs, places), np.int32)
        saturated = 0
        for pair in self._pairs:
            two = codes(pair.first), codes(pair.first + 1)
            # Sums of codes from 256 on, seen by their wrapping round; no pair saturates below.
            large = (np.add(*two) < two[0]).ravel().nonzero()[0]
            a, b = (part.ravel()[large].astype(np.int32) for part in two)
            enough = (a + b >= pair.least).nonzero()[0]
            step = max(1, _BLOCK // len(pair.outputs))
            for part in (enough[i : i + step] for i in range(0, len(enough), step)):
                sums = a[part] * pair.weights[0] + b[part] * pair.weights[1]
                beyond = np.minimum(np.maximum(sums, LOW), HIGH)
                beyond -= sums
                if count := int(np.count_nonzero(beyond)):
                    found[pair.outputs, large[part]] += beyond
                    saturated += count
        return found, saturated
