"""Profiles, limits, rooflines and what they make of a network."""

import json
import math
from dataclasses import replace

import pytest

from engine.devices.fitting import FEATURES
from engine.devices.obstacles import obstacle
from engine.devices.profiles import Profile, all_profiles, find_profile, parse_profile, profile_names, shipped_profiles
from engine.devices.projection import devices_json, largest_slack, project, with_projections
from engine.devices.published import read_rows, reference_demands
from engine.devices.roofline import bound, missing_rate
from engine.errors import SetupError, SpecError
from engine.graph.demand import Demand, LayerDemand, in_integers
from tests.helpers.trial_factory import trial as make_trial

STM32 = "stm32h7a3-xcubeai"


def net(macs=1_000_000, weights=1000, bits=8, activation_bits=8, peak=2000, **other):
    layer = LayerDemand("conv", macs, weights, 10, bits, activation_bits, 1000, 1000)
    return Demand((layer,), 1, other.pop("op_types", ("Conv",)), peak, 2000)


RESNET8 = in_integers(reference_demands()["resnet8"])


def test_there_are_enough_profiles_of_every_kind_and_each_names_its_sources():
    profiles = shipped_profiles()
    assert len(profiles) >= 21
    assert next(iter(profiles)) == "host"
    assert {p.basis for p in profiles.values()} == {"measured", "fitted", "datasheet", "design"}
    classes = {p.device_class for p in profiles.values()}
    assert classes >= {"microcontroller", "accelerator", "application", "phone", "server", "gpu", "host", "design"}
    assert all(p.sources for p in profiles.values() if p.name != "host")


def test_every_fitted_profile_has_rows_and_all_others_a_rate():
    systems = {(r.system, r.device_class) for r in read_rows()}
    for p in shipped_profiles().values():
        if p.basis == "fitted":
            assert (p.system, p.device_class) in systems, p.name
        elif p.name != "host":
            assert p.peak_gops, p.name


def test_resnet8_on_a_board_that_never_ran_it_is_near_what_the_release_before_took():
    found = project(STM32, RESNET8)
    # X-CUBE-AI 8.1 took 51.9 ms and 6.31 mJ (mlcommons/tiny_results_v1.1); 9.0 is a little faster on every other network.
    assert found.latency_ms.low < 51.9 < found.latency_ms.high
    assert found.latency_ms.value == pytest.approx(51.9, rel=0.25)
    assert (found.source, found.energy_mj.source, found.fits, found.reason) == ("fitted", "fitted", True, None)
    assert "3 MLPerf Tiny rows" in found.energy_mj.basis
    assert found.energy_mj.high / found.energy_mj.low > found.latency_ms.high / found.latency_ms.low


def test_a_network_beyond_the_rows_is_marked():
    assert "outside" not in project(STM32, RESNET8).energy_mj.basis
    assert "40 M MACs lie outside the 0.264–12.5 M" in project(STM32, net(macs=40_000_000)).energy_mj.basis


def test_energy_by_a_power_that_was_not_measured_there_says_so():
    energy = project("stm32h7a3-plumerai", RESNET8).energy_mj
    assert energy.source == "datasheet"
    assert "0.125 W, not measured on these networks" in energy.basis
    assert project("nrf5340-microtvm", RESNET8).energy_mj is None


@pytest.mark.parametrize(
    ("name", "demand", "words"),
    [
        (STM32, net(bits=32, activation_bits=32), "computes in float and it computes in 8 bits"),
        (STM32, net(bits=4, activation_bits=32), "computes in float"),
        (STM32, net(weights=2_200_000), "2,200,040 bytes of weights exceed its flash of 2,048 KiB"),
        (STM32, net(peak=1_300_000), "1,300,000 bytes of live activations exceed its RAM of 1,220 KiB"),
        (
            "ndp120",
            net(weights=1_048_000, peak=1000),
            "1,049,040 bytes of weights and live activations exceed its RAM of 1,024 KiB",
        ),
        ("raspberry-pi-4-int8", net(activation_bits=16), "16 bits"),
    ],
)
def test_what_does_not_fit_has_a_reason_and_no_numbers(name, demand, words):
    found = project(name, demand)
    assert not found.fits
    assert (found.latency_ms, found.energy_mj) == (None, None)
    assert found.reason.startswith(f"does not fit on {name} because ")
    assert words in found.reason


