"""A table of points: units are stated or refused, never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.elsewhere.csv_table import read_csv
from engine.errors import InputError


def written(folder: Path, text: str) -> Path:
    path = folder / "results.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_are_in_base_units_and_empty_cells_are_not_measured(tmp_path: Path):
    text = '\ufeffname, accuracy ,size_bytes,latency_ms,remark\na,0.913,1234,1.5,x\n"b, c",92.5 %,,2e0,\n\n'
    found = read_csv(written(tmp_path, text), ignore=["remark"])
    assert (found.source, [r.name for r in found.rows]) == ("results.csv", ["a", "b, c"])
    assert found.rows[0].values == {"accuracy": 0.913, "size_bytes": 1234, "latency_ms": 1.5}
    assert found.rows[1].values == {"accuracy": pytest.approx(0.925), "latency_ms": 2.0}


@pytest.mark.parametrize("head", ["accuracy_%", "accuracy %", "accuracy (%)"])
def test_a_column_may_be_in_percent(tmp_path: Path, head: str):
    found = read_csv(written(tmp_path, f"name,{head}\na,91.3\nb,0.5%\n"))
    assert [r.values["accuracy"] for r in found.rows] == [pytest.approx(0.913), pytest.approx(0.005)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,accuracy\na,91.3\n", "row 1: '91.3' is no share between 0 and 1.*accuracy_%"),
        ("name,accuracy_%\na,0.913\nb,0.9\n", "percent or shares"),
        ("name,accuracy_%\na,913\n", "'913' is no share"),
        ("name,accuracy,accuracy_%\na,0.9,90\n", "accuracy twice"),
        ("name,size_kb\na,12\n", "'size_kb' is not a number that is known.*size_bytes"),
        ("name,size_bytes_%\na,12\n", "is not a number that is known"),
        ("name,size_bytes\na,81.2\n", "not a whole number"),
        ("name,latency_ms\na,\"1,5\"\n", "'1,5' is no number"),
        ("name,latency_ms\na,nan\n", "'nan' is no number"),
        ("name,latency_ms\na,0\n", "'0' cannot be"),
        ("name,nll\na,-1\n", "'-1' cannot be"),
        ("name,latency_ratio\na,0.5\n", "is worked out here"),
        ("name,cost_per_million\na,0.5\n", "is worked out here"),
        ("model,accuracy\na,0.9\n", "no column 'name'"),
        ("name;accuracy\na;0.9\n", "divide its cells by commas"),
        ("name,accuracy,accuracy\na,0.9,0.9\n", "two columns 'accuracy'"),
        ("name,accuracy\na,0.9,7\n", "row 1: 3 cells under 2 headings"),
        ("name,accuracy\na,\"0.9\n", "is not a CSV file"),
        ("", "no column 'name'"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused_in_one_line(tmp_path: Path, text: str, words: str):
    with pytest.raises(InputError, match=words) as refused:
        read_csv(written(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_files_that_are_none(tmp_path: Path):
    (tmp_path / "b.csv").write_bytes(b"name,accuracy\n\xff\xfe,1\n")
    for path, words in ((tmp_path / "none.csv", "cannot be read"), (tmp_path / "b.csv", "UTF-8")):
        with pytest.raises(InputError, match=words):
            read_csv(path)
    with pytest.raises(InputError, match=r"--ignore.*'nothing'"):
        read_csv(written(tmp_path, "name,accuracy\na,0.9\n"), ["nothing"])
