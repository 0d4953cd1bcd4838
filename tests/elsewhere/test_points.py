"""Imported points beside a sweep: marked, off the frontier unless asked, never on the host's axis, gone when told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.elsewhere.points import import_points
from engine.errors import InputError, NotFoundError
from engine.store.store import Store
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial
from tests.helpers.pages import enter


@pytest.fixture
def store(home: Path) -> Store:
    enter()
    return Store.open()


def table(folder: Path, text: str, name: str = "results.csv") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_points_are_kept_beside_the_trials_replaced_by_name_and_removed(store: Store, tmp_path: Path):
    sweep = store.sweep("first").id
    before, revision = store.trials(sweep), store.revision(sweep)
    found = import_points(store, sweep, table(tmp_path, "name,accuracy,size_bytes\na,0.9,100\nb,0.8,\n"))
    assert (found.sweep, found.replaced, [p.label for p in found.points]) == (sweep, (), ["a", "b"])
    assert store.points.of(sweep) == list(found.points)
    assert store.trials(sweep) == before
    assert store.revision(sweep) > revision
    a = found.points[0]
    assert (a.provenance, a.state, metric_value(a, "accuracy"), metric_value(a, "size_bytes")) == (
        "imported", "done", 0.9, 100,
    )  # fmt: skip
    assert Trial.from_json(a.to_json()) == a
    assert "not measured here" in a.notes[0]
    again = import_points(store, sweep, table(tmp_path, "name,accuracy\nb,0.85\nc,0.7\n", "more.csv"))
    assert again.replaced == ("b",)
    assert [(p.label, metric_value(p, "accuracy")) for p in store.points.of(sweep)] == [
        ("a", 0.9), ("b", 0.85), ("c", 0.7),
    ]  # fmt: skip
    assert store.points.remove(sweep, "a") == 1
    assert store.points.remove(sweep, "more.csv") == 2
    with pytest.raises(NotFoundError, match=r"called 'a'.*none yet"):
        store.points.remove(sweep, "a")


def test_another_run_leaves_them_and_a_deleted_sweep_takes_them(store: Store, tmp_path: Path):
    sweep = store.sweep("first").id
    import_points(store, sweep, table(tmp_path, "name,accuracy\na,0.9\n"))
    store.begin(store.spec(sweep), store.trials(sweep), 1, 1)
    store.end(sweep, "done")
    assert len(store.points.of(sweep)) == 1
    store.delete_sweep(sweep)
    assert not store.points.of(sweep)


def test_times_are_those_of_the_named_device_alone(store: Store, tmp_path: Path):
    source = table(tmp_path, "name,accuracy,latency_ms\na,0.9,3\nb,0.9,\n")
    for device, words in ((None, "latency_ms; say on which device"), ("host", "paretoscope add"), ("<b>", "--device")):
        with pytest.raises(InputError, match=words):
            import_points(store, "first", source, device)
    assert not store.points.of(store.sweep("first").id)
    a, b = import_points(store, "first", source, "my phone").points
    assert metric_value(a, "latency_ms", "my phone") == 3.0
    assert metric_value(a, "latency_ms") is None
    assert metric_value(a, "accuracy", "stm32h7a3-xcubeai") == 0.9
    assert (a.stated.device, b.stated.device) == ("my phone", None)


def test_nothing_is_kept_of_a_source_that_is_not_clear(store: Store, tmp_path: Path):
    sweep = store.sweep("first").id
    taken = store.trials(sweep)[1].label
    cases = [
        (f"name,accuracy\nok,0.9\n{taken},0.8\n", "has a trial called"),
        ("name,accuracy\na,0.9\na,0.8\n", "2 points are called 'a'"),
        ("name,accuracy\na,0.9\nb,\n", "'b' has no number"),
        ("name,accuracy\n", "has no point"),
        ("name,accuracy\na<b>,0.9\n", "cannot stand in a name"),
    ]
    for text, words in cases:
        with pytest.raises(InputError, match=words) as refused:
            import_points(store, sweep, table(tmp_path, text))
        assert "\n" not in str(refused.value)
    for source, options, words in (
        ("results.txt", {}, "not known by its ending"),
        ("results.csv", {"study": "x"}, "--study is for Optuna"),
        ("results.json", {"ignore": ["x"]}, "--ignore is for CSV"),
    ):
        with pytest.raises(InputError, match=words):
            import_points(store, sweep, source, **options)
    assert not store.points.of(sweep)


def test_a_file_by_another_name_is_the_same_points(store: Store, tmp_path: Path):
    source = table(tmp_path, "name,accuracy\na,0.9\n")
    first = import_points(store, "first", source)
    shutil.copy(source, tmp_path / "copy.csv")
    assert import_points(store, "first", str(tmp_path / "copy.csv")).replaced == ("a",)
    assert [p.label for p in store.points.of(first.sweep)] == ["a"]
