"""Sums of uint8 × int8 products as x86 kernels without VNNI add them: in pairs of 16 bits, which can saturate.

ONNX Runtime's matrix kernels (MLAS) multiply uint8 activations and int8 weights with `vpmaddubsw` on AVX2, and on AVX-512 without VNNI: two
neighbouring products are added in int16, which saturates at -32768 and 32767, before the sums are widened to int32. What of it differs
from exact arithmetic is the *excess*; everything else about a layer is exact.

A pair can leave int16 only where its weights have one sign and add up to 129 or more, and where both codes are large. With weights of 7
bits the largest pair is 2 × 255 × 64 = 32640, so that they never saturate: the "reduced range". Which products are neighbours:
`engine/measure/integer_nodes.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

LOW, HIGH = -32768, 32767
"""The range of int16, in which pairs are added."""
LARGEST_CODE = 255
EXACT = 2**24
"""Below this float32 holds every whole number."""
# Numbers that are held at a time while pairs are added.
_BLOCK = 2**24

Integers = npt.NDArray[np.integer[Any]]
Codes = npt.NDArray[np.uint8]
Amounts = npt.NDArray[Any]


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
class _Bundle:
    """Two neighbouring codes, and all pairs of weights that meet them and could saturate: one a column.

    `first`, `second`: whose codes. `taps`, `outputs` (columns,). `beyond` (3, columns): (a, b, 1) times a column is by how much the sum
    of codes a and b leaves int16, above 0 where it does; what saturation adds is that times its sign in `signs`. `least`: below this sum
    of the two codes no pair saturates.
    """

    first: int
    second: int
    taps: Integers
    outputs: Integers
    beyond: npt.NDArray[np.float32]
    signs: npt.NDArray[np.float32]
    least: int

    @staticmethod
    def of(first: int, taps: Integers, outputs: Integers, weights: tuple[Integers, Integers]) -> _Bundle:
        """`weights`: those that the first and the second code meet, one sign in each column."""
        rises = weights[0] + weights[1] > 0
        signs = np.where(rises, -1, 1)
        ends = np.where(rises, HIGH, -LOW)
        beyond = np.stack([-signs * weights[0], -signs * weights[1], -ends]).astype(np.float32)
        # a · w0 + b · w1 reaches 32768 only where (a + b) · max |w| does.
        least = -(-(HIGH + 1) // int(np.abs(weights).max()))
        return _Bundle(first, first + 1, taps, outputs, beyond, signs.astype(np.float32), least)

    def above_peaks(self, first: int, second: int) -> Integers:
        """The columns that saturate for some codes of so much at most."""
        return np.flatnonzero(np.array([first, second, 1], np.float32) @ self.beyond > 0)


class PairedWeights:
    """Weights (K, outputs) of -128 .. 127, ordered as the kernel sums them; an odd last one stands alone and cannot saturate.

    Along K, every `channels` in a row, all of them unless said, meet the codes of one place of an image, a tap of a convolution's kernel.
    Where their number is even, neighbours are two channels at one place whatever the tap, which are looked at once for all taps.
    """

    def __init__(self, weights: Integers, channels: int | None = None) -> None:
        self.inner, self.outputs = weights.shape
        channels = channels or self.inner
        self.by_channel = channels % 2 == 0 or channels == self.inner
        """Whether `beyond` asks for the codes of channels; else for those that one row of the weights meets."""
        whole = weights[: self.inner // 2 * 2].astype(np.int32)
        positive, negative = (
            np.clip(whole, *ends).reshape(-1, 2, self.outputs).sum(1) for ends in ((0, 127), (-128, 0))
        )
        risky = (positive * LARGEST_CODE > HIGH) | (negative * LARGEST_CODE < LOW)
        pair, outputs = np.nonzero(risky)
        two = whole[2 * pair, outputs], whole[2 * pair + 1, outputs]
        taps, first = divmod(2 * pair, channels) if self.by_channel else (0 * pair, 2 * pair)
        columns = [np.flatnonzero(first == k) for k in np.unique(first)]
        self._bundles = [_Bundle.of(int(first[c[0]]), taps[c], outputs[c], (two[0][c], two[1][c])) for c in columns]

    @property
    def possible(self) -> bool:
        """Whether any codes could make a pair saturate."""
        return bool(self._bundles)

    def beyond(
        self, codes: Callable[[int], Codes], peaks: Integers, places: Integers
    ) -> Iterator[tuple[Integers, Integers, Integers, npt.NDArray[np.float32]]]:
        """Every pair sum that saturates: image, output, place and how much that adds to the sum, an array each, some at a time.

        `codes(k)` (n, positions): those of channel k where `by_channel`, else those that row k of the weights meets, one for each place;
        `peaks[k]`: the largest of them, or above. `places` (taps, positions): the place at which a tap meets a position, -1 where at none.
        """
        for bundle in self._bundles:
            first, second = int(peaks[bundle.first]), int(peaks[bundle.second])
            if first + second < bundle.least or not len(bundle.above_peaks(first, second)):
                continue
            a, b = codes(bundle.first), codes(bundle.second)
            width = a.shape[1]
            a, b = a.ravel(), b.ravel()
            # Sums of codes from 256 on, seen by their wrapping round; no pair saturates below.
            sums = np.add(a, b)
            large = sums < a
            large &= sums >= np.uint8(bundle.least - 256)
            found = large.nonzero()[0]
            if not len(found):
                continue
            a, b = a.take(found), b.take(found)
            some = bundle.above_peaks(int(a.max()), int(b.max()))
            met = np.ones((len(found), 3), np.float32)
            met[:, 0], met[:, 1] = a, b
            weights, outputs, taps = bundle.beyond[:, some], bundle.outputs[some], bundle.taps[some]
            step = max(1, _BLOCK // max(1, len(some)))
            for i in range(0, len(found) if len(some) else 0, step):
                # Whole numbers below 2^24, so float32 is exact.
                amounts = met[i : i + step] @ weights
                row, column = (amounts > 0).nonzero()
                images, positions = np.divmod(found[i : i + step][row], width)
                at = places[taps[column], positions]
                amounts = amounts[row, column] * bundle.signs[some][column]
                if at.size and at.min() < 0:
                    inside = np.flatnonzero(at >= 0)
                    images, column, at, amounts = images[inside], column[inside], at[inside], amounts[inside]
                yield images, outputs[column], at, amounts


def exact_runs(weights: Integers) -> list[slice]:
    """Weights (outputs, K), zero points taken off, in runs along K: float32 holds every sum over one of them, wherever the large are."""
    products = np.abs(weights).T.astype(np.int64) * LARGEST_CODE
    ends, held = [0], np.zeros(len(weights), np.int64)
    for k, more in enumerate(products):
        held += more
        if held.max() >= EXACT:
            ends.append(k)
            held = more.copy()
    return [slice(*pair) for pair in pairwise([*ends, len(products)])]


def summed(where: Integers, amounts: Amounts, size: int) -> tuple[Integers, Amounts]:
    """Amounts that fall on one index as one, where they do not cancel; of indices below `size`."""
    if len(where) * 20 > size:
        every = np.bincount(where, amounts, size)
        found = every.nonzero()[0]
        return found, every[found]
    found, turned = np.unique(where, return_inverse=True)
    every = np.bincount(turned, amounts)
    kept = every.nonzero()[0]
    return found[kept], every[kept]
