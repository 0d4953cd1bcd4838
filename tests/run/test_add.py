"""A file made elsewhere on a sweep's frontier: measured on the same harness, found again by every later run, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from engine.datasets.load import load_dataset
from engine.errors import InputError
from engine.export.bundle import export_bundle, verify_bundle
from engine.models.made_elsewhere import bytes_of
from engine.run import addition
from engine.run.add import add_file
from engine.run.forecast import preview
from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.other_code import other_code
from tests.helpers.tiny import write_problem

CALIBRATED, TESTED = 50, 200


class Reader(CalibrationDataReader):
    def __init__(self, name: str, images: np.ndarray) -> None:
        self.left = iter([{name: images}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def small(place: Path, *overrides: str) -> Sweep:
    """Baseline and int8 of the tiny problem."""
    quick = ("measure.latency.time_limit_s=1", "measure.latency.processes=1")
    return read_sweep(write_problem(place), (f"measure.test_samples={TESTED}", "space.prune=null", *quick, *overrides))


def swept(place: Path, *overrides: str) -> tuple[Store, Artifacts, Sweep]:
    """That, run."""
    store, artifacts, sweep = Store.open(), Artifacts.open(), small(place, *overrides)
    execute(sweep, store, artifacts)
    return store, artifacts, sweep


def elsewhere(artifacts: Artifacts, baseline: Trial, sweep: Sweep, path: Path) -> Path:
    """As a colleague would quantize the baseline with ONNX Runtime's own tool."""
    source, data = artifacts.local(baseline.artifact), load_dataset(sweep.data)
    images = data.preprocessing(data.train.inputs[:CALIBRATED])
    name = onnxruntime.InferenceSession(source).get_inputs()[0].name
    quantize_static(source, path, Reader(name, images), quant_format=QuantFormat.QOperator)
    return path


def test_a_file_is_added_measured_exported_and_never_lost(place: Path, monkeypatch: pytest.MonkeyPatch):
    store, artifacts, sweep = Store.open(), Artifacts.open(), small(place)
    execute(sweep, store, artifacts)
    before = store.trials(sweep.id)
    made = elsewhere(artifacts, before[0], sweep, place / "made.onnx")

    added = add_file(store, artifacts, sweep.id, made, "ORT static")
    assert (added.sweep, added.outcome.state, added.trial.state, added.trial.error) == (sweep.id, "done", "done", None)
    assert added.outcome.nodes_run == 4  # the file, its facts, accuracy and latency; nothing of the others
    after = store.trials(sweep.id)
    assert [t.to_json() for t in after[:-1]] == [t.to_json() for t in before]
    trial = after[-1]
    assert trial == added.trial
    assert (trial.label, trial.provenance, trial.latency_ratio is not None) == ("ORT static", "deployed", True)
    assert any(note.startswith("made elsewhere, measured as it is") for note in trial.notes)
    assert artifacts.local(trial.artifact).read_bytes() == made.read_bytes()
    assert trial.size_bytes == made.stat().st_size
    assert (trial.params, trial.macs) == (before[0].params, before[0].macs)
    assert {(x.weight_bits, x.activation_bits) for x in trial.demand.layers} == {(8, 8)}
    assert trial.projections["host"].energy_mj is not None

    # Another route to its accuracy: a bare session and a count.
    session, data = onnxruntime.InferenceSession(made), load_dataset(sweep.data)
    inputs = data.preprocessing(data.test.inputs[:TESTED])
    right = session.run(None, {session.get_inputs()[0].name: inputs})[0].argmax(1) == data.test.labels[:TESTED]
    assert trial.accuracy.value == right.mean()
    assert trial.accuracy.p_vs_baseline is not None
    bundle = export_bundle(store, artifacts, sweep.id, trial.id, place / "bundle.zip")
    assert verify_bundle(bundle).ok

    # The user's own spec run again knows nothing of it, the file itself is gone, the code is another: the trial stays.
    made.unlink()
    assert preview(sweep, store, artifacts).recipes == 3
    again = execute(sweep, store, artifacts)
    assert (again.nodes_run, again.trials_done) == (0, 3)
    assert store.trials(sweep.id)[-1] == trial
    assert store.spec(sweep.id).id == sweep.id
    monkeypatch.setattr("engine.run.planner.code_digest", lambda kind: f"newer {kind}")
    monkeypatch.setattr("engine.run.planner.make_plan.__defaults__", (lambda kind: f"newer {kind}", None))
    newer = execute(store.spec(sweep.id), store, artifacts)
    assert (newer.trials_done, newer.trials_failed) == (3, 0)
    assert newer.nodes_run > 4
    assert store.trials(sweep.id)[-1].accuracy == trial.accuracy


