"""One contract for every store: what is written is read back, states follow heartbeats, and old and new versions are told apart."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory

from engine.errors import NotFoundError, SetupError, SpecError
from engine.spec.sweep import parse_sweep
from engine.store import example as example_module
from engine.store import rows, schema
from engine.store import store as store_module
from engine.store.migrations.upgrade import SCHEMA_REVISION
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.evidence import Accuracy, Interval
from engine.trials.measurements import Energy, Latency, Projection
from engine.trials.trial import Trial
from tests.helpers.ended import ended_process

SWEEP = parse_sweep(
    {
        "name": "First Look!",
        "model": {"source": "resnet8"},
        "space": {"quantize": [None, {"weight_bits": 8, "activation_bits": 8}]},
    }
)


def pending() -> list[Trial]:
    return [Trial(r.id, r) for r in SWEEP.all_recipes]


def measured(index: int = 0) -> Trial:
    recipe = SWEEP.all_recipes[index]
    return Trial(
        recipe.id,
        recipe,
        state="done",
        accuracy=Accuracy(0.9, 0.89, 0.91, 1000, None if index == 0 else 0.5),
        size_bytes=1234,
        latency_ms=Latency(1.0, 2.0, 3.0),
        latency_ratio=Interval(0.5, 0.4, 0.6),
        projections={"host": Projection(None, Energy(5.0, 1.0, 9.0, "datasheet", "6 W"))},
        notes=("a note",),
    )


def test_a_trial_is_read_back_as_it_was_written(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    store.save_trial(SWEEP.id, measured(1))
    assert store.trials(SWEEP.id) == [pending()[0], measured(1)]
    assert store.spec(SWEEP.id) == SWEEP


def test_the_revision_grows_with_every_trial_but_not_with_heartbeats(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    before = store.revision(SWEEP.id)
    store.beat(SWEEP.id, 1, 1.0, None)
    assert store.revision(SWEEP.id) == before
    store.save_trial(SWEEP.id, measured())
    assert store.revision(SWEEP.id) > before
    assert store.revision("none") == 0


def test_only_what_changed_after_a_revision_is_read(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    begun = store.revision(SWEEP.id)
    assert len(store.changed_trials(SWEEP.id)) == len(SWEEP.all_recipes)
    assert store.changed_trials(SWEEP.id, begun) == {}
    store.save_trial(SWEEP.id, measured(1))
    assert store.changed_trials(SWEEP.id, begun) == {1: measured(1)}
    assert store.changed_trials(SWEEP.id, store.revision(SWEEP.id)) == {}
    with pytest.raises(NotFoundError, match="there is no sweep 'none'"):
        store.save_trial("none", measured())


@pytest.mark.parametrize("process", [None, "another-host/pid:[1] 12 345"])
def test_a_runner_elsewhere_that_fell_silent_makes_its_sweep_interrupted_and_free_to_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, process: str | None
):
    store.begin(SWEEP, pending(), 9, 0)
    store._update(SWEEP.id, process=process)
    assert store.sweep(SWEEP.id).state == "running"
    with pytest.raises(SetupError, match="is being run by process"):
        store.begin(SWEEP, pending(), 9, 0)
    monkeypatch.setattr(rows, "HEARTBEAT_LIMIT_S", -1.0)
    assert store.sweep(SWEEP.id).state == "interrupted"
    store.beat(SWEEP.id, 4, 12.5, None)
    assert store.begin(SWEEP, pending(), 9, 4) == 12.5
    assert store.sweep(SWEEP.id).nodes_done == 4


def test_cancelling_reaches_the_runner_with_its_next_heartbeat(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    assert store.beat(SWEEP.id, 1, 1.0, 2.0) is False
    store.request_cancel(SWEEP.id)
    assert store.beat(SWEEP.id, 2, 1.0, 2.0) is True
    store.end(SWEEP.id, "cancelled")
    assert store.sweep(SWEEP.id).state == "cancelled"
    store.begin(SWEEP, pending(), 9, 2)
    assert store.beat(SWEEP.id, 2, 1.0, 2.0) is False


def test_a_sweep_is_found_by_id_name_start_or_latest(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    other = SWEEP.model_copy(update={"name": "First Light"})
    store.begin(parse_sweep(other.model_dump()), pending(), 9, 0)
    for ref in (SWEEP.id, "First Look!", "first-lo"):
        assert store.sweep(ref).id == SWEEP.id
    assert store.sweep("latest").id in {r.id for r in store.sweeps()}
    with pytest.raises(NotFoundError, match="could be several"):
        store.sweep("first-")
    with pytest.raises(NotFoundError, match="paretoscope sweeps"):
        store.sweep("nonesuch")


def test_a_trial_is_found_by_the_start_of_its_id(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    wanted = SWEEP.all_recipes[1].id
    assert store.trial(SWEEP.id, wanted[:4]).id == wanted
    with pytest.raises(NotFoundError, match="begins with 'zz'"):
        store.trial(SWEEP.id, "zz")


def test_a_node_keeps_its_first_result_and_rates_are_medians(store: Store):
    for i, seconds in enumerate((1.0, 2.0, 30.0)):
        store.save_node(NodeRow(f"{i}" * 64, "export", 2.0, seconds, {"i": i}))
    store.save_node(NodeRow("0" * 64, "export", 2.0, 99.0, {"i": 99}))
    assert store.nodes(["0" * 64, "f" * 64])["0" * 64].result == {"i": 0}
    assert store.rates() == {"export": 1.0}


def test_a_store_from_a_newer_version_is_left_alone(url: str, store: Store):
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SetupError, match=r"version 9999, newer than this program's .* update Paretoscope"):
        Store(url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"


def test_the_schema_revision_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", str(Path(store_module.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_REVISION


def test_a_budget_of_before_searches_had_trials_is_read_under_its_new_name(url: str, store: Store):
    limited = parse_sweep(SWEEP.model_dump() | {"search": {"trials": 5, "minutes": 2}})
    store.begin(limited, pending(), 9, 0)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        old = json.dumps(limited.model_dump(mode="json")).replace('"trials": 5', '"recipes": 5')
        assert '"recipes": 5' in old
        connection.execute(sa.text("UPDATE sweeps SET spec = :spec"), {"spec": old})
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0004'"))
    assert Store(url).spec(limited.id) == limited
    if not url.startswith("sqlite"):
        return
    # The store of before stays beside it.
    before = sa.create_engine(f"{url}.before-{SCHEMA_REVISION}", poolclass=sa.NullPool)
    with before.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "0004"
        assert connection.scalar(sa.text("SELECT spec FROM sweeps")) == old
    # As it was computed then: what is kept by this id, the record of confirmations too, is found again.
    assert parse_sweep({"name": "x", "model": {"source": "resnet8"}, "search": {"trials": 20}}).id == "x-7edce0"


def test_the_tables_that_the_code_names_are_those_that_the_migrations_make(url: str, store: Store):
    inspector = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool))
    for table in schema.meta.tables.values():
        assert {c["name"] for c in inspector.get_columns(table.name)} == {c.name for c in table.columns}


@pytest.mark.parametrize("bad", ["nonsense", "sqlite:////no/such/folder/store.db", "sqlite:///{file}"])
def test_a_store_that_cannot_be_opened_is_one_line(tmp_path: Path, bad: str):
    file = tmp_path / "text.db"
    file.write_text("this is no database, " * 100)
    with pytest.raises(SetupError, match="PARETOSCOPE_STORE") as caught:
        Store(bad.format(file=file))
    assert "\n" not in str(caught.value)


def test_a_store_whose_driver_is_missing_says_what_brings_it(monkeypatch: pytest.MonkeyPatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "psycopg"] + ["psycopg"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SetupError, match=r"postgresql://…@db/x needs a driver .*paretoscope\[postgres\]"):
        Store("postgresql://me:secret@db/x")


def test_a_sweep_of_the_users_own_with_the_examples_id_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    example = tmp_path / "example"
    example.mkdir()
    monkeypatch.setattr(example_module, "EXAMPLES", (example,))
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PARETOSCOPE_STORE", raising=False)
    Store.open().begin(SWEEP, pending(), 9, 0)
    shipped = {
        "spec": SWEEP.model_dump(mode="json"),
        "row": {"created": "2026-11-23T00:00:00+00:00", "revision": 1},
        "trials": [],
    }
    (example / "sweep.json").write_text(json.dumps(shipped))
    store = Store.open()
    assert [(r.id, r.example) for r in store.sweeps()] == [(SWEEP.id, False)]
    assert store.trials(SWEEP.id) == pending()


def test_the_shipped_example_is_entered_once_and_listed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    example = tmp_path / "example"
    example.mkdir()
    shipped = {
        "spec": SWEEP.model_dump(mode="json"),
        "row": {"created": "2026-11-23T00:00:00+00:00", "recipes": 2, "nodes_total": 9, "nodes_done": 9},
        "trials": [measured(0).to_json(), measured(1).to_json()],
    }
    (example / "sweep.json").write_text(json.dumps(shipped))
    monkeypatch.setattr(example_module, "EXAMPLES", (example,))
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PARETOSCOPE_STORE", raising=False)
    Store.open()
    store = Store.open()
    mine = parse_sweep({**SWEEP.model_dump(), "name": "mine"})
    store.begin(mine, pending(), 9, 0)
    assert [(r.name, r.example) for r in store.sweeps()] == [("mine", False), ("First Look!", True)]
    assert store.trials(SWEEP.id) == [measured(0), measured(1)]

    with pytest.raises(SetupError, match="give your sweep another name"):
        store.begin(SWEEP, pending(), 9, 0)

    # What was changed in it since is no other example.
    changed = replace(measured(0), error="a word of mine")
    store.save_trial(SWEEP.id, changed)
    assert Store.open().trials(SWEEP.id) == [changed, measured(1)]
    # The same measurements under other keys are: the files of before are not shipped any more.
    revision = store.revision(SWEEP.id)
    shipped["trials"] = [t | {"artifact": f"{number:064x}.onnx"} for number, t in enumerate(shipped["trials"])]
    (example / "sweep.json").write_text(json.dumps(shipped))
    assert [t.artifact for t in Store.open().trials(SWEEP.id)] == [t["artifact"] for t in shipped["trials"]]
    assert store.revision(SWEEP.id) > revision

    shipped["row"]["created"] = "2027-01-01T00:00:00+00:00"
    shipped["trials"] = [measured(0).to_json()]
    (example / "sweep.json").write_text(json.dumps(shipped))
    assert Store.open().trials(SWEEP.id) == [measured(0)]


def test_each_shipped_example_is_renewed_by_itself_and_one_that_ships_no_more_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folders = tmp_path / "a", tmp_path / "b"
    monkeypatch.setattr(example_module, "EXAMPLES", folders)
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PARETOSCOPE_STORE", raising=False)

    def ship(folder: Path, name: str, created: str) -> str:
        spec = SWEEP.model_dump(mode="json") | {"name": name}
        row = {"created": created, "recipes": 1, "nodes_total": 9, "nodes_done": 9}
        folder.mkdir(exist_ok=True)
        (folder / "sweep.json").write_text(json.dumps({"spec": spec, "row": row, "trials": [measured(0).to_json()]}))
        return parse_sweep(spec).id

    pictures, series = ship(folders[0], "Pictures", "2026-11-23"), ship(folders[1], "Series", "2026-11-24")
    store = Store.open()
    # By their names, whichever was made last; the newest of all sweeps is the first of them as long as there are no others.
    assert [r.id for r in store.sweeps()] == [pictures, series]
    assert store.sweep("latest").id == pictures
    assert [example_module.example_folder(i) for i in (pictures, series, SWEEP.id)] == [*folders, None]

    changed = replace(measured(0), error="a word of mine")
    store.save_trial(pictures, changed)
    renewed = ship(folders[1], "Series", "2026-11-25")
    assert renewed == series
    assert [r.created for r in Store.open().sweeps()] == ["2026-11-23", "2026-11-25"]
    assert store.trials(pictures) == [changed]

    other = ship(folders[1], "Sounds", "2026-11-26")
    assert [r.id for r in Store.open().sweeps()] == [pictures, other]
    assert store.trials(series) == []


def test_processes_that_open_a_new_store_at_once_all_get_it(tmp_path):
    code = "import sys; from engine.store.store import Store; Store(sys.argv[1]); print('open')"
    command = [sys.executable, "-c", code, f"sqlite:///{tmp_path / 'new.db'}"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    for process in running:
        output, said = process.communicate(timeout=120)
        assert output == "open\n", said


def test_a_deleted_sweep_is_gone_and_its_nodes_stay_for_others(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    other = parse_sweep(SWEEP.model_dump() | {"name": "Another"})
    store.begin(other, pending(), 9, 0)
    store.save_node(NodeRow("k" * 64, "facts", 1.0, 0.5, {"macs": 7}))
    store.end(SWEEP.id, "done")
    store.delete_sweep(SWEEP.id)
    assert [r.id for r in store.sweeps()] == [other.id]
    assert store.trials(SWEEP.id) == []
    assert len(store.trials(other.id)) == 2
    assert store.nodes(["k" * 64])["k" * 64].result == {"macs": 7}
    with pytest.raises(NotFoundError, match="there is no sweep"):
        store.delete_sweep(SWEEP.id)
    # The same spec begins as if it had never been.
    assert store.begin(SWEEP, pending(), 9, 0) == 0.0


def test_what_runs_is_not_deleted_until_it_is_cancelled_or_its_runner_is_gone(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    # However long it says nothing: a host that slept, a clock that was set.
    store._update(SWEEP.id, heartbeat=0.0)
    with pytest.raises(SpecError, match=f"is running; cancel it first .`paretoscope cancel {SWEEP.id}`"):
        store.delete_sweep(SWEEP.id)
    store._update(SWEEP.id, process=ended_process())
    store.delete_sweep(SWEEP.id)
    assert store.sweeps() == []


def test_the_shipped_example_cannot_be_deleted(home: Path):
    store = Store.open()
    example = store.sweep("latest")
    assert example.example
    with pytest.raises(SpecError, match="ships with Paretoscope"):
        store.delete_sweep(example.id)
    assert len(store.trials(example.id)) == example.trials


def test_failed_recipes_are_told_apart(store: Store):
    store.begin(SWEEP, pending(), 9, 0)
    assert store.failed(SWEEP.id) == frozenset()
    bad = pending()[1]
    store.save_trial(SWEEP.id, Trial(bad.id, bad.recipe, state="failed", error="no"))
    assert store.failed(SWEEP.id) == {bad.id}
