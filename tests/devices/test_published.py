import csv

import pytest

from engine.devices.published import TABLE, demand_of, read_rows, reference_demands
from engine.errors import SetupError


def test_rows_of_one_system_and_network_are_one():
    rows = read_rows()
    keys = [(r.system, r.model) for r in rows]
    assert len(keys) == len(set(keys))
    # One board under two spellings, submitted twice (v0.7 and v1.0 or later).
    again = next(r for r in rows if r.system == "nucleo-u575zi hale int8 160" and r.model == "resnet8")
    assert again.count > 1


def test_a_row_says_what_was_submitted():
    row = next(r for r in read_rows() if r.system == "nucleo-h7a3zi X-CUBE-AI v9 int8 280" and r.model == "ds_cnn")
    assert (row.latency_ms, row.energy_mj, row.power_mw) == pytest.approx((11.31785, 1.375599, 121.8639))
    assert (row.family, row.device_class, row.precision) == ("xcubeai-9", "microcontroller", "int8")


def test_almost_every_row_of_the_table_has_a_system():
    with TABLE.open(newline="") as file:
        table = list(csv.DictReader(file))
    fixed_point = sum(r["precision"] == "fixed-point" for r in table)
    assert sum(r.count for r in read_rows()) == len(table) - fixed_point


def test_precision_decides_what_a_network_asks_for():
    by_precision = {r.precision: demand_of(r) for r in read_rows() if r.model == "resnet8"}
    assert by_precision["int8"].compute_bits == 8
    assert by_precision["fp32"] == reference_demands()["resnet8"]


def test_a_damaged_table_is_one_line(tmp_path):
    bad = tmp_path / "table.csv"
    bad.write_text("board,framework\nNUCLEO-H7A3ZI-Q,X-CUBE-AI v9.0.0\n")
    for path in (bad, tmp_path / "gone.csv"):
        with pytest.raises(SetupError, match=r"cannot be read .*; restore it from a fresh clone"):
            read_rows(path)
    with pytest.raises(SetupError, match="cannot be read"):
        reference_demands(bad)
