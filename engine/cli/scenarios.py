"""`paretoscope scenarios`: ready uses of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import print_table
from engine.metrics import METRICS, text_of

if TYPE_CHECKING:
    from engine.devices.cost import Scenario


def scenarios(as_json: JsonFlag = False) -> None:
    """Ready uses of a network: device, limits, prices, data, and what is assumed of them."""
    from engine.devices.cost import read_scenarios

    found = read_scenarios()
    print_json([asdict(s) for s in found.values()]) if as_json else print_scenarios(list(found.values()))


def print_scenarios(scenarios: Sequence[Scenario]) -> None:
    """The ready scenarios."""
    print_table(
        {"scenario": "left", "what": "left", "device": "left", "limits": "left", "data": "left", "assumed": "left"},
        [
            (
                s.name,
                s.title,
                s.device,
                ", ".join(f"{METRICS[k].name.lower()} {text_of(k, v)}" for k, v in s.limits.items()),
                ", ".join(s.datasets),
                "; ".join(s.assumptions),
            )
            for s in scenarios
        ],
        "Every figure is an assumption. Data: the first that can be loaded.",
    )
