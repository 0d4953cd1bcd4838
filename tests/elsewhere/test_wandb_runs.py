"""Tables as Weights & Biases' page exports them, with whatever columns their runs had."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.elsewhere.csv_table import read_csv
from engine.errors import InputError

HEAD = '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","lr","model.depth",'
ROW = '"{}","{}","-","somebody","","2026-05-04T18:23:32.000Z","12629","","0.001","20",'


def table(folder: Path, columns: str, *rows: tuple[str, str, str]) -> Path:
    lines = [HEAD + columns, *(ROW.format(name, state) + cells for name, state, cells in rows)]
    path = folder / "wandb_export_2026-05-04T18_23_32.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_finished_runs_and_known_numbers_are_taken_and_the_rest_named(tmp_path: Path):
    path = table(
        tmp_path,
        '"accuracy","size_bytes","loss"',
        ("swift-sun-1 [a]", "finished", '"0.91","1000","0.2"'),
        ("calm-sea-2", "crashed", '"0.5","900","9"'),
        ("late-day-3", "finished", '"-","800","NaN"'),
        ("no-number-4", "finished", '"","",""'),
    )
    found = read_csv(path)
    # What cannot stand in a name here becomes a space.
    assert [(r.name, r.values) for r in found.rows] == [
        ("swift-sun-1 a", {"accuracy": 0.91, "size_bytes": 1000.0}),
        ("late-day-3", {"size_bytes": 800.0}),
    ]
    assert found.left_out == ("lr", "model.depth", "loss", "calm-sea-2 (crashed)", "no-number-4 (finished, no number)")


@pytest.mark.parametrize(
    ("columns", "cells", "words"),
    [
        ('"accuracy"', '"91.2"', "no share between 0 and 1.*accuracy_%"),
        ('"val_acc"', '"0.9"', "no finished run with a number that is known here"),
        ('"accuracy","accuracy_%"', '"0.9","90"', "accuracy twice"),
        ('"size_bytes"', '"1.5"', "not a whole number"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path: Path, columns: str, cells: str, words: str):
    with pytest.raises(InputError, match=words):
        read_csv(table(tmp_path, columns, ("a", "finished", cells)))
    if "twice" in words:
        assert read_csv(table(tmp_path, columns, ("a", "finished", cells)), ["accuracy"]).rows[0].values == {
            "accuracy": 0.9
        }


def test_a_name_and_a_state_alone_are_no_such_table(tmp_path: Path):
    path = tmp_path / "people.csv"
    path.write_text("Name,State,accuracy\nx,finished,0.5\n")
    with pytest.raises(InputError, match="no column 'name'"):
        read_csv(path)
