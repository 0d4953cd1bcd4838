"""Torch steps on another device than the CPU: they mix no tensors of both, answer what the CPU answers, and bring back what they made."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from engine.compress import distill, finetune, torch_device
from engine.compress.pruning.graph import find_structure
from engine.compress.pruning.importance import taylor_scores
from engine.compress.pruning.sensitivity import validation_loss
from engine.compress.qat import train_scheme
from engine.compress.quantization.rounding import learn_rounding
from engine.compress.quantization.sensitivity import measure_sensitivity
from engine.compress.quantize import make_scheme
from engine.compress.teacher import teacher_outputs
from engine.compress.torch_device import from_array, half_precision, to_array
from engine.models.builders import Origin
from engine.models.sources import Network
from engine.models.zoo import BUILDERS
from engine.spec.steps import Distill, Finetune, Quantize
from tests.helpers.pretended_device import NAME, on_pretended_device
from tests.helpers.tiny_trained import run_scheme, tiny_data, tiny_graph

torch.set_num_threads(1)
DATA = tiny_data()
CALIBRATION = DATA.preprocessing(DATA.calibration.inputs)
TEST = DATA.preprocessing(DATA.test.inputs)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return BUILDERS["resnet8"](num_classes=3, width=0.5)


def answers(module: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        return module.eval()(torch.from_numpy(TEST)).numpy()


def test_the_device_takes_no_tensor_of_the_cpus_and_belongs_to_the_thread():
    array = np.arange(3.0, dtype=np.float32)
    assert from_array(array).device.type == "cpu"
    with on_pretended_device():
        tensor = from_array(array)
        assert tensor.device.type == NAME
        with pytest.raises(RuntimeError, match="both devices"):
            (tensor + torch.zeros(3)).cpu()
        np.testing.assert_array_equal(to_array(tensor * 2), [0, 2, 4])
    assert from_array(array).device.type == "cpu"


def tuned() -> tuple[torch.nn.Module, list[float]]:
    losses: list[float] = []
    step = Finetune(epochs=1, samples=320, learning_rate=0.05, augment="shift")
    module = finetune.apply(step, network(), DATA, 0, on_epoch=lambda _, loss: losses.append(loss))
    return module, losses


def test_a_finetune_learns_the_same_and_comes_back():
    here, losses = tuned()
    with on_pretended_device():
        found, its = tuned()
    assert {p.device.type for p in found.parameters()} == {"cpu"}
    assert its == pytest.approx(losses, rel=1e-3)
    np.testing.assert_allclose(answers(found), answers(here), atol=0.02)


def student(outputs: object, start: Network | None, **options: object) -> tuple[Network, list[float]]:
    losses: list[float] = []
    step = Distill(epochs=1, samples=192, feature_weight=1.0, augment="mirror", **options)
    return distill.apply(step, DATA, 0, outputs, start, lambda _, loss: losses.append(loss)), losses


@pytest.mark.parametrize("kind", ["fresh", "current"])
def test_a_student_learns_the_same_from_what_the_teacher_says_there(kind: str):
    start = None
    options: dict[str, object] = {"student": "resnet8", "width": 0.5}
    if kind == "current":
        start, options = Network(network(), Origin("resnet8", 3, DATA.input_shape, "random")), {"student": "current"}
        with torch.no_grad():
            next(start.module.parameters())[:2] = 0.0
    said = teacher_outputs(tiny_graph(), DATA.train, DATA.preprocessing, mirrored=True, features=True)
    here, losses = student(said, start, **options)
    with on_pretended_device():
        too = teacher_outputs(tiny_graph(), DATA.train, DATA.preprocessing, mirrored=True, features=True)
        found, its = student(too, start, **options)
    np.testing.assert_allclose(too.logits, said.logits, atol=0.02)
    np.testing.assert_allclose(too.features, said.features, atol=0.02)
    assert its == pytest.approx(losses, rel=1e-3)
    assert {p.device.type for p in found.module.parameters()} == {"cpu"}
    np.testing.assert_allclose(answers(found.module), answers(here.module), atol=0.02)
    if kind == "current":
        assert not next(found.module.parameters())[:2].any()


def test_learned_rounding_chooses_the_same_codes():
    scheme = make_scheme(Quantize(weight_bits=3, activation_bits=8), tiny_graph(), CALIBRATION)
    here = learn_rounding(scheme, CALIBRATION[:64])
    with on_pretended_device():
        found = learn_rounding(scheme, CALIBRATION[:64])
    same = [np.mean(found.weights[name].codes == codes.codes) for name, codes in here.weights.items()]
    assert min(same) > 0.97
    np.testing.assert_allclose(run_scheme(found, TEST), run_scheme(here, TEST), atol=0.5)


@pytest.mark.parametrize(("bits", "activation_bits"), [(4, 8), (3, 4)])
def test_training_in_low_precision_learns_the_same(bits: int, activation_bits: int):
    step = Quantize(weight_bits=bits, activation_bits=activation_bits, method="qat", epochs=1, samples=192)
    start = make_scheme(step, tiny_graph(), CALIBRATION)
    losses: list[float] = []
    here = train_scheme(step, start, DATA, 0, lambda _, loss: losses.append(loss))
    with on_pretended_device():
        found = train_scheme(step, start, DATA, 0, lambda _, loss: losses.append(loss))
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    agreement = np.mean(run_scheme(found, TEST).argmax(1) == run_scheme(here, TEST).argmax(1))
    assert agreement > 0.98


def test_what_a_layer_costs_and_a_channel_matters_is_the_same():
    step = Quantize(weight_bits=8, activation_bits=8)
    module = finetune.apply(Finetune(epochs=1, samples=320), network(), DATA, 0)
    structure = find_structure(copy.deepcopy(module), DATA.input_shape)
    found = []
    for device in (nullcontext, on_pretended_device):
        with device():
            costs = measure_sensitivity(step, tiny_graph(), DATA)
            scores = taylor_scores(module, structure, DATA)
            found.append((costs, scores, validation_loss(DATA)(module)))
            assert scores.device.type == "cpu"
    (costs, scores, loss), (costs_too, scores_too, loss_too) = found
    assert costs.keys() == costs_too.keys()
    for name in costs:
        assert list(costs_too[name].values()) == pytest.approx(list(costs[name].values()), rel=0.05, abs=1e-5)
    np.testing.assert_allclose(scores_too, scores, rtol=0.01, atol=1e-6)
    assert loss_too == pytest.approx(loss, rel=1e-4)
    assert {p.device.type for p in module.parameters()} == {"cpu"}


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_learns_as_well_and_leaves_float32(monkeypatch: pytest.MonkeyPatch, half: torch.dtype):
    seen: set[torch.dtype] = set()
    full, losses = tuned()
    monkeypatch.setattr(finetune, "half_precision", lambda: half)
    convolution = torch.nn.functional.conv2d
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, *a: (r := convolution(x, *a), seen.add(r.dtype))[0])
    mixed, its = tuned()
    assert half in seen
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    assert its == pytest.approx(losses, rel=0.05)
    assert np.mean(answers(mixed).argmax(1) == answers(full).argmax(1)) > 0.9


def test_rounding_is_trained_in_full_precision_whatever_the_device_prefers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finetune, "half_precision", lambda: pytest.fail("asked for half precision"))
    step = Quantize(weight_bits=4, activation_bits=8, method="qat", epochs=1, samples=64)
    train_scheme(step, make_scheme(step, tiny_graph(), CALIBRATION), DATA, 0)


def test_a_cpu_trains_in_float32_and_a_gpu_in_what_it_bears(monkeypatch: pytest.MonkeyPatch):
    assert half_precision() is None
    monkeypatch.setattr(torch_device._calling, "name", "cuda:0")
    for bears, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda bears=bears: bears)
        assert half_precision() == expected
    monkeypatch.setattr(torch_device._calling, "name", "mps")
    assert half_precision() is None
