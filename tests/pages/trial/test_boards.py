"""A board's measurement on the Trial page, beside the estimate and its error; and as a device on Explore."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from engine.store.store import Store
from tests.helpers.board import board_run
from tests.helpers.pages import enter, open_app, words

NAME = "cd" * 32 + ".onnx"
FAILED = ({"name": "predictions as recorded", "ok": False, "found": "300 of 500", "expected": "490 or more"},)


def test_measured_stands_beside_estimated(home: Path):
    sweep, store = enter(), Store.open()
    trial = dataclasses.replace(store.trials(sweep.id)[1], artifact=NAME)
    store.save_trial(sweep.id, trial)
    plain = open_app("trial", sweep=sweep.id, trial=trial.id)
    assert "On your own boards" not in words(plain)
    store.boards.keep(sweep.id, board_run(trial.id, NAME, profile="stm32h7a3-xcubeai", checks=FAILED))
    store.boards.keep(sweep.id, board_run(trial.id, "another file", board="old"))
    app = open_app("trial", sweep=sweep.id, trial=trial.id)
    (table,) = [t.value for t in app.table if "Board" in t.value]
    said = trial.projections["stm32h7a3-xcubeai"].latency_ms.value
    assert table["Board"].tolist() == ["pi"]
    assert table["Measured"].tolist() == ["4.00 ms"]
    assert table["Error"].tolist() == [f"{(said / 4 - 1) * 100:+,.0f} %"]
    assert "did not pass" in words(app)
    assert "1 of the measurements" in words(app)
    # Not among what is estimated.
    assert "Latency on pi" not in words(app)
    explore = open_app(sweep=sweep.id, device="pi")
    assert explore.session_state["pick device"] == "pi"
    assert [b.key for b in explore.button if str(b.key).startswith("front ")] == [f"front {trial.id}"]
