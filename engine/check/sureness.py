"""How sure answers are, and how much they differ: what tells one preprocessing from another where there are no labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


def log_shares(scores: Scores) -> Scores:
    """Logarithms of the softmax, (n, classes); what is no number counts as 0."""
    shifted = np.clip(np.nan_to_num(scores), -1e9, 1e9)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    found: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


def confidence(scores: Scores) -> float:
    """The mean share of the class that is named."""
    return float(np.exp(log_shares(scores)).max(axis=1).mean())


def information(scores: Scores) -> float:
    """Nats that an answer tells of which sample it is of: sure answers that differ. Numbers far too large make sure ones, all alike."""
    logs = log_shares(scores)
    shares = np.exp(logs)
    mean = shares.mean(axis=0)
    return float((shares * logs).sum(axis=1).mean() - (mean * np.log(np.maximum(mean, 1e-300))).sum())
