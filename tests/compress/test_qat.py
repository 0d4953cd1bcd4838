"""Training with the rounding in place: it helps where bits are few, and the file predicts what was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional as F

from engine.compress import qat
from engine.compress.pruning.exported import pruned_in_graph
from engine.compress.pruning.weights import prune_magnitude
from engine.compress.qat import note, start_scheme, train_quantized, train_scheme
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantize import make_scheme, prepare
from engine.compress.teacher import TeacherOutputs
from engine.datasets.splits import UNLABELLED
from engine.errors import StepError
from engine.graph.graph import LAYER_OPS, constant_values
from engine.models.export import export_onnx
from engine.models.pruned import pruned_masks
from engine.spec.steps import Prune, Quantize
from tests.helpers.quantize_cases import run
from tests.helpers.tiny_trained import half_zero_graph, run_scheme, tiny_data, tiny_graph

torch.set_num_threads(1)
DATA = tiny_data()
CALIBRATION = DATA.preprocessing(DATA.calibration.inputs)
TEST = DATA.preprocessing(DATA.test.inputs)


def step_of(bits: int, activation_bits: int = 8, **options: object) -> Quantize:
    return Quantize(weight_bits=bits, activation_bits=activation_bits, method="qat", **{"epochs": 2, **options})


def loss_of(logits: np.ndarray) -> float:
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(DATA.test.labels)))


@pytest.mark.parametrize(("bits", "activation_bits"), [(2, 8), (3, 8), (3, 4)])
def test_training_lowers_the_loss_and_the_file_predicts_what_was_trained(bits: int, activation_bits: int) -> None:
    """From nearest rounding, which leaves room; on images that training did not see."""
    step = step_of(bits, activation_bits, learning_rate=0.01)
    start = make_scheme(step, tiny_graph(), CALIBRATION)
    losses: list[float] = []
    trained = train_scheme(step, start, DATA, 0, lambda epoch, loss: losses.append(loss))
    assert len(losses) == 2
    before, after = loss_of(run_scheme(start, TEST)), loss_of(run_scheme(trained, TEST))
    assert after < 0.8 * before
    with torch.no_grad():
        simulated = Simulation(trained).eval()(torch.from_numpy(TEST)).numpy()
    assert (simulated.argmax(1) == run_scheme(trained, TEST).argmax(1)).mean() >= 0.99


def test_what_is_trained_is_deployed_with_the_steps_bits() -> None:
    step = step_of(3, 6, epochs=1, samples=640, learning_rate=0.02)
    names = list(make_scheme(step, tiny_graph(), CALIBRATION[:8]).weights)
    bits = {names[2]: 5, names[3]: 32}
    start = start_scheme(step, tiny_graph(), DATA, bits)
    trained = train_scheme(step, start, DATA, 0)
    assert {n: c.bits for n, c in trained.weights.items()} == {
        n: {names[0]: 8, names[-1]: 8, names[2]: 5}.get(n, 3) for n in names if n != names[3]
    }
    assert {a.bits for a in trained.activations.values()} == {6, 8}
    assert any(not np.array_equal(trained.weights[n].codes, c.codes) for n, c in start.weights.items())
    assert any(trained.activations[n].scale != a.scale for n, a in start.activations.items())
    file = train_quantized(step, tiny_graph(), DATA, 0, bits=bits).model
    np.testing.assert_array_equal(run(file, TEST), run_scheme(trained, TEST))


def test_the_result_follows_from_the_seed_alone() -> None:
    step = step_of(2, epochs=1, samples=320)
    start = make_scheme(step, tiny_graph(), CALIBRATION)
    first, again, other = (train_scheme(step, start, DATA, seed) for seed in (0, 0, 1))

    def codes(scheme: Scheme) -> bytes:
        return b"".join(c.codes.tobytes() + c.scale.tobytes() for c in scheme.weights.values())

    assert codes(first) == codes(again)
    assert codes(first) != codes(other)


def test_pruned_weights_stay_zero_and_other_zeros_learn() -> None:
    model, pruned = half_zero_graph()
    step = step_of(8, epochs=1, samples=320, learning_rate=0.02)
    start = start_scheme(step, model, DATA)
    trained, free = (train_scheme(step, start, DATA, 0, pruned=masks) for masks in (pruned, None))
    for name, zeros in pruned.items():
        assert not trained.weights[name].codes[zeros].any()
    assert any(not np.array_equal(trained.weights[n].codes, start.weights[n].codes) for n in pruned)
    assert any(free.weights[name].codes[zeros].any() for name, zeros in pruned.items())


class Forms(nn.Module):
    """Weights that an export rewrites: batch norms folded in, a matrix turned, one used twice, a head that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.twice = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)  # (n, places, 8): a Linear becomes MatMul with the matrix turned
        return self.head(torch.relu(self.twice(torch.relu(self.twice(x)))).mean(1))


