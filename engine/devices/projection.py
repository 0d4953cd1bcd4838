"""What a profile says of a network: latency and energy with their ranges, or why it does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from engine.devices.fitting import MAC_FEATURES, Z_90, features
from engine.devices.obstacles import obstacle
from engine.devices.profiles import HOST, Profile, all_profiles, find_profile, shipped_profiles
from engine.devices.published import demand_of, reference_demands
from engine.devices.roofline import bound, missing_rate
from engine.devices.validation import class_fit, class_rows, measured_power, system_errors
from engine.graph.demand import Demand
from engine.trials.evidence import Interval
from engine.trials.measurements import Energy, Projection
from engine.trials.trial import Trial


def project(profile: Profile | str, demand: Demand) -> Projection:
    """A network on a device. The host is measured: it has no projection, and asking for one is a ValueError.

    Raises SpecError for a name that is not known, SetupError for damaged tables.
    """
    if isinstance(profile, str):
        profile = find_profile(profile)
    if profile.name == HOST.name:
        raise ValueError("the host is measured, not projected")
    reason = obstacle(profile, demand)
    if reason is None and not demand.macs:
        reason = f"nothing is known of it on {profile.name}: it has no multiply-accumulates"
        return Projection(None, None, fits=True, reason=reason)
    if reason:
        return Projection(None, None, fits=False, reason=reason)
    if profile.costs_ns or profile.system:
        return numbers_from_counts(profile, features(demand), demand.compute_bits)
    return _bounded(profile, demand)


def numbers_from_counts(profile: Profile, counts: Sequence[float], compute_bits: int) -> Projection:
    """What a profile that was timed, or has published rows, says of a network that fits: of its `fitting.features` and its widest layer."""
    return _timed(profile, counts, compute_bits) if profile.costs_ns else _fitted(profile, counts)


def _around(value: float, log_sd: float) -> Interval:
    spread = math.exp(Z_90 * log_sd)
    return Interval(value, value / spread, value * spread)


def _fitted(profile: Profile, counts: Sequence[float]) -> Projection:
    """A profile whose system has published rows."""
    assert profile.system is not None, "only profiles with a system come here"
    family, basis = _rows_of(profile.device_class, profile.system)
    said = class_fit(profile.device_class).predict(counts, profile.system, family)
    least, most = _reference_macs()
    if not least <= (macs := sum(counts[:MAC_FEATURES])) <= most:
        basis += f"; {macs / 1e6:.3g} M MACs lie outside the {least / 1e6:.3g}–{most / 1e6:.3g} M of the rows"
    latency = _around(said.latency_ms, said.log_sd)
    power = measured_power(profile.system)
    if power:
        energy = _around(said.latency_ms * power.mean_mw * 1e-3, math.hypot(said.log_sd, power.log_sd))
        basis_energy = f"latency × {power.mean_mw:.3g} mW measured on the rows; {basis}"
        return Projection(latency, _energy(energy, "fitted", basis_energy), source="fitted")
    return Projection(latency, _by_power(profile, latency, basis), source="fitted")


# The same for every network, of which a sweep may bring thousands.
@lru_cache(maxsize=256)
def _rows_of(device_class: str, system: str) -> tuple[str, str]:
    """The family of a system, and what its predictions rest on in words."""
    rows = [r for r in class_rows(device_class) if r.system == system]
    return rows[
        0
    ].family, f"fitted to {sum(r.count for r in rows)} MLPerf Tiny rows of {len(rows)} networks; 90 % range"


@lru_cache(maxsize=1)
def _reference_macs() -> tuple[int, int]:
    """Between how many multiply-accumulates the published networks lie."""
    macs = [d.macs for d in reference_demands().values()]
    return min(macs), max(macs)


def _timed(profile: Profile, counts: Sequence[float], compute_bits: int) -> Projection:
    """A device that its owner timed with `paretoscope profile-device`."""
    wide = profile.bits_for(compute_bits)
    bits = min((b for b in profile.costs_ns if wide is not None and b >= wide), default=None)
    if bits is None:
        reason = f"{profile.name} was not timed in {compute_bits} bits; time it again with that precision"
        return Projection(None, None, reason=reason)
    time_ns = sum(c * x for c, x in zip(profile.costs_ns[bits], counts, strict=True))
    latency = _around(time_ns * 1e-6, profile.log_sd or 0.0)
    basis = (
        f"fitted to layers timed on the device; held-out error {profile.held_out.get('mape', math.nan):.0%}; 90 % range"
    )
    return Projection(latency, _by_power(profile, latency, basis), source="fitted")


def _bounded(profile: Profile, demand: Demand) -> Projection:
    """A datasheet or a design: the roofline, and as its upper end what measured devices were above theirs at the most."""
    missing = missing_rate(profile, demand)
    if missing is not None:
        return Projection(
            None, None, reason=f"no peak rate of {profile.name} in {missing} bits is known", source="datasheet"
        )
    least = bound(profile, demand)
    slack = largest_slack()
    design = profile.basis == "design"
    what = "a design that does not exist: roofline of its figures" if design else "roofline of the datasheet"
    basis = (
        f"{what}, a lower bound that was not validated; devices with measurements took up to {slack:.0f} times theirs"
    )
    latency = Interval(least.latency_ms, least.latency_ms, least.latency_ms * slack)
    energy = None
    if least.energy_mj is not None:
        ends = Interval(least.energy_mj, least.energy_mj, least.energy_mj * slack)
        energy = _energy(ends, "datasheet", basis)
    return Projection(latency, energy, source="datasheet")


def _by_power(profile: Profile, latency: Interval, basis: str) -> Energy | None:
    if profile.power_w is None:
        return None
    value, low, high = (v * profile.power_w for v in (latency.value, latency.low, latency.high))
    return Energy(
        value, low, high, "datasheet", f"latency × {profile.power_w:g} W, not measured on these networks; {basis}"
    )


def _energy(interval: Interval, source: Any, basis: str) -> Energy:
    return Energy(interval.value, interval.low, interval.high, source, basis)


@lru_cache(maxsize=1)
def largest_slack() -> float:
    """Measured latency over the roofline, at the most, over published rows of devices whose datasheet is known too."""
    ratios = []
    for profile in shipped_profiles().values():
        for row in class_rows(profile.device_class):
            demand = demand_of(row)
            if row.system == profile.system and profile.peak_gops and missing_rate(profile, demand) is None:
                ratios.append(row.latency_ms / bound(profile, demand).latency_ms)
    return max(ratios)


def with_projections(trials: Sequence[Trial], names: Iterable[str]) -> tuple[Trial, ...]:
    """The trials with what each named profile says of them, where they carry what it takes; nothing measured is replaced."""
    profiles = [find_profile(name, "device") for name in names if name != HOST.name]
    made = []
    for trial in trials:
        new = {} if trial.demand is None else {p.name: project(p, trial.demand) for p in profiles}
        made.append(replace(trial, projections=trial.projections | new) if new else trial)
    return tuple(made)


def profile_json(profile: Profile) -> dict[str, Any]:
    """What `paretoscope devices --json` prints of a profile: errors as shares, None where not fitted or not known."""
    rows = [r for r in class_rows(profile.device_class) if r.system == profile.system] if profile.system else []
    latency_mape, energy_mape = system_errors(profile.system, profile.device_class) if profile.system else (None, None)
    if profile.costs_ns:
        latency_mape = profile.held_out.get("mape")
    return {
        "name": profile.name,
        "device": profile.device,
        "runtime": profile.runtime,
        "device_class": profile.device_class,
        "basis": profile.basis,
        "fitted": sum(r.count for r in rows) or None,
        "networks": len(rows) or None,
        "latency_mape": latency_mape,
        "energy_mape": energy_mape,
        "supports": list(profile.supports),
        "flash_bytes": profile.flash_bytes,
        "ram_bytes": profile.ram_bytes,
        "power_w": power.mean_mw * 1e-3
        if profile.system and (power := measured_power(profile.system))
        else profile.power_w,
        "peak_gops": {str(bits): rate for bits, rate in profile.peak_gops.items()},
        "sources": list(profile.sources),
    }


def devices_json() -> list[dict[str, Any]]:
    """Every profile, the host first."""
    return [profile_json(p) for p in all_profiles().values()]
