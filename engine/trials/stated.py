"""The numbers of an imported point: what somebody else measured, as they state it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.metrics import DEVICE_METRICS

NOT_HERE = "imported, not measured here"
"""What stands on every imported point."""


@dataclass(frozen=True)
class Stated:
    """`values` by the keys of metrics, in base units (share, bytes, ms, mJ, nats); `device` is where the times among them hold, None
    where there are none; `source` is the file or study that they come from.
    """

    values: Mapping[str, float]
    device: str | None
    source: str

    def value(self, key: str, device: str) -> float | None:
        """One of them; a time, or an energy, on its own device alone."""
        return None if key in DEVICE_METRICS and device != self.device else self.values.get(key)
