"""What steps and measurements have to say reaches the trials that they concern, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml

from engine.graph.graph import constant_values, load_onnx
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial
from tests.helpers.run_here import swept
from tests.helpers.tiny import write_problem

BUILDER = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3)
        self.rows = nn.GRU(80, 16, batch_first=True)
        self.head = nn.Linear(16, 3)
        nn.init.zeros_(self.head.weight)
    def forward(self, x):
        if float(x.min()) < -100:
            raise ValueError("not an image")
        x = torch.relu(self.stem(x)) + 0.001 * x.mean()
        return self.head(self.rows(x.permute(0, 2, 1, 3).flatten(2))[0][:, -1])

def build():
    torch.manual_seed(1)
    return Net()
"""
PRUNE = {"step": "prune", "method": "magnitude", "ratio": 0.5}
QAT = {"step": "quantize", "weight_bits": 8, "activation_bits": 8, "method": "qat", "learning_rate": 0.05}


def sweep_of(place: Path, builder: str, recipes: list[list[dict[str, object]]]) -> dict[str, Trial]:
    spec = write_problem(place)
    (place / "net.py").write_text(builder)
    spec.write_text(json.dumps(yaml.safe_load(spec.read_text()) | {"space": {}, "recipes": recipes}))
    _, trials, _ = swept(spec)
    return {t.label: t for t in trials}


def test_notes_reach_the_trials_that_they_concern(place: Path) -> None:
    teacher = {"step": "distill", "student": "self", "epochs": 1}
    trials = sweep_of(place, BUILDER, [[PRUNE], [teacher]])
    notes = {label: " / ".join(t.notes) for label, t in trials.items()}
    assert all(t.state == "done" for t in trials.values()), [t.error for t in trials.values()]
    assert all("the network takes values out of tensors at net.py, line 13:" in note for note in notes.values())
    assert "weights stay as they were, in GRU 'rows'" in notes["weights −50 %"]
    assert "the teacher is right on" in notes["distil self (1 epoch)"]
    assert not any("GRU" in note or "teacher" in note for label, note in notes.items() if label == "baseline")


def test_a_network_that_mixes_its_batch_is_told_of(place: Path) -> None:
    mixes = BUILDER.replace("0.001 * x.mean()", "5 * x.std()").replace("nn.init.zeros_", "nn.init.normal_")
    trials = sweep_of(place, mixes, [])
    (note,) = [n for n in trials["baseline"].notes if "other images of a batch" in n]
    assert note.endswith("figures are of batches of 100")


ZERO_HEAD = """
import torch
from torch import nn

def build():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 3))
    nn.init.zeros_(net[-1].weight)
    return net
"""


def test_what_was_pruned_stays_zero_through_training_in_float_and_in_few_bits(place: Path) -> None:
    """From artifact to artifact; the head, which starts at zero and which no step pruned, learns."""
    half = PRUNE | {"ratio": 0.8}  # of 144 weights of the convolution, and 192 zeros of the head, which count
    trained = {"step": "finetune", "epochs": 1, "learning_rate": 0.05}
    trials = sweep_of(place, ZERO_HEAD, [[half], [half, trained], [half, trained, QAT], [half, QAT]])
    artifacts = Artifacts.open()
    _, pruned, *later = (weights(artifacts, t) for t in trials.values())
    zeros = pruned[0] == 0
    assert zeros.sum() == round(0.8 * 336) - 192
    assert not pruned[1].any()
    assert len(later) == 3
    for conv, head in later:
        assert not conv[zeros].any()
        assert np.count_nonzero(head) > 96  # half: a small weight may come to lie nearest to zero


def weights(artifacts: Artifacts, trial: Trial) -> list[np.ndarray]:
    """Of every layer, as the runtime sees them, in the order in which they run."""
    assert trial.artifact is not None, trial.error
    model = load_onnx(artifacts.local(trial.artifact))
    names = [n.input[1] for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    values = constant_values(model, names)
    return [values[name] for name in names]
