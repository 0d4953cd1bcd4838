"""Every family of methods through a real sweep: planned, run in workers, measured in ONNX Runtime, told stage by stage."""

from __future__ import annotations

import json

import pytest
import yaml

from engine.run.run import execute
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.tiny import write_problem

INT8 = {"step": "quantize", "weight_bits": 8, "activation_bits": 8, "calibration_samples": 32}
CUT = {"step": "prune", "method": "channel", "macs_ratio": 0.5, "round_to": 1}
TRAIN = {"step": "finetune", "epochs": 2}
RECIPES = {
    "qat": [INT8 | {"weight_bits": 3, "method": "qat", "epochs": 1}],
    "learned": [INT8 | {"weight_bits": 4, "rounding": "learned", "bias_correction": True}],
    "mixed": [INT8 | {"mean_bits": 5, "ends_8bit": False}],
    "partly float": [INT8 | {"max_latency": 1.0}],
    "two in float": [INT8 | {"weight_bits": 2, "float_layers": 2}],
    "as good": [INT8 | {"weight_bits": 2, "ends_8bit": False, "rounding": "nearest", "max_drop": 3}],
    "dynamic": [{"step": "quantize", "method": "dynamic"}],
    "blocks": [{"step": "quantize", "method": "block", "block_size": 16}],
    "four bit activations": [INT8 | {"activation_bits": 4}],
    "signed": [INT8 | {"format": "s8s8"}],
    "sparse": [{"step": "prune", "method": "magnitude", "ratio": 0.8}, TRAIN, INT8],
    "pattern": [{"step": "prune", "method": "nm", "pattern": "2:4"}, TRAIN],
    "taylor": [CUT | {"importance": "taylor", "allocation": "global"}, TRAIN],
    "into the pruned": [CUT, {"step": "distill", "student": "current", "epochs": 1}, INT8],
    "recursive": [
        {
            "step": "distill",
            "student": "recursive_resnet",
            "width": 0.25,
            "repeats": 2,
            "epochs": 1,
            "feature_weight": 1.0,
        }
    ],
    "assistant": [
        {"step": "distill", "student": "resnet8", "width": 0.5, "epochs": 1},
        {"step": "distill", "student": "resnet8", "width": 0.25, "epochs": 1, "teacher": "previous"},
    ],
}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """One sweep of all recipes on the tiny problem; trials by the names above, and the baseline."""
    folder = tmp_path_factory.mktemp("methods")
    spec = write_problem(folder)
    value = yaml.safe_load(spec.read_text()) | {"space": {}, "recipes": list(RECIPES.values())}
    spec.write_text(json.dumps(value))
    sweep = read_sweep(spec)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PARETOSCOPE_HOME", str(folder / "home"))
        store = Store.open()
        outcome = execute(sweep, store, Artifacts.open())
        assert outcome.state == "done"
        found = store.trials(sweep.id)
    return dict(zip(("baseline", *RECIPES), found, strict=True))


@pytest.mark.parametrize("name", [n for n in RECIPES if n != "partly float"])
def test_the_recipe_becomes_a_measured_file(trials: dict[str, Trial], name: str) -> None:
    trial = trials[name]
    assert trial.error is None
    assert trial.accuracy is not None
    assert trial.size_bytes
    assert trial.latency_ratio is not None
    assert trial.stages[0].accuracy == trials["baseline"].accuracy.value
    assert trial.stages[-1].accuracy == trial.accuracy.value
    assert trial.stages[-1].size_bytes == trial.size_bytes
    assert trial.stages[-1].latency_ms == pytest.approx(trial.latency_ms.p50)


def test_stages_tell_pruning_and_distilling_apart(trials: dict[str, Trial]) -> None:
    stages = trials["into the pruned"].stages
    assert [s.steps for s in stages] == [0, 1, 2, 3]
    assert stages[1].macs == stages[2].macs == pytest.approx(stages[0].macs / 2, rel=0.1)
    assert stages[3].size_bytes < stages[2].size_bytes
    assert [s.steps for s in trials["sparse"].stages] == [0, 2, 3]


def test_mixed_precision_shows_its_choice_and_keeps_to_its_budget(trials: dict[str, Trial]) -> None:
    bits = trials["mixed"].layer_bits
    assert bits is not None
    assert len(bits) == 3
    weights = dict(zip(bits, (16 * 9, 16 * 16 * 9, 16 * 3), strict=True))
    assert sum(weights[n] * b for n, b in bits.items()) <= 5 * sum(weights.values())
    assert trials["qat"].layer_bits is None


def test_a_time_budget_chooses_float_layers_or_says_what_the_fastest_choice_takes(trials: dict[str, Trial]) -> None:
    """So small a network may gain nothing from integers, depending on the processor: then that is what the trial says."""
    trial = trials["partly float"]
    if trial.error is None:
        assert set(trial.layer_bits.values()) <= {8, 32}
    else:
        assert "max_latency 1 cannot be reached, the fastest choice of layers takes" in trial.error


def test_layers_that_lose_most_stay_in_float(trials: dict[str, Trial]) -> None:
    assert sorted(trials["two in float"].layer_bits.values()).count(32) == 2
    assert "2 layers in float" in trials["two in float"].label


def test_as_few_layers_stay_in_float_as_the_limit_needs(trials: dict[str, Trial]) -> None:
    trial = trials["as good"]
    note = next(note for note in trial.notes if "in float" in note)
    count = list(trial.layer_bits.values()).count(32)
    assert f"{count or 'no'} layer" in note
    lost = float(note.split("in float: ")[1].split(" lost")[0])
    assert (lost <= 3) != ("the limit cannot be kept" in note)


def test_matrices_are_rounded_as_they_run_or_kept_in_blocks(trials: dict[str, Trial]) -> None:
    assert trials["dynamic"].label.startswith("int8 dynamic")
    assert trials["blocks"].label.startswith("4-bit blocks of 16")
    for name in ("dynamic", "blocks"):
        assert trials[name].error is None
        assert trials[name].fidelity.agreement.value > 0.8


def test_zeros_that_save_no_time_say_so(trials: dict[str, Trial]) -> None:
    slow = [n for n in ("sparse", "pattern") if any("no faster" in note for note in trials[n].notes)]
    measured = [
        n for n in ("sparse", "pattern") if trials[n].stages[1].latency_ms > 0.97 * trials[n].stages[0].latency_ms
    ]
    assert slow == measured


def test_fewer_bits_are_fewer_bytes(trials: dict[str, Trial]) -> None:
    """In so small a network what 3 bits save on 4 is about what their unpacking takes; on 8 both save more."""
    assert max(trials["qat"].size_bytes, trials["learned"].size_bytes) < trials["signed"].size_bytes