def test_the_same_file_again_does_nothing_and_a_name_that_is_taken_is_refused(place: Path):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency=null")
    baseline = artifacts.local(store.trials(sweep.id)[0].artifact)
    first = add_file(store, artifacts, sweep.id, baseline, "mine")
    assert first.trial.accuracy.value == store.trials(sweep.id)[0].accuracy.value
    revision = store.revision(sweep.id)
    for name in ("mine", "another name"):
        again = add_file(store, artifacts, sweep.id, baseline, name)
        assert (again.outcome, again.trial) == (None, first.trial)
    other = place / "other.onnx"
    model = onnx.load(baseline)
    model.producer_name = "somebody"
    onnx.save(model, other)
    for name, words in (("mine", "another file"), ("baseline", "a recipe")):
        with pytest.raises(InputError, match=f"has {words} called '{name}' already.*another --name"):
            add_file(store, artifacts, sweep.id, other, name)
    for name in ("", " x", "a\nb", "x" * 101, "<b>mine", "[red]mine"):
        with pytest.raises(InputError, match="--name"):
            add_file(store, artifacts, sweep.id, other, name)
    assert (store.revision(sweep.id), len(store.trials(sweep.id))) == (revision, 2)
    add_file(store, artifacts, sweep.id, other, "yours")
    assert [t.label for t in store.trials(sweep.id)] == ["baseline", "mine", "yours"]
    # Deleted, it is forgotten; the same spec is as it was.
    store.delete_sweep(sweep.id)
    assert execute(sweep, store, artifacts).trials_done == 1


def test_what_does_not_fit_is_refused_and_nothing_is_recorded(place: Path):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency.batch=2")
    files = sorted((place / "home" / "artifacts").rglob("*.onnx"))
    model = onnx.load(artifacts.local(store.trials(sweep.id)[0].artifact))

    def changed(name: str, *dims: int | str) -> Path:
        found = onnx.ModelProto()
        found.CopyFrom(model)
        shape = found.graph.input[0].type.tensor_type.shape
        del shape.dim[:]
        for dim in dims:
            shape.dim.add(**({"dim_value": dim} if isinstance(dim, int) else {"dim_param": dim}))
        onnx.save(found, place / name)
        return place / name

    (place / "text.onnx").write_text("no graph")
    cases = {
        changed("larger.onnx", "N", 1, 28, 28): "1×28×28",
        changed("last.onnx", "N", 12, 12, 1): "NHWC",
        changed("batch.onnx", 4, 1, 12, 12): "takes batches of 4 only, but latency is measured with 2",
        place / "text.onnx": "is not an ONNX file",
        place / "none.onnx": "cannot be read",
    }
    for path, words in cases.items():
        with pytest.raises(InputError, match=words) as refused:
            add_file(store, artifacts, sweep.id, path, "mine")
        assert "\n" not in str(refused.value)
    assert len(store.trials(sweep.id)) == 1
    assert sorted((place / "home" / "artifacts").rglob("*.onnx")) == files
    # A batch that is fixed to what is timed will do.
    assert add_file(store, artifacts, sweep.id, changed("two.onnx", 2, 1, 12, 12), "in twos").trial.state == "done"


def test_only_a_finished_sweep_that_is_up_to_date_takes_a_file(place: Path, monkeypatch: pytest.MonkeyPatch):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency=null")
    file = artifacts.local(store.trials(sweep.id)[0].artifact)
    store.begin(sweep, store.trials(sweep.id), 1, 1)
    store.beat(sweep.id, 1, 0.0, None)
    with pytest.raises(InputError, match="is running; add to it when it is done"):
        add_file(store, artifacts, sweep.id, file, "mine")
    store.end(sweep.id, "cancelled")
    with pytest.raises(InputError, match=f"is cancelled; finish it first with `paretoscope resume {sweep.id}`"):
        add_file(store, artifacts, sweep.id, file, "mine")
    execute(sweep, store, artifacts)
    if shipped := next((row for row in store.sweeps() if row.example), None):
        with pytest.raises(InputError, match="ships with Paretoscope"):
            add_file(store, artifacts, shipped.id, file, "mine")
    # What an earlier version measured is not thrown away for an addition.
    missing = addition.missing_nodes
    monkeypatch.setattr(addition, "missing_nodes", lambda plan, *rest: missing(plan, *rest) | {plan.chains[0].facts})
    with pytest.raises(InputError, match=f"1 of the 1 trials of {sweep.id} must be measured again first.*resume"):
        add_file(store, artifacts, sweep.id, file, "mine")
    assert [t.state for t in store.trials(sweep.id)] == ["done"]


