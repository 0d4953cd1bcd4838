"""Many networks at once are told what each is told alone, to the last digit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic_core import to_json

from engine.devices import projected
from engine.devices.many_demands import Demands, Said, said_of
from engine.devices.profiles import HOST, Profile, all_profiles
from engine.devices.projected import Projector
from engine.devices.projection import project
from engine.devices.published import reference_demands
from engine.frontier.columns import Trials
from engine.graph.demand import KINDS, Demand, LayerDemand, in_integers
from tests.helpers.trial_factory import sweep_trials

TIMED = Profile(
    "timed", "a board", "ort", "microcontroller", supports=(8, 16, 32), costs_ns={8: (0.31,) * 7}, log_sd=0.2
)
ODD = (
    TIMED,
    replace(TIMED, name="timed, of a power", costs_ns={16: (0.1, 0.7, 0.3, 0.11, 0.9, 0.013, 17.0)}, power_w=0.3),
    Profile("few operators", "chip", "x", "accelerator", operators=("Conv", "Gemm"), peak_gops={8: 3, 16: 1.7}, power_w=1.1),
    Profile(
        "on the chip", "chip", "x", "design", storage_bits=1, supports=(4, 8), peak_gops={4: 7.3, 8: 3.1}, on_chip_bytes=90_000,
        bandwidth_gbs=0.37, pj_per_mac={8: 0.2}, pj_per_byte=11.3, pj_per_byte_on_chip=0.7, static_w=0.013,
    ),
    Profile("little memory", "chip", "x", "accelerator", ram_bytes=150_000, weights_in_ram=True, peak_gops={32: 1.3}),
    Profile("silent", "chip", "x", "application", flash_bytes=70_000),
)  # fmt: skip


def made_up(seed: int, count: int = 60) -> list[Demand]:
    """Networks as real ones are, and as none is: without layers, without multiplications, of odd precisions, with shared layers."""
    draw = np.random.default_rng(seed)
    real = [*reference_demands().values(), *(in_integers(d) for d in reference_demands().values())]
    found = [*real, Demand((), 3, ("Add",), 10, 20), replace(real[0], layers=real[0].layers[:1] * 2)]
    while len(found) < count:
        layers = tuple(
            LayerDemand(
                kind=KINDS[draw.integers(len(KINDS))],
                macs=int(draw.choice([0, 1, 10**5, 10**8]) * draw.random()),
                weights=int(draw.integers(0, 50_000)),
                biases=int(draw.integers(0, 64)),
                weight_bits=int(draw.choice([0, 1, 2, 3, 4, 7, 8, 16, 32])),
                activation_bits=int(draw.choice([4, 8, 8, 8, 16, 32])),
                input_bytes=int(draw.integers(0, 99_999)),
                output_bytes=int(draw.integers(0, 99_999)),
                shared=bool(draw.random() < 0.2),
            )
            for _ in range(draw.integers(0, 25))
        )
        types = ("Conv", "Gemm", "Add")[: draw.integers(0, 4)]
        found.append(
            Demand(layers, int(draw.integers(0, 60)), types, *(int(n) for n in draw.integers(0, 3_000_000, 2)))
        )
    return found


def numbers(found) -> tuple[float, float, float]:
    return (found.value, found.low, found.high) if found else (np.nan, np.nan, np.nan)


def same(said: Said, profile: Profile, demands: list[Demand]) -> None:
    alone = [project(profile, d) for d in demands]
    np.testing.assert_array_equal(
        said.latency, np.reshape([numbers(p.latency_ms) for p in alone], (-1, 3)), err_msg=profile.name
    )
    np.testing.assert_array_equal(
        said.energy, np.reshape([numbers(p.energy_mj) for p in alone], (-1, 3)), err_msg=profile.name
    )
    assert said.fits.tolist() == [p.fits for p in alone], profile.name


def texts(demands: list[Demand]) -> list[bytes]:
    return [to_json(d.to_json()) for d in demands]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_device_says_of_many_what_it_says_of_each(seed: int):
    demands = made_up(seed)
    together = Demands(texts(demands))
    assert together.table is not None
    for profile in (*all_profiles().values(), *ODD):
        if profile.name != HOST.name:
            same(said_of(profile, together), profile, demands)


def test_numbers_too_large_for_arrays_and_no_network_at_all():
    large = [replace(made_up(0)[0], moved_bytes=2**70), *made_up(0)[:2]]
    together = Demands(texts(large))
    assert together.table is None
    for profile in (*ODD, all_profiles()["raspberry-pi-5"]):
        same(said_of(profile, together), profile, large)
        same(said_of(profile, Demands(())), profile, [])


def test_networks_are_read_once_for_all_devices_and_none_is_made_whole(monkeypatch):
    demands = made_up(2, count=40)
    trials = Trials.of([replace(t, demand=d) for t, d in zip(sweep_trials(), demands, strict=False)])
    read: list[int] = []
    monkeypatch.setattr(projected, "Demands", lambda some: read.append(len(some)) or Demands(some))
    monkeypatch.setattr(Demand, "from_json", None)
    projector, known = Projector(None), all_profiles()
    first, second = [known["raspberry-pi-5"], known["ndp120"]], known["coral-edge-tpu"]
    different = len(set(trials.fact("demand")))
    assert np.isfinite(projector.on(trials, first).numbers("latency_ms", "raspberry-pi-5").value).any()
    assert read == [different]
    projector.on(trials, [*first, second])
    assert read == [different, different]
    projector.on(trials, [second])
    assert read == [different, different]
