import csv
import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from engine import devices
from engine.devices import BOARDS, MLPERF_MACS, T_90_DF_3, devices_json, fit_profiles, profile_names, profiles, project
from engine.errors import SetupError, SpecError
from engine.paths import DATA

STM32 = "stm32h7a3-xcubeai"


@dataclass(frozen=True)
class Graph:
    macs: int = 12_501_632
    params: int = 78_666
    weight_bits: int = 8
    activation_bits: int = 8


def _table(tmp_path, change):
    """A copy of the table with every row put through `change` (None drops it)."""
    with (DATA / "mlperf_tiny.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row for row in map(change, rows) if row is not None)
    return path


def test_a_projection_of_resnet8_is_near_what_the_board_did_with_the_release_before():
    projection, reason = project(STM32, Graph())
    assert reason is None
    # X-CUBE-AI 8.1, which is not in the fit, took 51.9 ms and 6.31 mJ (mlcommons/tiny_results_v1.1).
    assert projection.latency_ms.low < 51.9 < projection.latency_ms.high
    assert projection.latency_ms.value == pytest.approx(51.9, rel=0.2)
    assert projection.energy_mj.value == pytest.approx(6.31, rel=0.2)
    assert projection.energy_mj.source == "estimated"
    assert "MLPerf Tiny" in projection.energy_mj.basis
    assert "90 % range" in projection.energy_mj.basis


@pytest.mark.parametrize("model", MLPERF_MACS)
def test_a_model_that_the_fit_has_never_seen_falls_into_its_range(tmp_path, monkeypatch, model):
    blind = fit_profiles(_table(tmp_path, lambda row: None if row["model"] == model else row))
    monkeypatch.setattr(devices, "fit_profiles", lambda: blind)
    seen = 0
    for name, board in BOARDS.items():
        projection, _ = project(name, Graph(macs=MLPERF_MACS[model]))
        for row in devices.read_rows(DATA / "mlperf_tiny.csv", (board.board,)):
            if row.model == model:
                seen += 1
                assert projection.latency_ms.low < row.latency_ms < projection.latency_ms.high
                assert projection.energy_mj.low < row.energy_uj / 1000 < projection.energy_mj.high
    assert seen >= 3


def test_the_fit_follows_the_table(tmp_path):
    def slower(row):
        if row["board"] == "NUCLEO-H7A3ZI-Q":
            row |= {"latency_ms": str(2 * float(row["latency_ms"]))}
        return row

    before, after = fit_profiles()[STM32].fit, fit_profiles(_table(tmp_path, slower))[STM32].fit
    assert after.ns_per_mac == pytest.approx(2 * before.ns_per_mac)
    assert after.latency_mape == pytest.approx(before.latency_mape)
    assert after.power_mw == before.power_mw


def test_the_errors_are_those_of_a_model_left_out():
    # By hand from the three rows of this board: ns per MAC of each, predicted from the other two.
    ns = np.array([1.22548e6 / 264_192, 11.31785e6 / 2_656_768, 23.80442e6 / 7_489_664])
    others = np.array([math.sqrt(ns[1] * ns[2]), math.sqrt(ns[0] * ns[2]), math.sqrt(ns[0] * ns[1])])
    fit = fit_profiles()[STM32].fit
    assert (fit.rows, fit.models) == (3, 3)
    assert fit.ns_per_mac == pytest.approx(np.exp(np.log(ns).mean()))
    assert fit.latency_mape == pytest.approx(np.abs(others / ns - 1).mean())
    assert fit.latency_spread > T_90_DF_3 * 0.2


def test_rows_of_another_precision_or_runtime_are_not_used(tmp_path):
    def other(row):
        if row["board"] == "NUCLEO-U575ZI-Q" and row["framework"] == "X-CUBE-AI v10.2":
            row |= {"precision": "fp32"} if row["model"] == "ds_cnn" else {"framework": "TVM"}
        return row

    name = "stm32u575-xcubeai"
    assert (fit_profiles()[name].fit.rows, fit_profiles(_table(tmp_path, other))[name].fit.rows) == (6, 3)


def test_resubmissions_of_one_model_weigh_nothing(tmp_path):
    rows = []
    double = _table(tmp_path, lambda row: rows.append(row) or row)
    with double.open("a", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writerows(r for r in rows if r["model"] == "fc_autoencoder" and r["board"] == "NUCLEO-H7A3ZI-Q")
    before, after = fit_profiles()[STM32].fit, fit_profiles(double)[STM32].fit
    assert after.rows == before.rows + 1
    assert after.ns_per_mac == pytest.approx(before.ns_per_mac)


def test_latency_and_energy_grow_with_macs_and_the_range_holds_the_value():
    small, large = (project(STM32, Graph(macs=m))[0] for m in (1_000_000, 3_000_000))
    assert large.latency_ms.value == pytest.approx(3 * small.latency_ms.value)
    for p in (small.latency_ms, small.energy_mj):
        assert p.low < p.value < p.high
        assert 2 < p.high / p.low < 5
    # Milliwatts of the rows lie between 121 and 136.
    assert 121 < small.energy_mj.value / small.latency_ms.value * 1000 < 136


def test_bits_below_eight_run_at_int8_speed():
    assert project(STM32, Graph(weight_bits=4)) == project(STM32, Graph())


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (Graph(weight_bits=32, activation_bits=32), "computes in float; quantize weights and activations to 8 bits"),
        (Graph(weight_bits=4, activation_bits=32), "computes in float"),
        (Graph(weight_bits=16, activation_bits=8), "computes in float"),
        (Graph(macs=0), "has none"),
        (Graph(params=2_200_000), "2,200,000 int8 parameters do not fit NUCLEO-H7A3ZI-Q's flash of 2,048 KiB"),
    ],
)
def test_where_the_rows_say_nothing_the_reason_is_given(graph, words):
    projection, reason = project(STM32, graph)
    assert projection is None
    assert words in reason


