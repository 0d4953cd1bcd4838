"""Kilowatt hours, money and carbon against examples worked by hand."""

from dataclasses import replace

import pytest
import yaml

from engine.devices.cost import (
    DAYS_PER_YEAR,
    SCENARIOS,
    Scenario,
    co2e_kg,
    device_hours,
    find_grid,
    find_scenario,
    fleet,
    grids,
    kwh,
    parse_scenario,
    payback_inferences,
    per_million,
    read_scenarios,
    sweep_kwh,
    under,
)
from engine.devices.fleet import fleet_view
from engine.devices.profiles import profile_names
from engine.errors import SetupError, SpecError
from engine.frontier.front import find_front
from engine.metrics import SCENARIO_METRICS
from engine.trials.measurements import Energy, Projection
from engine.trials.metric_values import metric_value
from tests.helpers.trial_factory import trial

EDGE = Scenario(
    "edge", "a camera", "host", {"accuracy": 0.8, "latency_ms": 5}, ("fashion_mnist",), "FRA", 1.5, "EUR",
    devices=1000, inferences_per_day=500, years=2, assumptions=("none",), price_per_kwh=0.2,
)  # fmt: skip


def test_a_millijoule_an_inference_is_a_kilojoule_a_million():
    assert kwh(3.6) == pytest.approx(0.001)  # 3.6 kJ are a watt hour
    assert kwh(1.0, inferences=1) == pytest.approx(1e-3 / 3.6e6)


def test_device_hours_are_paid_for_when_idle_too():
    # A million runs of 3.6 ms are an hour of work; at a quarter of the time busy, four hours are paid.
    assert device_hours(3.6, 1.0) == pytest.approx(1.0)
    assert device_hours(3.6, 0.25) == pytest.approx(4.0)


def test_carbon_is_energy_times_pue_times_intensity():
    assert co2e_kg(10, 50, 1.2) == pytest.approx(0.6)


def test_the_grid_table_is_codecarbons_and_each_row_has_its_year():
    table = grids()
    assert len(table) == 213
    assert table["FRA"] == find_grid("fra") == find_grid("France")
    assert (table["FRA"].g_co2e_per_kwh, table["FRA"].year) == (56.039, 2023)
    assert all(2000 <= g.year <= 2030 and 0 <= g.g_co2e_per_kwh < 2000 for g in table.values())
    with pytest.raises(SpecError, match=r"country 'Atlantis' is not in carbon_intensity\.csv"):
        find_grid("Atlantis")


def test_a_million_inferences_by_hand():
    # 7.2 mJ: 0.002 kWh at the device, 0.003 at the plug; 0.2 EUR/kWh; 56.039 g/kWh.
    found = per_million(EDGE, 7.2, None)
    assert found.kwh == pytest.approx(0.003)
    assert found.cost == pytest.approx(0.0006)
    assert found.co2e_kg == pytest.approx(0.003 * 0.056039)


def test_rented_hardware_is_paid_by_the_hour():
    rented = replace(EDGE, price_per_device_hour=2.0, utilisation=0.5, price_per_kwh=None)
    assert per_million(rented, None, 3.6).cost == pytest.approx(4.0)
    assert per_million(rented, 7.2, None).cost is None
    assert per_million(rented, None, 3.6).kwh is None


def test_a_fleet_by_hand():
    found = fleet(EDGE, per_million(EDGE, 7.2, None))
    assert found.inferences == pytest.approx(1000 * 500 * 2 * DAYS_PER_YEAR)
    assert found.kwh == pytest.approx(found.inferences / 1e6 * 0.003)
    assert found.co2e_kg == pytest.approx(found.kwh * 0.056039)


def test_a_sweep_is_repaid_when_it_has_saved_what_it_used():
    assert sweep_kwh(3600, 1000) == pytest.approx(1.0)
    # 1 kWh is 3.6e9 mJ; 9 mJ less an inference.
    assert payback_inferences(1.0, 10.0, 1.0) == 400_000_000
    assert payback_inferences(1e-9, 10.0, 1.0) == 1
    assert payback_inferences(1.0, 1.0, 1.0) is None
    assert payback_inferences(1.0, 1.0, 2.0) is None


