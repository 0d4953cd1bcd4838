"""A sweep in MLflow's own store, read back with MLflow's own client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cli.publish import Tracker
from engine.cli.publish import publish as command
from engine.errors import InputError
from engine.interchange.flat import recipe_options
from engine.interchange.mlflow_runs import publish
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune, Quantize
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.metric_values import metric_interval

# MLflow's own code, against this SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore")
SWEEP = "example-resnet8"


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip("mlflow")
    # MLflow puts files beside where it is asked from.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "runs").as_uri()


def read(uri: str) -> Callable[[], dict[str, Any]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)

    def runs() -> dict[str, Any]:
        (experiment,) = (e for e in client.search_experiments() if e.name != "Default")
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        by_trial = {r.data.tags["paretoscope.trial"]: r for r in found}
        assert len(by_trial) == len(found), "a trial has two runs"
        return by_trial

    return runs


def test_a_sweep_is_published_once_and_brought_up_to_date(home: Path, tracking: str, tmp_path: Path):
    from mlflow.tracking import MlflowClient

    store, artifacts, client = Store.open(), Artifacts.open(), MlflowClient(tracking_uri=tracking)
    row = store.sweep(SWEEP)
    trials = store.trials(row.id)
    done = publish(store, artifacts, SWEEP, tracking)
    runs = read(tracking)
    assert set(done.made) == {t.id for t in trials}
    assert (done.changed, done.unchanged, done.left_out, done.notes) == ({}, {}, [], [])
    there = runs()
    parent = there.pop("")
    assert parent.info.run_id == done.sweep_run
    assert set(there) == {t.id for t in trials}
    for trial in trials:
        run = there[trial.id]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params == {k: str(v) for k, v in recipe_options(trial.recipe).items()}
        assert run.data.tags["paretoscope.artifact"] == trial.artifact
        assert run.data.tags["paretoscope.machine_fingerprint"] == trial.machine.fingerprint
        accuracy = metric_interval(trial, "accuracy")
        found = [run.data.metrics[f"accuracy{end}"] for end in ("", "_low", "_high")]
        assert found == [accuracy.value, accuracy.low, accuracy.high]
        assert run.data.metrics["size_bytes"] == trial.size_bytes
        assert run.info.status == "FINISHED"
    int8 = there[trials[1].id].info.run_id
    assert {a.path for a in client.list_artifacts(int8)} == {"card.md", "recipe.yaml"}
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["spec.yaml"]

    # Nothing new, one that says something new, and one that was cut short.
    store.save_trial(row.id, replace(trials[1], load_ms=None, peak_memory_bytes=1))
    client.delete_tag(there[trials[2].id].info.run_id, "paretoscope.record")
    again = publish(store, artifacts, SWEEP, tracking)
    assert (again.made, set(again.changed)) == ({}, {trials[1].id, trials[2].id})
    assert len(again.unchanged) == len(trials) - 2
    changed = runs()[trials[1].id]
    assert (changed.info.run_id, changed.data.metrics["peak_memory_bytes"]) == (int8, 1)
    assert str(changed.data.metrics["load_ms"]) == "nan"
    assert len(runs()) == len(trials) + 1


def test_what_cannot_be_published_is_told_in_one_line(home: Path, tracking: str):
    for options, words in (
        ({"to": Tracker.mlflow, "output": Path("x.csv")}, "--to wandb-csv"),
        ({"to": Tracker.wandb_csv}, "-o RUNS.csv"),
        ({"to": Tracker.wandb_csv, "output": Path("x.csv"), "models": True}, "--to mlflow"),
        ({"to": Tracker.wandb_csv, "output": Path("none/x.csv")}, "does not exist"),
    ):
        with pytest.raises(InputError, match=words):
            command(SWEEP, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"--tracking-uri ftp://x: .*sqlite"):
        publish(Store.open(), Artifacts.open(), SWEEP, "ftp://x")


def test_two_steps_of_a_kind_keep_their_options_apart():
    steps = (
        Prune(method="magnitude", ratio=0.5),
        Prune(method="channel", ratio=0.25),
        Quantize(weight_bits=8, activation_bits=8),
    )
    found = recipe_options(Recipe(steps=steps))
    assert [found[name] for name in ("prune", "prune_2", "quantize")] == [1, 2, 3]
    assert (found["prune.ratio"], found["prune_2.ratio"], found["quantize.weight_bits"]) == (0.5, 0.25, 8)
