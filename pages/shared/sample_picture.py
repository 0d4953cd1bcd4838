"""An input of a network to be looked at, whatever it is: a picture as it is, a series as lines, other numbers as strips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from engine.datasets.pictures import enlarged, to_pixels
from engine.datasets.splits import Array
from engine.figures.series import Ranges, is_series, ranges_of, series_svg, series_text
from engine.graph.on_disk import OnDisk

_SOME = 100


@dataclass(frozen=True)
class Scale:
    """What is dark and light, or low and high, in every sample of a split: the least and the most of the first hundred."""

    low: float
    high: float
    ranges: Ranges | None

    @classmethod
    def of(cls, inputs: Array | OnDisk) -> Scale:
        """Of the inputs (n, …) of a split."""
        some = np.asarray(inputs[:_SOME])
        return cls(float(some.min()), float(some.max()), ranges_of(some) if is_series(some.shape[1:]) else None)


def show(sample: Array, scale: Scale, side: int, alt: str = "") -> None:
    """Draw one sample as stored, (channels, …), about `side` pixels wide."""
    if scale.ranges is not None:
        st.image(series_svg(sample, scale.ranges, side), width=side, alt=alt)
    else:
        st.image(enlarged(to_pixels(sample, scale.low, scale.high), side), width=side, alt=alt)


def text(shape: tuple[int, ...], is_picture: bool) -> str:
    """What there is to see in a sample of this shape, as stored."""
    if is_picture:
        return f"{shape[2]} × {shape[1]} pixels, as the networks see it"
    if is_series(shape):
        return series_text(shape)
    return f"{' × '.join(map(str, shape))} numbers, small ones dark and large ones light"
