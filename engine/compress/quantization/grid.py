"""Scales and biases that a file stores in a byte or two: chosen on these grids before weights are rounded, they are stored without loss.

| layer's weight bits | scale of a channel | bias of a channel |
|---|---|---|
| 3 and more | 4 bits of mantissa, 4 of exponent: steps of 3 to 6 %, 16 octaves from the layer's largest down | 16 bits, one step a layer |
| 2 | 3 and 3: steps of 6 to 12 %, 8 octaves | 8 bits, one step a layer |

Scales of a layer that lie further apart stay the float32 that they are, in four bytes: clipped to the last octave, its small channels would
be rounded to nothing. A scale for the whole tensor is stored as the float32 that it is. (With 8 octaves and a finer mantissa mobilenet_v2
lost 1.5 points at 4 bits: depthwise channels that small matter.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Precision:
    """How many bits the channels of a layer spend on their scales and biases."""

    mantissa: int
    exponent: int
    bias: int

    @property
    def scale_bits(self) -> int:
        """Bits of one stored scale."""
        return self.mantissa + self.exponent


# Scales with few digits would let products of codes fall on the very middle between two output codes, where input and output scale are the
# same (ReLU6 often makes them so): there integer kernels and float arithmetic round to different sides. No power of two times this does.
_UNIT = np.float32(1.118034)
_FINE, _COARSE = Precision(4, 4, 16), Precision(3, 3, 8)
# Channels that batch norm has switched off are so small; they take the last octave of the others.
_SWITCHED_OFF = 2.0**-30


def precision(bits: int) -> Precision:
    """What a layer of so many weight bits gets: with 2 bits a channel's weights may take no more room than its scale and bias."""
    return _COARSE if bits <= 2 else _FINE


def storable_scales(scale: npt.NDArray[Any], bits: int, up: bool = False) -> Float32:
    """The nearest storable scales, or with `up` the nearest that are no smaller; themselves where they are too far apart for the grid, and
    of one for the whole tensor, shape ().

    `scale`: positive, (channels,). Applied twice it changes nothing more.
    """
    scale = np.asarray(scale, np.float32)
    found = _units_and_octaves(scale, bits, up) if scale.size and scale.ndim else None
    if found is None:
        return scale
    units, octave = found
    stored: Float32 = np.ldexp(units.astype(np.float32), octave) * _UNIT
    return stored


def _units_and_octaves(scale: Float32, bits: int, up: bool = False) -> tuple[Int64, Int64] | None:
    """(units, octaves) of the nearest storable scales, `units * 2^octave * _UNIT`, units from 2^mantissa to 2^(mantissa+1) - 1.

    None where a channel that does something would need an octave below those that its code can name.
    """
    p = precision(bits)
    exact = scale.astype(np.float64) / float(_UNIT)
    if up:
        exact *= 1 - 1e-6  # what is storable, to float32, stays
    fraction, octave = np.frexp(exact)
    wanted = np.ldexp(fraction, p.mantissa + 1)
    units = (np.ceil(wanted) if up else np.rint(wanted)).astype(np.int64)
    octave = octave.astype(np.int64) - p.mantissa - 1
    full = units == 2 ** (p.mantissa + 1)
    units, octave = np.where(full, 2**p.mantissa, units), octave + full
    lowest = octave.max() - 2**p.exponent + 1
    below = octave < lowest
    if (below & (scale > scale.max() * _SWITCHED_OFF)).any():
        return None
    return np.where(below, 2**p.mantissa, units), np.maximum(octave, lowest)


def scale_codes(scale: Float32, bits: int) -> tuple[npt.NDArray[np.uint8], np.float32] | None:
    """(codes, base) with `scale == ((2^mantissa + code % 2^mantissa) << (code >> mantissa)) * base`; None off the grid."""
    found = _units_and_octaves(scale, bits)
    if found is None or not np.array_equal(storable_scales(scale, bits), scale):
        return None
    p = precision(bits)
    units, octave = found
    lowest = octave.max() - 2**p.exponent + 1
    codes = units - 2**p.mantissa + ((octave - lowest) << p.mantissa)
    return codes.astype(np.uint8), np.float32(np.ldexp(_UNIT, int(lowest)))


def bias_codes(bias: Float32, bits: int) -> tuple[npt.NDArray[np.int16], np.float32]:
    """(codes, step): the bias is stored as `codes * step`, one step for the layer."""
    largest = 2 ** (precision(bits).bias - 1) - 1
    step = np.float32(np.abs(bias).max(initial=0.0) / largest)
    if step < np.finfo(np.float32).tiny:
        return np.zeros(bias.shape, np.int16), np.float32(1)
    return np.clip(np.rint(bias / step), -largest, largest).astype(np.int16), step


def storable_bias(bias: Float32, bits: int) -> Float32:
    """The bias as the file will hold it, float32 of the same shape."""
    codes, step = bias_codes(bias, bits)
    stored: Float32 = codes.astype(np.float32) * step
    return stored
