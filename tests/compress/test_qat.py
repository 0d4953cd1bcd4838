"""Training with the rounding in place: it helps where bits are few, and the file predicts what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from engine.compress import qat
from engine.compress.qat import start_scheme, train_quantized, train_scheme
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantize import make_scheme
from engine.compress.teacher import TeacherOutputs
from engine.errors import StepError
from engine.spec.steps import Quantize
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
    file = train_quantized(step, tiny_graph(), DATA, 0, bits=bits)
    np.testing.assert_array_equal(run(file, TEST), run_scheme(trained, TEST))


def test_the_result_follows_from_the_seed_alone() -> None:
    step = step_of(2, epochs=1, samples=320)
    start = make_scheme(step, tiny_graph(), CALIBRATION)
    first, again, other = (train_scheme(step, start, DATA, seed) for seed in (0, 0, 1))

    def codes(scheme: Scheme) -> bytes:
        return b"".join(c.codes.tobytes() + c.scale.tobytes() for c in scheme.weights.values())

    assert codes(first) == codes(again)
    assert codes(first) != codes(other)


def test_pruned_weights_stay_zero() -> None:
    model, pruned = half_zero_graph()
    step = step_of(4, epochs=1, samples=320, learning_rate=0.02)
    start = start_scheme(step, model, DATA)
    trained = train_scheme(step, start, DATA, 0)
    for name, zeros in pruned.items():
        assert not trained.weights[name].codes[zeros].any()
    assert any(not np.array_equal(trained.weights[n].codes, start.weights[n].codes) for n in pruned)


def test_a_loss_that_is_no_number_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(4, epochs=1, samples=640, learning_rate=10.0)
    scheme = make_scheme(step, tiny_graph(), CALIBRATION)
    outputs = TeacherOutputs(np.full((1, len(DATA.train), 3), np.nan, np.float16), None)
    monkeypatch.setattr(qat, "teacher_outputs", lambda *args, **kwargs: outputs)
    with pytest.raises(StepError, match=r"^training diverged in epoch 1; use a learning_rate below 10[^\n]*$"):
        train_scheme(step, scheme, DATA, 0)
