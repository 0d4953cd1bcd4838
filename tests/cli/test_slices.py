"""Slices from a spec to a bundle: every figure by slice, checked against the trial's own file."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.load import load_dataset, reported
from engine.export.bundle import export_bundle
from engine.frontier.front import find_front, parse_objectives, within_limits
from engine.quality.values import Values
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.metric_values import measured_metrics, slice_metrics
from engine.trials.trial import Trial
from tests.helpers.regression import regression_problem
from tests.helpers.run_here import swept

SPEC = (
    "name: sliced\nmodel: {source: net.py:build, weights: net.pt}\n"
    "data: {source: d.npz, task: regression, preprocess: standardize%s}\nmetric: %s\n"
    "space: {quantize: [null, {weight_bits: [8, 2], activation_bits: 32}]}\nmeasure: {profiles: []}\n"
)
SLICED = ", slices: [site, device]"


@pytest.fixture
def house(home: Path, tmp_path: Path) -> Path:
    regression_problem(tmp_path)
    arrays = dict(np.load(tmp_path / "d.npz"))
    random = np.random.default_rng(5)
    arrays["site"] = np.array(["Bern", "Oslo", "Rome|x"])[random.choice(3, 700, p=[0.6, 0.38, 0.02])]
    arrays["device"] = random.integers(1, 4, 700)
    np.savez(tmp_path / "d.npz", **arrays)
    return tmp_path


def run(house: Path, metric: str, slices: str = SLICED):
    (house / "spec.yaml").write_text(SPEC % (slices, metric))
    return swept(house / "spec.yaml")


def test_every_slice_is_what_the_trials_own_file_says(house: Path) -> None:
    sweep, trials, _ = run(house, "{name: mae, unit: K}")
    split = reported(load_dataset(sweep.data).test, sweep.measure)
    kept = [Values.load(Artifacts.open().local(t.predictions or "")) for t in trials]
    errors = [np.abs(v.outputs[:, 0].astype(float) - split.targets) for v in kept]
    coarse = trials[-1]
    assert coarse.slices is not None
    assert sum(p.n for p in coarse.slices.parts) == 2 * len(split)
    for part in coarse.slices.parts:
        mine = split.slices[part.array] == part.value
        assert part.n == mine.sum()
        assert part.score is not None
        assert part.score.value == pytest.approx(errors[-1][mine].mean(), rel=1e-6)
        assert part.score.vs_baseline is not None
        assert part.score.vs_baseline.value == pytest.approx((errors[-1] - errors[0])[mine].mean(), rel=1e-4)
    worst, drop = slice_metrics(coarse.slices.key)
    assert {worst, drop} < set(measured_metrics(trials))
    assert parse_objectives("worst_slice,worst_slice_drop,size_bytes", trials) == (worst, drop, "size_bytes")
    assert trials[0].id in {t.id for t in find_front(trials, (worst, "size_bytes")).trials}
    values = [t.slices.worst.interval.value for t in trials]  # type: ignore[union-attr]
    limit = (min(values) + max(values)) / 2
    assert within_limits(trials, {worst: limit}).tolist() == [v <= limit for v in values]
    assert min(values) < limit < max(values)
    # A record is the trial again, and a bundle's card and manifest say the same.
    assert Trial.from_json(json.loads(json.dumps(coarse.to_json()))) == coarse
    bundle = export_bundle(Store.open(), Artifacts.open(), sweep.id, coarse.id, house / "b.zip")
    with zipfile.ZipFile(bundle) as zipped:
        card, manifest = zipped.read("card.md").decode(), json.loads(zipped.read("manifest.json"))
    assert "## By slice" in card
    assert r"| site Rome\|x |" in card
    assert f"worse than the baseline by most in {coarse.slices.worst_drop.array}" in card  # type: ignore[union-attr]
    assert manifest["expected"]["slices"]["key"] == "score:MAE:min:K"
    assert Trial.from_json(json.loads(json.dumps(trials[0].to_json()))).slices.worst_drop is None  # type: ignore[union-attr]


def test_only_a_metric_of_the_set_is_counted_anew_for_slices(house: Path) -> None:
    for metric, more in (("mae", 0), ("r2", 3)):
        _, plain, without = run(house, metric, "")
        _, trials, plan = run(house, metric)
        new = [n for key, n in plan.nodes.items() if key not in without.nodes]
        assert [n.kind for n in new] == ["accuracy"] * more
        assert plain[0].slices is None
        assert "worst_slice" not in str(measured_metrics(plain))
        assert all(p.score or p.n < 2 for p in trials[1].slices.parts)
        assert [t.score for t in plain] == [t.score for t in trials]


def test_classes_have_accuracy_beside_a_metric_of_their_own(house: Path) -> None:
    arrays = dict(np.load(house / "d.npz"))
    np.savez(house / "d.npz", **{**arrays, "y": (arrays["y"] > 200).astype(np.int64)})
    (house / "net.py").write_text((house / "net.py").read_text().replace("nn.Linear(32, 1)", "nn.Linear(32, 2)"))
    spec = SPEC.replace("task: regression, ", "").replace(", weights: net.pt", "")
    spec = spec.replace("quantize:", "finetune: [{epochs: 1}], quantize:")
    (house / "spec.yaml").write_text(spec % (SLICED, "macro_f1"))
    _, trials, _ = swept(house / "spec.yaml")
    slices = trials[-1].slices
    assert slices is not None
    assert slices.key == "score:Macro F1:max:%"
    for part in slices.parts:
        assert part.accuracy is not None
        assert part.score is None or part.score.low <= part.score.value <= part.score.high <= 1
