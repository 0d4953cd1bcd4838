"""Codes of least squared error of a layer's outputs: one after the other, each error passed on, then each in turn (rounding.py)."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.cores import one_torch_thread

_PASSES = 20
# It has converged when a pass changes no more than this share of all codes.
_SETTLED = 1e-3
# Codes are set in blocks of so many, and the others learn of a whole block at once: one matrix product instead of many small steps.
_BLOCK = 64


def least_error(
    gram: Tensor, cross: Tensor, below: Tensor, above: Tensor, nearest: Tensor, passes: int = _PASSES
) -> Tensor:
    """Values c that make the error cᵀ gram c - 2 c·cross small, each `below` or `above`, which are the same where a weight is zero.

    `gram` (g, d, d), positive definite; all others and the result (g, o, d). Never worse than `nearest`. `passes`: how often every code is
    looked at again, at most.
    """
    with one_torch_thread():
        found = _descended(gram, cross, _in_sequence(gram, cross, below, above), below + above, passes)
    worse = squared_error(gram, cross, found) > squared_error(gram, cross, nearest)
    return torch.where(worse, nearest, found)


def squared_error(gram: Tensor, cross: Tensor, codes: Tensor) -> Tensor:
    """cᵀ gram c - 2 c·cross of each output, (g, o, 1)."""
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