def test_scenario_metrics_are_objectives_of_a_front():
    trials = under(EDGE, [trial(energy_mj=7.2), replace(trial(energy_mj=3.6, accuracy=0.85), id="less")])
    assert metric_value(trials[0], "cost_per_million") == pytest.approx(0.0006)
    assert metric_value(trials[1], "kwh_per_million") == pytest.approx(0.0015)
    front = find_front(trials, ("accuracy", "co2e_kg_per_million"))
    assert len(front.trials) == 2
    assert all(metric_value(trial(), key) is None for key in SCENARIO_METRICS)


def test_nothing_is_said_of_a_trial_whose_energy_is_not_known():
    bare = trial(energy_mj=None, latency_ms=None)
    assert under(EDGE, [bare]) == (bare,)


def test_limits_are_kept_or_not():
    assert EDGE.keeps(trial(accuracy=0.8, latency_ms=5.0))
    assert not EDGE.keeps(trial(accuracy=0.79))
    assert not EDGE.keeps(trial(latency_ms=5.01))
    assert not EDGE.keeps(trial(latency_ms=None))
    stuck = replace(trial(), projections={"host": Projection(None, None, fits=False, reason="no")})
    assert not EDGE.keeps(stuck)


def test_the_fleet_view_names_its_assumptions_and_when_the_sweep_is_repaid():
    before, after = under(EDGE, [trial(energy_mj=10.0), replace(trial(energy_mj=1.0), id="b")])
    found = fleet_view(EDGE, after, before, sweep_seconds=3600)
    # Two cores of 5.1 W for an hour.
    assert found["sweep_kwh"] == pytest.approx(0.0102)
    assert found["payback_inferences"] == payback_inferences(0.0102, 10.0, 1.0)
    assert found["trial"]["kwh"] == pytest.approx(found["baseline"]["kwh"] / 10)
    assert "France's grid of 2023: 56.039 g CO2e/kWh; PUE 1.5" in found["basis"]
    assert fleet_view(EDGE, replace(after, machine=None), before, 3600)["payback_inferences"] is None


def test_the_three_ready_scenarios_can_be_used():
    found = read_scenarios()
    assert set(found) == {"medical-imager", "vehicle-camera", "smartphone-feature"}
    for scenario in found.values():
        assert scenario.device in profile_names()
        assert scenario.datasets[-1] == "fashion_mnist", "the last can always be loaded"
        assert scenario.assumptions
    with pytest.raises(SpecError, match="'moon' is not a scenario; known: medical-imager"):
        find_scenario("moon")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pue": 0.9}, "pue is 0.9; it is 1 or more"),
        ({"utilisation": 1.2}, "utilisation is 1.2"),
        ({"devices": 0}, "devices is 0; give a positive number"),
        ({"price_per_kwh": -1}, "price_per_kwh is -1"),
        ({"limits": {"beauty": 1}}, "'beauty' is not a metric"),
        ({"country": "Atlantis"}, "Atlantis"),
    ],
)
def test_a_scenario_that_cannot_be_is_one_line(change, words):
    entry = yaml.safe_load(SCENARIOS.read_text())["scenarios"][0]
    with pytest.raises(SpecError) as error:
        parse_scenario(entry | change)
    assert words in str(error.value)


def test_damaged_tables_are_one_line(tmp_path):
    (tmp_path / "x").write_text("scenarios: 3")
    with pytest.raises(SetupError, match="restore it from a fresh clone"):
        read_scenarios(tmp_path / "x")
    with pytest.raises(SetupError, match="restore it from a fresh clone"):
        grids(tmp_path / "gone.csv")


def test_estimates_stay_estimates_under_a_scenario():
    from engine.metrics import axis_title, text_of
    from engine.trials.text import is_estimated

    (made,) = under(EDGE, [trial(energy_mj=7.2)])
    assert is_estimated(made, "co2e_kg_per_million")
    counted = Energy(1, 1, 1, "measured", "counter")
    assert not is_estimated(replace(made, projections={"host": Projection(None, counted)}), "kwh_per_million")
    assert axis_title("kwh_per_million", "ndp120", True) == "Energy per million on ndp120, estimated (kWh)"
    assert text_of("kwh_per_million", 0.003) == "0.00300 kWh"