def test_what_a_network_lost_is_found_in_its_graph_and_stays_zero_in_training() -> None:
    torch.manual_seed(1)
    network = Forms().eval()
    nn.init.uniform_(network.stem[1].weight, 0.5, 1.5)
    prune_magnitude(Prune(method="magnitude", ratio=0.5), network, None)
    model = export_onnx(network, DATA.input_shape)
    prepared = prepare(model)
    masks = pruned_in_graph(network, DATA.input_shape, prepared)
    stored = {t.name: numpy_helper.to_array(t) for t in prepared.graph.initializer}
    lost = {id(p): int(mask.sum()) for p, mask in pruned_masks(network).values()}
    assert sorted(int(m.sum()) for m in masks.values()) == sorted(lost.values())
    assert {m.shape for m in masks.values()} == {(8, 1, 3, 3), (8, 8)}
    assert all(not stored[name][mask].any() for name, mask in masks.items())
    file = train_quantized(step_of(8, learning_rate=0.05), model, DATA, 0, network=network).model
    weights = list(constant_values(file, [n.input[1] for n in file.graph.node if n.op_type in LAYER_OPS]).values())
    zero = {w.shape: int((w == 0).sum()) for w in weights}
    assert zero[8, 1, 3, 3] >= lost[id(network.stem[0].weight)]
    assert zero[8, 8] >= lost[id(network.twice.weight)]
    assert sum(np.count_nonzero(w) for w in weights if 3 in w.shape and w.ndim == 2) > 0
    assert note(export_onnx(Forms().eval(), DATA.input_shape)) == (
        "15 % of the weights were zero without having been pruned by a step; they were trained like the others"
    )


def test_training_that_did_harm_is_not_what_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that was spoilt on purpose; one that training left alone is kept without a word."""
    step = step_of(8, epochs=1, samples=64)
    start = start_scheme(step, tiny_graph(), DATA)
    spoilt = Scheme(**{**vars(start), "biases": {n: -b for n, b in start.biases.items()}})
    monkeypatch.setattr(qat, "train_scheme", lambda *args: spoilt)
    found = train_quantized(step, tiny_graph(), DATA, 0)
    right = (run_scheme(start, DATA.preprocessing(DATA.validation.inputs)).argmax(1) == DATA.validation.labels).sum()
    assert f"of {len(DATA.validation)}, {right} before), so it is as before training" in (found.note or "")
    np.testing.assert_array_equal(run(found.model, TEST), run_scheme(start, TEST))
    monkeypatch.setattr(qat, "train_scheme", lambda *args: start)
    assert train_quantized(step, tiny_graph(), DATA, 0).note is None


def test_without_labels_the_float_network_is_what_is_learnt() -> None:
    step = step_of(2, epochs=2, learning_rate=0.01)
    splits = {
        n: replace(getattr(DATA, n), labels=np.full(len(getattr(DATA, n)), UNLABELLED)) for n in ("train", "validation")
    }
    bare = replace(DATA, **splits)
    start = make_scheme(step, tiny_graph(), CALIBRATION)
    losses: list[float] = []
    trained = train_scheme(step, start, bare, 0, lambda _, loss: losses.append(loss))
    exact = torch.from_numpy(run(tiny_graph(), TEST)).log_softmax(1)
    before, after = (
        float(
            F.kl_div(
                torch.from_numpy(run_scheme(s, TEST)).log_softmax(1), exact, reduction="batchmean", log_target=True
            )
        )
        for s in (start, trained)
    )
    assert np.isfinite(losses).all()
    assert after < 0.8 * before
    assert train_quantized(step, tiny_graph(), bare, 0).note is None


def test_a_loss_that_is_no_number_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(4, epochs=1, samples=640, learning_rate=10.0)
    scheme = make_scheme(step, tiny_graph(), CALIBRATION)
    outputs = TeacherOutputs(np.full((1, len(DATA.train), 3), np.nan, np.float16), None)
    monkeypatch.setattr(qat, "teacher_outputs", lambda *args, **kwargs: outputs)
    with pytest.raises(StepError, match=r"^training diverged in epoch 1; use a learning_rate below 10[^\n]*$"):
        train_scheme(step, scheme, DATA, 0)