def test_flash_holds_exactly_what_it_holds():
    profile = replace(find_profile(STM32), flash_bytes=1040, ram_bytes=2000)
    assert obstacle(profile, net(weights=1000, peak=2000)) is None
    assert "flash" in obstacle(profile, net(weights=1001))
    assert "RAM" in obstacle(profile, net(peak=2001))


def test_weights_of_fewer_bits_take_what_the_runtime_stores():
    profile = replace(find_profile(STM32), flash_bytes=600)
    assert "flash" in obstacle(profile, net(bits=4))
    assert obstacle(replace(profile, storage_bits=4), net(bits=4)) is None


def test_an_operator_that_a_device_lacks_is_named():
    profile = replace(find_profile(STM32), operators=("Conv", "Gemm"))
    assert obstacle(profile, net()) is None
    assert "it has no Softmax" in obstacle(profile, net(op_types=("Conv", "Softmax")))


def test_a_graph_without_products_fits_but_nothing_is_known():
    found = project(STM32, Demand((), 1, ("Relu",), 100, 200))
    assert found.latency_ms is None
    assert "computes in" not in (found.reason or "")


PAPER = Profile(
    "paper", "d", "r", "design", supports=(8,), peak_gops={8: 2.0}, bandwidth_gbs=0.5, pj_per_mac={8: 0.5}, pj_per_byte=100.0,
    static_w=0.01,
)  # fmt: skip


def test_a_roofline_by_hand():
    # 1 M MACs = 2 M operations at 2e9 a second: 1 ms. 1000 + 40 + 2000 bytes at 0.5e9 a second: 0.00608 ms.
    assert bound(PAPER, net()).latency_ms == pytest.approx(1.0)
    assert bound(PAPER, net(macs=1000)).latency_ms == pytest.approx(3040 / 0.5e9 * 1e3)
    # 1e6 × 0.5 pJ + 3040 × 100 pJ = 0.804e6 pJ = 0.804e-3 mJ, and 10 mW for 1 ms = 0.01 mJ.
    assert bound(PAPER, net()).energy_mj == pytest.approx(0.804e-3 + 0.01)


def test_what_stays_on_the_chip_moves_at_its_own_cost():
    small = replace(PAPER, on_chip_bytes=10_000, pj_per_byte_on_chip=1.0)
    assert bound(small, net(macs=1000)).latency_ms == pytest.approx(1e-3)
    assert bound(small, net()).energy_mj == pytest.approx((0.5e6 + 3040) * 1e-9 + 0.01)
    assert bound(replace(small, on_chip_bytes=3000), net()).energy_mj == pytest.approx(bound(PAPER, net()).energy_mj)


def test_fewer_bits_are_faster_on_a_chip_on_paper_and_only_there():
    times = [
        project("chip-on-paper", net(macs=10_000_000, bits=b, activation_bits=b)).latency_ms.value
        for b in (16, 8, 4, 2)
    ]
    assert times == sorted(times, reverse=True)
    energies = [
        project("chip-on-paper", net(macs=10_000_000, bits=b, activation_bits=b)).energy_mj for b in (16, 8, 4, 2)
    ]
    assert [e.value for e in energies] == sorted((e.value for e in energies), reverse=True)
    assert all("a design that does not exist" in e.basis for e in energies)
    assert project(STM32, net(bits=2)).latency_ms == project(STM32, net()).latency_ms


def test_a_datasheet_is_a_lower_bound_with_what_others_were_above_theirs():
    found = project("xeon-8380", RESNET8)
    assert found.latency_ms.low == found.latency_ms.value
    assert found.latency_ms.high == pytest.approx(found.latency_ms.value * largest_slack())
    assert largest_slack() > 2
    assert found.energy_mj.value == pytest.approx(found.latency_ms.value * 270)
    assert found.source == found.energy_mj.source == "datasheet"
    assert "lower bound that was not validated" in found.energy_mj.basis


def test_a_rate_that_nobody_wrote_down_is_said():
    assert missing_rate(find_profile("epyc-7763"), RESNET8) == 8
    found = project("epyc-7763", RESNET8)
    assert found.fits
    assert found.latency_ms is None
    assert found.reason == "no peak rate of epyc-7763 in 8 bits is known"


