"""The simulation is the file: the same numbers before training, and after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.compress.finetune import zero_keeper
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantize import make_scheme
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.nets import IMAGE_NETS
from tests.helpers.quantize_cases import pictures
from tests.helpers.tiny_trained import half_zero_graph, random_graph, run_scheme, tiny_data, tiny_graph

torch.set_num_threads(1)
DATA = tiny_data()
CALIBRATION = DATA.preprocessing(DATA.calibration.inputs)
TEST = DATA.preprocessing(DATA.test.inputs)


def simulated(simulation: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return simulation.eval()(torch.from_numpy(x)).numpy()


def differs(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """(share of other predictions, relative distance of logits)."""
    other = float((found.argmax(1) != expected.argmax(1)).mean())
    return other, float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


SETTINGS = [
    {"weight_bits": 8, "activation_bits": 8},
    {"weight_bits": 8, "activation_bits": 8, "per_channel": False},
    {"weight_bits": 8, "activation_bits": 8, "per_channel": False, "symmetric": False, "format": "u8u8"},
    {"weight_bits": 8, "activation_bits": 8, "format": "s8s8"},
    {"weight_bits": 5, "activation_bits": 8},
    {"weight_bits": 3, "activation_bits": 6},
    {"weight_bits": 2, "activation_bits": 8},
    {"weight_bits": 4, "activation_bits": 4},
    {"weight_bits": 4, "activation_bits": 16},
    {"weight_bits": 4, "activation_bits": 32},
    {"weight_bits": 3, "activation_bits": 32, "symmetric": False},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_the_simulation_predicts_what_onnx_runtime_predicts(setting: dict[str, object]) -> None:
    scheme = make_scheme(Quantize(**setting), tiny_graph(), CALIBRATION)
    other, distance = differs(simulated(Simulation(scheme), TEST), run_scheme(scheme, TEST))
    assert other <= 0.002
    assert distance < 0.01


@pytest.mark.parametrize("name", IMAGE_NETS)
def test_whole_networks_agree_and_learning_reaches_every_part(name: str) -> None:
    torch.manual_seed(0)
    model = random_graph(BUILDERS[name](), (1, 28, 28))
    scheme = make_scheme(Quantize(weight_bits=4, activation_bits=8), model, pictures(16, (1, 28, 28), 2))
    x = pictures(24, (1, 28, 28), 1)
    simulation = Simulation(scheme)
    # Where a value lies exactly between two codes, the last bit of a float sum decides, and deep untrained networks amplify it: the
    # runtime's integer kernels and its float ones are no closer to each other.
    integer, floating = run_scheme(scheme, x), run_scheme(scheme, x, fused=False)
    assert differs(simulated(simulation, x), integer)[1] < max(0.02, 1.5 * differs(floating, integer)[1])
    F.cross_entropy(simulation.train()(torch.from_numpy(x)), torch.arange(24) % 10).backward()
    silent = [n for n, p in simulation.named_parameters() if p.grad is None]
    assert not silent


def test_mixed_precision_and_layers_in_float_are_simulated() -> None:
    model = tiny_graph()
    names = list(make_scheme(Quantize(weight_bits=8, activation_bits=8), model, CALIBRATION[:8]).weights)
    bits = {names[1]: 32, names[2]: 3, names[-1]: 32}
    scheme = make_scheme(Quantize(weight_bits=6, activation_bits=8), model, CALIBRATION, bits)
    assert names[1] not in scheme.weights
    other, distance = differs(simulated(Simulation(scheme), TEST), run_scheme(scheme, TEST))
    assert other <= 0.002
    assert distance < 0.01


def test_equalised_networks_keep_their_bounds() -> None:
    """Clips of channels that equalisation scaled are part of the rounding."""
    from engine.compress.quantization.equalize import equalize

    torch.manual_seed(0)
    model = equalize(random_graph(BUILDERS["mobilenet_v2"](), (1, 28, 28)))
    step = Quantize(weight_bits=8, activation_bits=8, calibration="percentile")
    scheme = make_scheme(step, model, pictures(16, (1, 28, 28), 2))
    assert scheme.limits
    x = pictures(24, (1, 28, 28), 1)
    integer, floating = run_scheme(scheme, x), run_scheme(scheme, x, fused=False)
    distance = differs(simulated(Simulation(scheme), x), integer)[1]
    assert distance < max(0.02, 1.5 * differs(floating, integer)[1])
    assert distance < 0.5 * differs(simulated(Simulation(replace(scheme, limits={})), x), integer)[1]


def test_a_result_is_the_scheme_it_started_from_until_something_learns() -> None:
    for bits in (8, 4, 2):
        scheme = make_scheme(Quantize(weight_bits=bits, activation_bits=8), tiny_graph(), CALIBRATION)
        result = Simulation(scheme).result()
        for name, codes in scheme.weights.items():
            np.testing.assert_array_equal(result.weights[name].codes, codes.codes)
            np.testing.assert_array_equal(result.weights[name].scale, codes.scale)
        assert result.activations == scheme.activations
        for name, bias in scheme.biases.items():
            np.testing.assert_allclose(result.biases[name], bias, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bits", [8, 3, 2])
def test_after_training_too_the_file_predicts_what_the_simulation_does(bits: int) -> None:
    scheme = make_scheme(Quantize(weight_bits=bits, activation_bits=8), tiny_graph(), CALIBRATION)
    simulation = Simulation(scheme)
    before = simulated(simulation, TEST)
    optimizer = torch.optim.SGD(simulation.parameters(), 0.003, momentum=0.9)
    x, y = torch.from_numpy(DATA.preprocessing(DATA.train.inputs[:640])), torch.from_numpy(DATA.train.labels[:640])
    for step in range(20):
        batch = slice(step % 10 * 64, step % 10 * 64 + 64)
        loss = F.cross_entropy(simulation.train()(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        simulation.keep_positive()
    trained = simulated(simulation, TEST)
    assert differs(trained, before)[1] > 1e-3  # something was learnt
    other, distance = differs(trained, run_scheme(simulation.result(), TEST))
    assert other <= 0.004
    assert distance < 0.02


def test_pruned_weights_stay_zero() -> None:
    model, zeros = half_zero_graph()
    scheme = make_scheme(Quantize(weight_bits=4, activation_bits=8), model, CALIBRATION)
    simulation = Simulation(scheme)
    simulation.mark_pruned(zeros)
    keep = zero_keeper(simulation)
    optimizer = torch.optim.SGD(simulation.parameters(), 0.1)
    for _ in range(3):
        simulation.train()(torch.from_numpy(CALIBRATION[:64])).square().mean().backward()
        optimizer.step()
        keep()
        simulation.keep_positive()
    trained = simulation.result().weights
    assert not any(trained[name].codes[where].any() for name, where in zeros.items())
    assert any(not np.array_equal(trained[name].codes, scheme.weights[name].codes) for name in zeros)