def test_a_network_outside_the_fitted_sizes_is_marked():
    assert "outside" not in project(STM32, Graph())[0].energy_mj.basis
    assert (
        "40 M MACs lie outside the 0.264–12.5 M of the fit" in project(STM32, Graph(macs=40_000_000))[0].energy_mj.basis
    )


def test_the_host_is_measured_and_an_unknown_profile_is_refused():
    assert project("host", Graph()) == (None, "the host is measured, not projected")
    with pytest.raises(SpecError, match="'toaster' is not a profile; known profiles: host, stm32h7a3-xcubeai"):
        project("toaster", Graph())


def test_the_list_of_devices_is_json_with_nulls_where_nothing_is_fitted():
    listed = json.loads(json.dumps(devices_json()))
    assert [d["name"] for d in listed] == list(profile_names()) == [p.name for p in profiles()]
    host, stm32 = listed[0], listed[1]
    assert (host["name"], host["fitted"], host["latency_mape"], host["energy_mape"]) == ("host", None, None, None)
    assert stm32["fitted"] == 3
    assert 0 < stm32["latency_mape"] < 0.4
    assert 0 < stm32["energy_mape"] < 0.4


def test_a_damaged_table_is_one_line(tmp_path):
    no_column = tmp_path / "no_column.csv"
    no_column.write_text("board,framework\nNUCLEO-H7A3ZI-Q,X-CUBE-AI v9.0.0\n")
    words = _table(tmp_path, lambda row: row | {"latency_ms": "fast"})
    for path in (no_column, words, tmp_path / "gone.csv"):
        with pytest.raises(SetupError, match=r"cannot be read .*; restore it from a fresh clone"):
            fit_profiles(path)
    few = _table(tmp_path, lambda row: row if row["model"] == "ds_cnn" else None)
    with pytest.raises(SetupError, match=r"too few rows of NUCLEO-"):
        fit_profiles(few)


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        profiles()[1].name = "other"
    assert replace(profiles()[1], name="other").name == "other"
