"""A sweep as Weights & Biases' table of runs, and back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from engine.elsewhere.csv_table import read_csv
from engine.elsewhere.headings import KEYS
from engine.interchange.wandb_csv import runs_csv
from engine.store.store import Store
from engine.trials.metric_values import metric_value
from tests.helpers.trial_factory import sweep_trials

SWEEP, OTHER = "example-resnet8", "example-transformer"


def test_a_table_comes_back_as_the_same_numbers(home: Path, tmp_path: Path):
    table = tmp_path / "runs.csv"
    store = Store.open()
    row = store.sweep(SWEEP)
    trials = store.trials(row.id)
    table.write_bytes(runs_csv(row, store.spec(row.id), trials))
    found = read_csv(table)
    assert [r.name for r in found.rows] == [f"{t.id} {t.label}"[:100].strip() for t in trials]
    for point, trial in zip(found.rows, trials, strict=True):
        assert point.values == {k: v for k in KEYS if (v := metric_value(trial, k)) is not None}
    assert {"config.quantize.weight_bits", "accuracy_low", "latency_ratio"} <= set(found.left_out)


def test_columns_are_theirs_and_what_failed_says_why(home: Path):
    store = Store.open()
    row = store.sweep(SWEEP)
    trials = sweep_trials(failed=1, pending=2)
    text = runs_csv(row, store.spec(row.id), trials).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0])[:8] == ["Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep"]
    assert len(rows) == len(trials) - 2
    assert (rows[-1]["State"], rows[-1]["Notes"], rows[-1]["accuracy"]) == ("failed", trials[-3].error, "")
    assert (rows[1]["State"], rows[1]["config.trial"], rows[1]["Sweep"]) == ("finished", trials[1].id, row.id)
    names = list(rows[0])
    configs = [i for i, name in enumerate(names) if name.startswith("config.")]
    assert configs == list(range(8, 8 + len(configs)))
