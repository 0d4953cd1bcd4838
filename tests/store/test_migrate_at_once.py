"""Several programs that come to a store of an earlier version at once: one brings it up to date, the others find it so, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import engine.store.store as store_module
from engine.spec.sweep import parse_sweep
from engine.store.connection import connect
from engine.store.migrations.upgrade import SCHEMA_REVISION
from engine.store.rows import digest_of, new_sweep
from engine.store.store import Store
from tests.helpers.trial_factory import trial

SWEEP = parse_sweep({"name": "Old", "model": {"source": "resnet8"}})
OPEN = """
import sys, time
from pathlib import Path
import alembic.command, alembic.config
from engine.store.store import Store
Path(sys.argv[2], str(time.monotonic_ns())).touch()
while not Path(sys.argv[3]).exists():
    time.sleep(0.002)
Store(sys.argv[1])
print("open")
"""
TRIALS = 1500


def old_store(url: str) -> None:
    """A store of version 0008 with a sweep in it."""
    config = Config()
    config.set_main_option("script_location", str(Path(store_module.__file__).parent / "migrations"))
    engine = connect(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        known = {c["name"] for c in sa.inspect(connection).get_columns("sweeps")}
        row = {k: v for k, v in new_sweep(SWEEP).items() if k in known} | {"state": "done"}
        sweeps = sa.table("sweeps", *map(sa.column, row))
        connection.execute(sweeps.insert(), [row])
        record = trial().to_json()
        columns = ("sweep_id", "id", "position", "state", "record", "revision")
        rows = [
            dict(
                zip(
                    columns, (SWEEP.id, f"{i:012x}", i, "done", json.dumps({**record, "label": str(i)}), 1), strict=True
                )
            )
            for i in range(TRIALS)
        ]
        connection.execute(sa.table("trials", *map(sa.column, columns)).insert(), rows)
    engine.dispose()


def test_programs_that_bring_an_old_store_up_to_date_at_once_all_get_it(url: str, tmp_path: Path):
    old_store(url)
    here, go = tmp_path / "here", tmp_path / "go"
    here.mkdir()
    command_line = [sys.executable, "-c", OPEN, url, str(here), str(go)]
    running = [
        subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    while len(list(here.iterdir())) < len(running) and all(p.poll() is None for p in running):
        time.sleep(0.01)
    go.touch()
    told = [process.communicate(timeout=120) for process in running]
    assert [output for output, _ in told] == ["open\n"] * len(running), told
    store = Store(url)
    assert len(store.trials(SWEEP.id)) == TRIALS
    found = dict(store.changed_records(SWEEP.id))
    assert [digest for _, _, digest in store.stamps.of(SWEEP.id)] == [digest_of(found[i]) for i in range(TRIALS)]
    if url.startswith("sqlite"):
        # The copy is of the store before any of them changed it.
        before = sa.create_engine(f"{url}.before-{SCHEMA_REVISION}", poolclass=sa.NullPool)
        with before.connect() as connection:
            assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0008"
            assert "digest" not in {c["name"] for c in sa.inspect(connection).get_columns("trials")}
