"""Hosts whose clocks differ see the same runs alive: silence is measured by the store's clock."""

import time

import pytest
import sqlalchemy as sa

from engine.errors import RunningError
from engine.spec.sweep import parse_sweep
from engine.store import rows
from engine.store.clock import now_s
from engine.store.store import Store
from engine.trials.trial import Trial

ELSEWHERE = "another-host/pid:[1] 12 345"
SWEEP = parse_sweep({"name": "Clocks", "model": {"source": "resnet8"}, "space": {"quantize": [None]}})
TRIALS = [Trial(r.id, r) for r in SWEEP.all_recipes]
REAL = time.time


@pytest.mark.parametrize("off_s", [3600.0, -3600.0])
def test_a_host_whose_clock_is_an_hour_off_sees_a_live_run_as_alive_and_a_silent_one_as_silent(
    store: Store, monkeypatch: pytest.MonkeyPatch, off_s: float
):
    # Its runner's clock is off.
    with monkeypatch.context() as runner:
        runner.setattr(time, "time", lambda: REAL() + off_s)
        store.begin(SWEEP, TRIALS, 9, 0, run=f"{ELSEWHERE} run")
        store.beat(SWEEP.id, 1, 1.0, 2.0)
    assert store.sweep(SWEEP.id).state == "running"
    store._update(SWEEP.id, heartbeat=now_s(store._engine.dialect.name) - 2 * rows.HEARTBEAT_LIMIT_S)
    assert store.sweep(SWEEP.id).state == "interrupted"
    store.beat(SWEEP.id, 1, 1.0, 2.0)
    # Whoever looks has a clock that is off.
    monkeypatch.setattr(time, "time", lambda: REAL() + off_s)
    assert store.sweep(SWEEP.id).state == "running"
    with pytest.raises(RunningError):
        store.begin(SWEEP, TRIALS, 9, 0, run=f"{ELSEWHERE} another")
    store._update(SWEEP.id, heartbeat=now_s(store._engine.dialect.name) - 2 * rows.HEARTBEAT_LIMIT_S)
    assert store.sweep(SWEEP.id).state == "interrupted"
    store.begin(SWEEP, TRIALS, 9, 1, run=f"{ELSEWHERE} another")


def test_a_heartbeat_of_the_future_is_from_before_the_stores_clock_was_put_back(store: Store):
    store.begin(SWEEP, TRIALS, 9, 0, run=f"{ELSEWHERE} run")
    store._update(SWEEP.id, heartbeat=now_s(store._engine.dialect.name) + 3600.0)
    assert store.sweep(SWEEP.id).state == "interrupted"
    # One that lives says so again in seconds.
    store.beat(SWEEP.id, 1, 1.0, 2.0)
    assert store.sweep(SWEEP.id).state == "running"
    with store._engine.connect() as connection:
        assert connection.scalar(sa.select(now_s(store._engine.dialect.name))) == pytest.approx(REAL(), abs=300.0)
