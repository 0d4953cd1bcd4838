"""Why a network does not fit a device: types, operators, flash, RAM. What a device's own code and runtime need is not counted."""

from __future__ import annotations

from engine.devices.profiles import Profile
from engine.graph.demand import Demand


def obstacle(profile: Profile, demand: Demand) -> str | None:
    """`does not fit on X because …`, or None where nothing that is known of the device speaks against it."""
    because = _types(profile, demand) or _operators(profile, demand) or _memory(profile, demand)
    return f"does not fit on {profile.name} because {because}" if because else None


def _types(profile: Profile, demand: Demand) -> str | None:
    if profile.bits_for(demand.compute_bits) is not None:
        return None
    wide = [layer for layer in demand.layers if profile.bits_for(layer.compute_bits) is None]
    if not wide:
        return None
    known = " or ".join(str(b) for b in sorted(profile.supports))
    layers = f"{len(wide)} of {len(demand.layers)} layers" if len(demand.layers) > 1 else "its layer"
    word = "compute" if len(wide) > 1 or len(demand.layers) > 1 else "computes"
    bits = max(layer.compute_bits for layer in wide)
    kind = "float" if bits == 32 else f"{bits} bits"
    return f"{layers} {word} in {kind} and it computes in {known} bits; quantize weights and activations to {max(profile.supports)}"


def _operators(profile: Profile, demand: Demand) -> str | None:
    if profile.operators is None:
        return None
    missing = [name for name in demand.op_types if name not in profile.operators]
    return f"it has no {', '.join(missing)}" if missing else None


def _memory(profile: Profile, demand: Demand) -> str | None:
    weights = demand.weight_bytes(profile.storage_bits)
    if profile.flash_bytes is not None and not profile.weights_in_ram and weights > profile.flash_bytes:
        return f"{weights:,.0f} bytes of weights exceed its flash of {profile.flash_bytes / 1024:,.0f} KiB"
    needed, what = float(demand.peak_bytes), "live activations"
    if profile.weights_in_ram:
        needed, what = needed + weights, "weights and live activations"
    if profile.ram_bytes is not None and needed > profile.ram_bytes:
        return f"{needed:,.0f} bytes of {what} exceed its RAM of {profile.ram_bytes / 1024:,.0f} KiB"
    return None