def test_a_precision_between_two_runs_in_the_wider():
    chip = find_profile("chip-on-paper")
    assert [chip.bits_for(b) for b in (1, 5, 7, 16, 32)] == [2, 6, 8, 16, None]


def own(name="my-board", **other):
    costs = dict(zip(FEATURES, (1.0, 1.0, 1.0, 2.0, 1.0, 0.5, 1000.0), strict=True))
    return {
        "name": name, "device": "a board", "runtime": "onnxruntime", "device_class": "own", "supports": [8], "power_w": 2.0,
        "costs_ns": {"8": costs}, "log_sd": 0.1, "held_out": {"mape": 0.08}, "sources": ["timed"],
    } | other  # fmt: skip


def test_an_own_profile_is_read_from_the_home_and_says_its_error(home):
    (home / "devices").mkdir()
    (home / "devices" / "a.json").write_text(json.dumps({"profile": own(), "measured": []}))
    (home / "devices" / "b.yaml").write_text("{name: b, device: d, runtime: r, device_class: own, peak_gops: {8: 4}}")
    assert profile_names()[-2:] == ("my-board", "b")
    found = project("my-board", net())
    # 1 M MACs of 1 ns, 2000 bytes of 0.5 ns, one operator of 1 µs.
    assert found.latency_ms.value == pytest.approx((1e6 + 1000 + 1000) * 1e-6)
    assert found.latency_ms.high == pytest.approx(found.latency_ms.value * math.exp(0.16449))
    assert found.energy_mj.value == pytest.approx(2 * found.latency_ms.value)
    assert "held-out error 8%" in found.energy_mj.basis
    listed = {d["name"]: d for d in devices_json()}
    assert listed["my-board"]["latency_mape"] == 0.08
    assert listed["my-board"]["basis"] == "fitted"


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (own(colour="red"), "'colour' is not a key of a profile"),
        (own(power_w=-1), "power_w is -1; give a positive number"),
        (own(supports=[]), "supports is empty"),
        (own(peak_gops={0: 3}), "0 is not a number of bits"),
        (own(peak_gops={8: "fast"}), "peak_gops[8] is 'fast'; give a positive number"),
        (own(costs_ns={"8": {"conv": 1.0}}), "must give conv, stem"),
        (own(device=""), "device is missing"),
        ([], "a profile is a mapping"),
    ],
)
def test_a_profile_that_cannot_be_used_is_one_line(record, words):
    with pytest.raises(SetupError) as error:
        parse_profile(record, "a.json")
    assert words in str(error.value)


def test_names_are_unique_and_unknown_ones_are_refused(home):
    (home / "devices").mkdir()
    (home / "devices" / "a.json").write_text(json.dumps(own("host")))
    with pytest.raises(SetupError, match="the name 'host' is taken"):
        all_profiles()
    (home / "devices" / "a.json").write_text("{")
    with pytest.raises(SetupError, match=r"a\.json cannot be read"):
        all_profiles()
    (home / "devices" / "a.json").unlink()
    with pytest.raises(SpecError, match="'toaster' is not a profile; known profiles: host, stm32h7a3-xcubeai"):
        project("toaster", net())
    with pytest.raises(ValueError, match="measured, not projected"):
        project("host", net())


def test_trials_are_projected_where_they_say_what_they_ask():
    plain, asking = make_trial(), replace(make_trial(), demand=RESNET8)
    first, second = with_projections([plain, asking], ["host", "ndp120"])
    assert first == plain
    assert second.projections["ndp120"] == project("ndp120", RESNET8)
    assert second.projections.get("host") == asking.projections.get("host")


def test_the_list_of_devices_is_json_with_nulls_where_nothing_is_known():
    listed = {d["name"]: d for d in json.loads(json.dumps(devices_json()))}
    assert (listed["host"]["fitted"], listed["host"]["latency_mape"], listed["host"]["basis"]) == (
        None,
        None,
        "measured",
    )
    assert listed[STM32]["fitted"] == 3
    assert 0 < listed[STM32]["latency_mape"] < 0.2
    assert listed[STM32]["power_w"] == pytest.approx(0.1273, rel=0.01)
    assert (listed["nvidia-l4"]["basis"], listed["nvidia-l4"]["latency_mape"]) == ("datasheet", None)
