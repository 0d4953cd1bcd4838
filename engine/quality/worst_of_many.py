"""Intervals of figures that are the worst of several: the lowest recall, the largest drop, the calibration error.

The class that looks worst was picked by the same images that its share is counted on, so its own interval is too low and too sure, and a
bootstrap over images repeats the mistake: where several classes are about equally bad it does not come to the right width with any number
of images (Andrews 2000, Econometrica 68:399). So, all at 95 %, two-sided:

- The true extreme of several shares, or of other numbers with a standard error, is bounded as in Chernozhukov, Lee and Rosen 2013
  (Econometrica 81:667): towards the better by all that might be the worst, at a level for so many (Sidak's, since classes share no image;
  slices that share samples are alike, and it is more than enough), towards the worse by each alone.
- The calibration error is a sum of absolute gaps. Towards higher values gaps are taken as normal around those seen, with their signs.
  Towards lower ones a gap that may be none (within `MAYBE_NONE` standard errors) counts as noise that only ever adds: the bootstrap of
  Fang and Santos 2019 (Review of Economic Studies 86:377), drawn from the normal distribution of the gaps.

They are as wide as needed where one class, or every gap, stands out, and wider where that is not clear. Numbers in, numbers out.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from engine.quality.statistics import Z_95, Bools, Floats

Counts = npt.NDArray[np.int64]
Ends = tuple[float, float]

MAYBE_NONE = 3.0
_MAYBE_WORST_Z = NormalDist().inv_cdf(0.995)
_DRAWS = 2_000
_SEED = 20261123


def lowest_share(hits: Counts, images: Counts) -> Ends:
    """Ends of the interval of the lowest true share among classes: `hits` of `images` each, (k,), in [0, 1].

    Classes without images are passed over; raises ValueError when all are.
    """
    hits, images = _with_images(images, hits, images)
    low, _ = _wilson(hits, images, Z_95)
    surely_low, surely_high = _wilson(hits, images, _MAYBE_WORST_Z)
    maybe_worst = surely_low <= surely_high.min()
    _, high = _wilson(hits, images, _joint_z(int(maybe_worst.sum())))
    return float(low.min()), float(high[maybe_worst].min())


def largest_drop(lost: Counts, gained: Counts, images: Counts) -> Ends:
    """Ends of the interval of the largest true drop of recall among classes, as shares in [-1, 1].

    Of the `images` of a class, (k,), `lost` were right before alone and `gained` are right now alone. Classes without images are passed
    over; raises ValueError when all are.
    """
    lost, gained, images = _with_images(images, lost, gained, images)
    # Bonett and Price 2012 (J. Educ. Behav. Stat. 37:479): as good as Tango's score interval, and in closed form.
    more, less = (lost + 1) / (images + 2), (gained + 1) / (images + 2)
    drop = more - less
    error = np.sqrt((more + less - drop**2) / (images + 2))
    maybe_worst = drop + _MAYBE_WORST_Z * error >= (drop - _MAYBE_WORST_Z * error).max()
    joint = _joint_z(int(maybe_worst.sum()))
    seen = float(((lost - gained) / images).max())
    low = float((drop - joint * error)[maybe_worst].max())
    high = float((drop + Z_95 * error).max())
    # Adding images that were not there may move a small class's interval off what was seen.
    return max(-1.0, min(low, seen)), min(1.0, max(high, seen))


def lowest_value(values: Floats, errors: Floats, freedom: Floats) -> Ends:
    """Ends of the interval of the lowest true value among several, each seen with a standard error of so many degrees of freedom, (k,).

    They may share samples, as slices by site and by device do: what they have in common makes them alike, and the level for independent
    ones is then more than enough (Slepian 1962, Bell System Technical Journal 41:463). Raises ValueError for none.
    """
    if not len(values):
        raise ValueError("none of several has no lowest")
    reach = stdtrit(freedom, NormalDist().cdf(_MAYBE_WORST_Z)) * errors
    maybe_worst = values - reach <= (values + reach).min()
    joint = stdtrit(freedom, 0.975 ** (1 / int(maybe_worst.sum()))) * errors
    low = float((values - stdtrit(freedom, 0.975) * errors).min())
    return low, float((values + joint)[maybe_worst].min())


def calibration_range(confidence: Floats, right: Bools, bins: int = 15) -> Ends:
    """Ends of the interval of `statistics.calibration_error` of the same images, (n,), in [0, 1]. Raises ValueError for n = 0."""
    n = len(right)
    if not n:
        raise ValueError("no images, no calibration error")
    place = np.clip(np.ceil(np.clip(confidence, 0, 1) * bins).astype(np.intp) - 1, 0, bins - 1)
    gaps = np.clip(confidence, 0, 1) - right
    mean = np.bincount(place, gaps, bins) / n
    covariance = (np.diag(np.bincount(place, gaps**2, bins) / n) - np.outer(mean, mean)) / n
    error = float(np.abs(mean).sum())
    signs = np.sign(mean)
    high = error + Z_95 * math.sqrt(max(0.0, float(signs @ covariance @ signs)))
    values, vectors = np.linalg.eigh(covariance)
    draws = np.random.default_rng(_SEED).standard_normal((_DRAWS, bins)) * np.sqrt(np.maximum(values, 0))
    noise = draws @ vectors.T
    maybe_none = np.abs(mean) <= MAYBE_NONE * np.sqrt(np.diag(covariance))
    added = np.where(maybe_none, np.abs(noise), signs * noise).sum(axis=1)
    low = error - float(np.quantile(added, 0.975))
    return max(0.0, min(low, error)), min(1.0, high)


def _with_images(images: Counts, *columns: Counts) -> tuple[Counts, ...]:
    if not (images > 0).any():
        raise ValueError("no class has any image")
    return tuple(column[images > 0] for column in columns)


def _joint_z(classes: int) -> float:
    """How many standard errors all of so many independent one-sided intervals of 97.5 % take together."""
    return NormalDist().inv_cdf(0.975 ** (1 / classes))


def _wilson(hits: Counts, images: Counts, z: float) -> tuple[Floats, Floats]:
    """`statistics.wilson` of many shares and at any level."""
    share = hits / images
    centre = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * np.sqrt(share * (1 - share) / images + z * z / (4 * images**2))
    return np.where(hits == 0, 0.0, centre - half), np.where(hits == images, 1.0, centre + half)