def test_what_an_earlier_version_measured_is_kept_where_that_is_asked_for(place: Path, monkeypatch: pytest.MonkeyPatch):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency=null")
    (baseline,) = store.trials(sweep.id)
    file = artifacts.local(baseline.artifact)
    with other_code(monkeypatch) as code:
        code.change("measure/size.py")
        with pytest.raises(InputError, match=r"1 of the 1 trials .* must be measured again first.*--keep-old-code"):
            add_file(store, artifacts, sweep.id, file, "mine")
        assert store.trials(sweep.id) == [baseline]
        added = add_file(store, artifacts, sweep.id, file, "mine", keep_old_code=True)
    assert (added.trial.state, added.outcome.nodes_run) == ("done", 3)
    kept = store.trials(sweep.id)[0]
    assert (kept.accuracy, kept.size_bytes, "earlier version" in kept.notes[0]) == (
        baseline.accuracy,
        baseline.size_bytes,
        True,
    )


def test_free_axes_and_weights_in_other_files(place: Path):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency=null")
    baseline = store.trials(sweep.id)[0]
    model = onnx.load(artifacts.local(baseline.artifact))
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, ("N", None, "H", "W"), strict=True):
        if name:
            dim.dim_param = name
    onnx.save(model, place / "free.onnx", save_as_external_data=True, size_threshold=0, location="free.weights")
    whole = bytes_of(place / "free.onnx")
    assert len(whole) > (place / "free.onnx").stat().st_size
    trial = add_file(store, artifacts, sweep.id, place / "free.onnx", "free").trial
    assert (trial.accuracy.value, trial.params) == (baseline.accuracy.value, baseline.params)
    assert any("free axes" in note for note in trial.notes)
    assert artifacts.local(trial.recipe.imported.file).read_bytes() == whole


def test_a_budget_is_for_the_space_and_an_addition_is_all_that_it_runs(place: Path):
    budget = ("search.method=random", "search.trials=2", "measure.latency=null")
    store, artifacts = Store.open(), Artifacts.open()
    sweep = read_sweep(write_problem(place), (f"measure.test_samples={TESTED}", *budget))
    assert execute(sweep, store, artifacts).recipes_left == 4
    file = artifacts.local(store.trials(sweep.id)[0].artifact)
    trial = add_file(store, artifacts, sweep.id, file, "mine").trial
    assert sorted(t.state for t in store.trials(sweep.id)) == ["done"] * 3 + ["pending"] * 4
    # Lost, it is measured again by the next run, beside what the budget allows of the space.
    for name in (trial.artifact, trial.predictions):
        artifacts.local(name).unlink()
    again = execute(sweep, store, artifacts)
    assert (again.trials_done, again.recipes_left) == (5, 2)
    assert store.trial(sweep.id, trial.id).state == "done"


def test_a_file_that_is_gone_from_the_store_fails_alone_and_is_added_again(place: Path):
    store, artifacts, sweep = swept(place, "space.quantize=null", "measure.latency=null")
    file = place / "mine.onnx"
    file.write_bytes(artifacts.local(store.trials(sweep.id)[0].artifact).read_bytes())
    trial = add_file(store, artifacts, sweep.id, file, "mine").trial
    for name in (trial.artifact, trial.predictions, trial.recipe.imported.file):
        artifacts.local(name).unlink()
    assert execute(sweep, store, artifacts).trials_failed == 1
    assert "add it again" in store.trial(sweep.id, trial.id).error
    assert add_file(store, artifacts, sweep.id, file, "mine").trial.accuracy == trial.accuracy


def test_ids_of_sweeps_count_no_added_files(place: Path):
    sweep = small(place)
    added = Sweep(
        **json.loads(sweep.model_dump_json()) | {"recipes": [[{"step": "imported", "name": "x", "sha256": "0" * 64}]]}
    )
    assert added.id == sweep.id
    assert [r.label for r in added.added] == ["x"]
    assert added.with_added(added.added) is added
    assert sweep.with_added(added.added).all_recipes == added.all_recipes
