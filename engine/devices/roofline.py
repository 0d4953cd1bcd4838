"""Datasheets and designs: the least time and energy that peak rate, bandwidth and joules per operation allow.

Roofline (Williams et al. 2009, doi 10.1145/1498765.1498785), layer by layer: a layer takes the longer of its operations at the peak
rate and its bytes at the memory's. No device reaches it, least of all with one image at a time: it is a bound, and nobody validated it
here.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.devices.profiles import Profile
from engine.graph.demand import Demand, LayerDemand

OPS_PER_MAC = 2


@dataclass(frozen=True)
class Bound:
    """Milliseconds and millijoules of one image at the least; `energy_mj` is None where nothing is known of power."""

    latency_ms: float
    energy_mj: float | None


def missing_rate(profile: Profile, demand: Demand) -> int | None:
    """Bits of a precision that the device computes in but whose peak rate nobody wrote down; None where all are known."""
    for layer in demand.layers:
        bits = profile.bits_for(layer.compute_bits)
        if bits is not None and bits not in profile.peak_gops:
            return bits
    return None


def bound(profile: Profile, demand: Demand) -> Bound:
    """The roofline of a network whose precisions all have a peak rate (`missing_rate` is None) and all fit."""
    on_chip = _on_chip(profile, demand)
    latency_ms = 0.0
    compute_pj, traffic_pj = 0.0, 0.0
    in_layers = 0.0
    for layer in demand.layers:
        bits = profile.bits_for(layer.compute_bits)
        assert bits is not None, "the network fits the device"
        moved = _bytes(profile, layer)
        in_layers += layer.input_bytes + layer.output_bytes
        compute_ms = OPS_PER_MAC * layer.macs / profile.peak_gops[bits] * 1e-6
        latency_ms += max(compute_ms, 0.0 if on_chip else traffic_ms(profile, moved))
        compute_pj += layer.macs * profile.pj_per_mac.get(bits, 0.0)
        traffic_pj += moved * _pj_per_byte(profile, on_chip)
    # Operators without multiplications (sums, pooling) only move bytes.
    rest = max(0.0, demand.moved_bytes - in_layers)
    latency_ms += 0.0 if on_chip else traffic_ms(profile, rest)
    traffic_pj += rest * _pj_per_byte(profile, on_chip)
    if profile.pj_per_mac:
        return Bound(latency_ms, (compute_pj + traffic_pj) * 1e-9 + profile.static_w * latency_ms)
    return Bound(latency_ms, None if profile.power_w is None else profile.power_w * latency_ms)


def traffic_ms(profile: Profile, moved_bytes: float) -> float:
    """Milliseconds that bytes take at the memory's bandwidth; 0 where it is not known."""
    return 0.0 if profile.bandwidth_gbs is None else moved_bytes / profile.bandwidth_gbs * 1e-6


def _bytes(profile: Profile, layer: LayerDemand) -> float:
    return layer.weight_bytes(profile.storage_bits) + layer.input_bytes + layer.output_bytes


def _on_chip(profile: Profile, demand: Demand) -> bool:
    """Whether weights and live activations stay on the chip from one image to the next."""
    if profile.on_chip_bytes is None:
        return False
    return demand.weight_bytes(profile.storage_bits) + demand.peak_bytes <= profile.on_chip_bytes


def _pj_per_byte(profile: Profile, on_chip: bool) -> float:
    return profile.pj_per_byte_on_chip if on_chip else (profile.pj_per_byte or 0.0)
