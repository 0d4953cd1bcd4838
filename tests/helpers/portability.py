"""An answer about portability, made up."""

from __future__ import annotations


def made_portability():
    from engine.measure.portability import Portability
    from engine.measure.saturation import LayerSaturation

    return Portability("exact", "harmful", 500, 0.93, 0.9, 20, 16, 1, 0.001, (LayerSaturation("a", True, 0.01, 0.2),))
