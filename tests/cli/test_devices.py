"""Commands about devices, scenarios and fleets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.command_line import paretoscope


def test_another_device_has_its_own_latency_and_energy(swept):
    home, sweep = swept
    arguments = ("front", sweep, "--device", "stm32h7a3-xcubeai", "--objectives", "accuracy,energy_mj", "--json")
    front = json.loads(paretoscope(*arguments, home=home).stdout)
    assert front
    assert all(t["recipe"][-1]["step"] == "quantize" for t in front), "only integer graphs have figures on this profile"
    assert all(t["energy_mj"]["source"] == "fitted" for t in front)


def test_every_device_that_is_known_can_be_looked_at_afterwards(swept):
    home, sweep = swept
    done = paretoscope("trials", sweep, "--device", "nvidia-l4", "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert all(t["energy_mj"]["source"] == "datasheet" for t in json.loads(done.stdout) if t["state"] == "done")
    refused = paretoscope("trials", sweep, "--device", "toaster", home=home)
    assert refused.returncode == 2
    assert "'toaster' is not a device profile" in refused.stderr


def test_sweeps_of_before_can_be_looked_at_on_any_device(tmp_path: Path):
    done = paretoscope("front", "example-resnet8", "--device", "stm32l4r5-xcubeai", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    front = json.loads(done.stdout)
    assert front
    assert all(t["projections"]["stm32l4r5-xcubeai"]["latency_ms"]["value"] > 0 for t in front)


def test_a_scenario_adds_money_and_carbon_and_a_fleet(swept):
    home, sweep = swept
    shown = paretoscope(
        "front", sweep, "--scenario", "vehicle-camera", "--objectives", "accuracy,co2e_kg_per_million", home=home
    )
    assert shown.returncode == 0, shown.stderr
    listed = json.loads(paretoscope("trials", sweep, "--scenario", "vehicle-camera", "--json", home=home).stdout)
    priced = [t for t in listed if (p := t["projections"].get("jetson-orin-nano")) and p["per_million"]]
    assert priced
    view = paretoscope("fleet", sweep, priced[0]["id"], "--scenario", "vehicle-camera", "--json", home=home)
    assert view.returncode == 0, view.stderr
    assert json.loads(view.stdout)["trial"]["kwh"] > 0
    assert paretoscope("fleet", sweep, "ffff", "--scenario", "vehicle-camera", home=home).returncode == 2
    assert paretoscope("trials", sweep, "--scenario", "moon", home=home).returncode == 2


def test_scenarios_and_the_errors_of_profiles_are_listed(tmp_path: Path):
    scenarios = json.loads(paretoscope("scenarios", "--json", home=tmp_path).stdout)
    assert {"medical-imager", "vehicle-camera"} <= {s["name"] for s in scenarios}
    errors = json.loads(paretoscope("devices", "--errors", "--json", home=tmp_path).stdout)
    assert {"device_class", "quantity", "left_out", "values", "mape", "median", "coverage"} == set(errors[0])


def test_the_program_for_another_board_is_written_out(tmp_path: Path):
    done = paretoscope("profile-device", "--script", "-o", tmp_path / "profile_device.py", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "import onnxruntime" in (tmp_path / "profile_device.py").read_text()
