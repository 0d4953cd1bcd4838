"""A second model that answers a share of another one's traffic, and how often the two agree there."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from engine.errors import InputError


@dataclass(frozen=True)
class Canary:
    """`share` of the requests to `model` are answered by `canary`; both run on them, so that they can be compared."""

    model: str
    canary: str
    share: float

    def drawn(self) -> bool:
        """Whether this request is one of them."""
        return random.random() < self.share


def canary_of(text: str, names: tuple[str, ...]) -> Canary:
    """`MODEL=CANARY:10%`, or a share of one: `MODEL=CANARY:0.1`; raises InputError."""
    found = re.fullmatch(r"([^=]+)=([^:]+):(\d+(?:\.\d+)?)(%?)", text)
    if not found:
        raise InputError(f"--canary {text!r} is not understood; write MODEL=CANARY:10%")
    model, canary = found[1], found[2]
    share = float(found[3]) / (100 if found[4] else 1)
    for name in (model, canary):
        if name not in names:
            raise InputError(f"--canary: there is no model {name!r}; there are {', '.join(names)}")
    if model == canary or not 0 < share <= 1:
        raise InputError(f"--canary {text!r}: two models and a share above 0 and up to 100 % are needed")
    return Canary(model, canary, share)
