"""The program that users copy to a device: real ONNX files, counted as Paretoscope counts, and a fit that is right."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import engine.devices.profile_template as template
from engine.devices.fitting import FEATURES, features
from engine.devices.profiles import parse_profile
from engine.devices.projection import project
from engine.devices.user_profiles import profile_here, write_script
from engine.errors import SetupError, SpecError
from engine.graph.count_demand import graph_demand

TRUE_NS = np.array([2.0, 5.0, 1.0, 6.0, 3.0, 0.5, 4000.0])


def test_it_needs_python_numpy_and_onnxruntime_alone():
    tree = ast.parse(Path(template.__file__).read_text())
    found = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    found |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)} - {"__future__"}
    assert found - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("index", range(len(template.CHAINS)))
def test_a_chain_is_a_real_graph_and_counted_as_paretoscope_counts(index, bits):
    chain = template.CHAINS[index]
    model = onnx.load_model_from_string(template.model_bytes(chain, bits))
    onnx.checker.check_model(model, full_check=True)
    demand = graph_demand(model)
    assert template.FEATURES == FEATURES
    assert template.features_of(chain, bits).tolist() == list(features(demand))
    assert demand.compute_bits == bits


@pytest.mark.parametrize("index", range(len(template.CHAINS)))
def test_an_integer_chain_runs_in_integers(tmp_path, index):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimised.onnx"), 4
    onnxruntime.InferenceSession(template.model_bytes(template.CHAINS[index], 8), options, ["CPUExecutionProvider"])
    found = {n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert not found & {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "Add", "Relu"}


def made_up(noise=0.0):
    random = np.random.default_rng(0)
    rows = []
    for bits in (32, 8):
        for index, chain in enumerate(template.CHAINS):
            ms = float(template.features_of(chain, bits) @ TRUE_NS) * 1e-6
            rows.append((bits, index, ms * float(np.exp(noise * random.standard_normal()))))
    return rows


def test_the_fit_recovers_known_costs():
    rows = [row for row in made_up() if row[0] == 8]
    counts = np.array([template.features_of(template.CHAINS[i], 8) for _, i, _ in rows])
    assert template.fit_costs(counts, np.array([ms for *_, ms in rows])) == pytest.approx(TRUE_NS, rel=1e-6)


def test_costs_are_never_negative():
    random = np.random.default_rng(5)
    for _ in range(20):
        found = template.fit_costs(random.uniform(0, 1e6, (15, 7)), random.uniform(0.1, 9, 15))
        assert (found >= 0).all()
        assert found.any()


def test_the_error_in_the_file_is_that_of_chains_left_out():
    exact, noisy = (template.make_profile("a", made_up(noise), 1)["profile"] for noise in (0.0, 0.1))
    assert exact["held_out"]["mape"] < 1e-6
    assert 0.05 < noisy["held_out"]["mape"] < 0.4
    assert noisy["held_out"]["layers"] == 2 * len(template.CHAINS)
    rows = [row for row in made_up(0.1) if row[0] == 32]
    counts = np.array([template.features_of(template.CHAINS[i], 32) for _, i, _ in rows])
    times = np.array([ms for *_, ms in rows])
    first = template.held_out(counts, times)[0]
    alone = counts[0] @ template.fit_costs(counts[1:], times[1:]) * 1e-6
    assert first == pytest.approx(np.log(alone / times[0]))


def test_a_profile_of_this_machine_is_written_and_can_be_projected_onto(home, monkeypatch):
    monkeypatch.setattr(template, "CHAINS", (*template.CHAINS[:1], template.CHAINS[18], template.CHAINS[21]))
    path, record = profile_here("this-one", None, 1, 0.0001)
    assert path == home / "devices" / "this-one.json"
    assert json.loads(path.read_text())["profile"] == record
    demand = graph_demand(onnx.load_model_from_string(template.model_bytes(template.CHAINS[0], 8)))
    found = project("this-one", demand)
    assert found.latency_ms.value > 0
    assert found.source == "fitted"
    profile_here("this-one", None, 1, 0.0001)  # again, over the old one
    with pytest.raises(SpecError, match="small letters"):
        profile_here("My Board", None, 1, 0.0001)
    with pytest.raises(SpecError, match="'host' is taken"):
        profile_here("host", None, 1, 0.0001)


def test_a_made_up_profile_is_one_that_paretoscope_reads():
    record = template.make_profile("a-b", made_up(), 2)["profile"]
    profile = parse_profile(record, "x")
    assert profile.costs_ns[8] == pytest.approx(TRUE_NS, rel=1e-6)
    assert profile.supports == (8, 32)


def test_the_script_that_is_written_out_is_the_program(tmp_path):
    path = write_script(tmp_path / "profile_device.py")
    assert path.read_text() == Path(template.__file__).read_text()


def test_a_home_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file, where the folder should be")
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(template, "measure", None)
    with pytest.raises(SetupError, match="cannot be written"):
        profile_here("my-chip", None, 1, 0.1)
