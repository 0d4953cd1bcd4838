"""What measurements make one believe of recipes that are not measured: a Gaussian process that is nearly additive in the options.

What a step does to one recipe it does, about, to another, above all where figures are logarithms; so the covariance of two recipes is what
their options have in common one by one, in pairs, and all together (additive Gaussian processes: Duvenaud et al. 2011, arXiv:1112.4394).
Figures from elsewhere, of a shortened training, another sweep, another network, are the same function and a difference of their own,
whose size is learnt with it (Kennedy and O'Hagan 2000, Biometrika 87:1): where it is small they say nearly all, where it is large nearly
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_FITTED_ON = 100
"""Most measurements that the few scales are fitted on; more of them say hardly more, and take the cube of the time."""
_JITTER = 1e-6
_FAR = 8.0
"""No scale is further from what is usual than so many standard deviations of that."""
_OWN_PARTS = 4
"""Parts of a covariance that are the function's own; after them come three for each further source."""


@dataclass(frozen=True)
class Points:
    """Recipes in their flat space, each seen by one source: `codes` (n, axes), and `source` (n,) with 0 for the sweep's own figures."""

    codes: Ints
    source: Ints

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: npt.NDArray[np.intp]) -> Points:
        """Some of them."""
        return Points(self.codes[rows], self.source[rows])


@dataclass(frozen=True)
class Alike:
    """How alike recipes are along each axis: `lengths` (axes,) is the number of values, `ordered` (axes,) whether neighbours are alike.

    `doubts`: of each further source how much it may differ from the sweep's own figures, before measurements tell, as a share of how much
    options make.
    """

    lengths: Ints
    ordered: npt.NDArray[np.bool_]
    doubts: tuple[float, ...] = ()

    def parts(self, one: Points, other: Points) -> Floats:
        """Covariances of unit size, shape (parts, n, m): constant, one by one, in pairs, all together, and for each further source a
        constant of its own, a difference by options, and one that no option explains.
        """
        apart = np.abs(one.codes[:, None, :] - other.codes[None, :, :]).astype(np.float64)
        scaled = np.where(self.ordered, 2.0 * apart / np.maximum(1, self.lengths - 1), 2.0 * (apart > 0))
        near = np.exp(-scaled)
        axes = max(1, near.shape[2])
        first = near.sum(axis=2)
        pairs = (first**2 - (near**2).sum(axis=2)) / (axes * (axes - 1)) if axes > 1 else first
        # Half as far apart: what is there of all options at once still spreads to neighbours.
        found = [np.ones_like(first), first / axes, pairs, np.exp(-scaled.sum(axis=2) / 2)]
        for source in range(1, len(self.doubts) + 1):
            both = (one.source[:, None] == source) & (other.source[None, :] == source)
            found += [both * 1.0, both * (first / axes + pairs) / 2, both * (apart.sum(axis=2) == 0)]
        return np.array(found)


@dataclass(frozen=True)
class Belief:
    """Mean and standard deviation of one figure at any recipe, before its own measurement's noise."""

    alike: Alike
    seen: Points
    scales: Floats
    factor: Floats
    weights: Floats
    centre: float
    unit: float
    own: float

    def at(self, codes: Ints) -> tuple[Floats, Floats]:
        """Mean and standard deviation, each (n,), of recipes (n, axes) as the sweep itself would measure them, noise left out."""
        from scipy.linalg import solve_triangular  # not at the top: what only plans a search does not wait for it

        points = Points(codes, np.zeros(len(codes), np.int64))
        across = np.einsum("p,pnm->nm", self.scales, self.alike.parts(points, self.seen))
        mean = self.centre + self.unit * across @ self.weights
        inner = solve_triangular(self.factor, across.T, lower=True)
        # Of a recipe with itself each part is 1, and what no option explains is its own.
        variance = np.maximum(self.scales[:_OWN_PARTS].sum() + self.own - (inner**2).sum(axis=0), 1e-12)
        return mean, self.unit * np.sqrt(variance)


def believed(alike: Alike, seen: Points, values: Floats, noise: Floats, unit: float = 1.0) -> Belief:
    """What `values` (n,) with standard deviations `noise` (n,) say of all recipes; at least one of them."""
    own = values[seen.source == 0] if (seen.source == 0).any() else values
    from scipy.linalg import cho_solve

    centre = float(own[0])
    scaled, spread = (values - centre) / unit, (noise / unit) ** 2
    parts = alike.parts(seen, seen)
    some = _some(len(values))
    scales, jitter = _fitted(alike.doubts, parts[:, some][:, :, some], scaled[some], spread[some])
    whole = np.einsum("p,pnm->nm", scales, parts) + np.diag(spread + jitter)
    factor = np.linalg.cholesky(whole)
    weights = cho_solve((factor, True), scaled)
    return Belief(alike, seen, scales, factor, weights, centre, unit, jitter)


def _some(count: int) -> npt.NDArray[np.intp]:
    """Rows that the scales are fitted on: evenly spread, the first among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _FITTED_ON)).round().astype(np.intp))


def _fitted(doubts: Sequence[float], parts: Floats, values: Floats, spread: Floats) -> tuple[Floats, float]:
    """The scale of each part, and of what no option explains: most likely after what is usual of them."""
    from scipy.linalg import cho_solve
    from scipy.optimize import minimize

    apart = [doubt for doubt in doubts for _ in range(3)]
    # One by one explains most, pairs some, all together little; and other sources differ by less than recipes do.
    usual = np.log([4.0, 1.0, 0.3, 0.1, *apart, 1e-4])
    width = np.array([1.0, 1.0, 1.0, 1.0, *(1.5 for _ in apart), 2.0])
    eye = np.eye(len(values))

    def loss(logs: Floats) -> tuple[float, Floats]:
        scales = np.exp(logs)
        whole = np.einsum("p,pnm->nm", scales[:-1], parts) + np.diag(spread + scales[-1] + _JITTER)
        try:
            factor = np.linalg.cholesky(whole)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(logs)
        inverse = cho_solve((factor, True), eye)
        solved = inverse @ values
        inner = np.outer(solved, solved) - inverse
        slopes = np.append(np.einsum("pnm,nm->p", parts, inner), np.trace(inner)) * scales
        off = (logs - usual) / width
        found = 0.5 * values @ solved + np.log(np.diag(factor)).sum() + 0.5 * off @ off
        return float(found), -0.5 * slopes + off / width

    # Where figures follow the options without a rest a scale grows without end, and its exponential beyond numbers.
    bounds = [(u - _FAR * w, u + _FAR * w) for u, w in zip(usual, width, strict=True)]
    best = minimize(loss, usual, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 30})
    scales = np.exp(best.x)
    return scales[:-1], float(scales[-1]) + _JITTER
