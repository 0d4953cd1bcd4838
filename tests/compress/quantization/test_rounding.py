"""Learned rounding: layers' outputs come closer to the float ones, by codes next to the exact weights."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.compress import quantize
from engine.compress.quantization import descent, held, rounding
from engine.compress.quantization.moments import moments
from engine.compress.quantization.rounding import DAMPING, learn_rounding
from engine.compress.quantization.scheme import Codes, Scheme
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.torch_graph import Call
from engine.compress.quantization.weights import find_layers
from engine.compress.quantize import make_scheme, prepare
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import pictures, relative_error, run
from tests.helpers.tiny_trained import half_zero_graph, random_graph, run_scheme, tiny_data, tiny_graph

torch.set_num_threads(1)
DATA = tiny_data()
CALIBRATION = DATA.preprocessing(DATA.calibration.inputs)
TEST = DATA.preprocessing(DATA.test.inputs)


def scheme_of(bits: int, activation_bits: int = 8, **options: object) -> Scheme:
    step = Quantize(weight_bits=bits, activation_bits=activation_bits, **options)
    return make_scheme(step, tiny_graph(), CALIBRATION)


def error(scheme: Scheme) -> float:
    """Mean squared distance of the file's logits from the float ones, on images that no method saw."""
    return float(np.square(run_scheme(scheme, TEST) - run(tiny_graph(), TEST)).mean())


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("activation_bits", [8, 32])
def test_it_clearly_helps_where_bits_are_few(bits: int, activation_bits: int) -> None:
    nearest = scheme_of(bits, activation_bits)
    assert error(learn_rounding(nearest, CALIBRATION)) < 0.5 * error(nearest)


@pytest.mark.parametrize("options", [{}, {"per_channel": False}, {"per_channel": False, "symmetric": False}])
def test_codes_lie_next_to_the_exact_weights(options: dict[str, bool]) -> None:
    before = scheme_of(4, **options)
    after = learn_rounding(before, CALIBRATION)
    weights = {t.name: numpy_helper.to_array(t) for t in before.model.graph.initializer}
    for name, codes in after.weights.items():
        shape = [-1] + [1] * (codes.codes.ndim - 1) if codes.scale.ndim else ()
        exact = weights[name] / codes.scale.reshape(shape) + codes.zero_point.reshape(shape)
        low, high = (-8, 7) if codes.symmetric else (0, 15)
        up = codes.codes - np.clip(np.floor(exact), low, high)
        assert set(np.unique(up)) <= {0, 1}
        assert 0.1 < up.mean() < 0.9
        assert (codes.bits, codes.axis, codes.scale.shape) == (4, 0, before.weights[name].scale.shape)
    assert any(not np.array_equal(after.weights[n].codes, before.weights[n].codes) for n in after.weights)
    # What was learnt is in the file, and the simulation starts from it.
    with torch.no_grad():
        simulated = Simulation(after).eval()(torch.from_numpy(TEST)).numpy()
    assert np.linalg.norm(simulated - run_scheme(after, TEST)) < 0.01 * np.linalg.norm(simulated)


def layer_error(codes: Codes, bias: np.ndarray, weight: np.ndarray, x: np.ndarray) -> float:
    return float(np.square(x @ (codes.values().reshape(weight.shape) - weight).T + bias).mean())


def linear_scheme(weight: np.ndarray, x: np.ndarray, bits: int) -> Scheme:
    """One convolution of one pixel with a bias of zero, weights rounded and nothing else."""
    tensors = {"w": weight[:, :, None, None], "b": np.zeros(len(weight))}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["c"]), helper.make_node("Flatten", ["c"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weight.shape[1], 1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", len(weight)])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()],
    )
    model = prepare(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))
    return make_scheme(Quantize(weight_bits=bits, activation_bits=32, ends_8bit=False), model, x[:, :, None, None])


def test_one_layer_comes_near_the_best_of_all_roundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against every combination of up and down for one output with eight correlated inputs."""
    monkeypatch.setattr(rounding, "_SCALES", (1.0,))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 3)) @ rng.normal(size=(3, 8)) + 0.7 * rng.normal(size=(300, 8)) + 0.5).astype(np.float32)
    gap, room = 0.0, 0.0
    for _ in range(10):
        weight = rng.normal(size=(4, 8)).astype(np.float32)
        nearest = linear_scheme(weight, x, 3)
        (name,) = nearest.weights
        found = learn_rounding(nearest, x[:, :, None, None])
        centred = x - x.mean(0)  # the bias takes up the mean
        codes = nearest.weights[name]
        for row in range(4):
            exact = weight[row] / codes.scale[row]
            sides = [sorted({int(v) for v in np.clip([np.floor(e), np.ceil(e)], -4, 3)}) for e in exact]
            errors = [
                np.square(centred @ (np.array(c) * codes.scale[row] - weight[row])).mean()
                for c in itertools.product(*sides)
            ]
            learned = found.weights[name]
            nearest_codes = np.clip(np.rint(exact), -4, 3)
            rounded = [learned.codes[row].ravel() * learned.scale[row], nearest_codes * codes.scale[row]]
            mine, usual = (np.square(centred @ (value - weight[row])).mean() for value in rounded)
            assert mine <= usual * 1.0001
            gap, room = gap + float(mine - min(errors)), room + float(usual - min(errors))
    assert 0 <= gap < 0.25 * room  # three quarters of the way from nearest to best


def test_biases_take_up_the_mean_error() -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 8)) + 2).astype(np.float32)
    weight = rng.normal(size=(6, 8)).astype(np.float32)
    found = learn_rounding(linear_scheme(weight, x, 2), x[:, :, None, None])
    output = run_scheme(found, x[:, :, None, None])
    np.testing.assert_allclose(output.mean(0), (x @ weight.T).mean(0), atol=0.05)
    assert np.abs(next(iter(found.biases.values()))).max() > 0.05


def test_pruned_weights_stay_zero_and_float_layers_as_they_are() -> None:
    model, pruned = half_zero_graph()
    left_out = list(pruned)[1]
    scheme = make_scheme(Quantize(weight_bits=3, activation_bits=8), model, CALIBRATION, {left_out: 32})
    after = learn_rounding(scheme, CALIBRATION)
    assert left_out not in after.weights
    for name, codes in after.weights.items():
        if name in pruned:
            assert not codes.codes[pruned[name]].any()


@pytest.mark.parametrize("name", ["ds_cnn", "recursive_resnet"])
def test_depthwise_and_tied_layers_are_learnt(name: str) -> None:
    torch.manual_seed(0)
    shape = (1, 28, 28)
    model = random_graph(BUILDERS[name](), shape)
    scheme = make_scheme(Quantize(weight_bits=4, activation_bits=8), model, pictures(64, shape, 2))
    x = pictures(32, shape, 1)
    expected = run(model, x)
    before, after = (
        np.linalg.norm(run_scheme(s, x) - expected) for s in (scheme, learn_rounding(scheme, pictures(64, shape, 2)))
    )
    assert after < 0.7 * before


def test_the_same_images_give_the_same_scheme_every_time() -> None:
    scheme = scheme_of(3)
    first, second = (learn_rounding(scheme, CALIBRATION) for _ in range(2))
    for name in first.weights:
        np.testing.assert_array_equal(first.weights[name].codes, second.weights[name].codes)


def test_a_layer_ends_where_no_single_code_could_change_for_the_better() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(2, 150, 200, generator=generator)
    gram = data @ data.mT
    exact = 3 * torch.randn(2, 5, 150, generator=generator)
    below, above, to_nearest = (torch.clamp(x, -8, 7) for x in (exact.floor(), exact.ceil(), exact.round()))
    found = descent.least_error(gram, exact @ gram, below, above, to_nearest)
    distance, nearest = found - exact, torch.clamp(exact.round(), -8, 7) - exact
    assert ((distance @ gram) * distance).sum() < 0.6 * ((nearest @ gram) * nearest).sum()
    other = torch.clamp(exact.floor(), -8, 7) + torch.clamp(exact.ceil(), -8, 7) - 2 * found
    gain = other * (other * gram.diagonal(dim1=1, dim2=2)[:, None] + 2 * distance @ gram)
    assert float((gain < -1e-2).float().mean()) <= descent._SETTLED * 2


def test_memory_bounds_the_images_and_wide_layers_keep_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = scheme_of(4)
    monkeypatch.setattr(rounding, "_MEMORY", 2**20)
    few = learn_rounding(scheme, CALIBRATION)
    monkeypatch.setattr(rounding, "_MEMORY", 2**30)
    all_of_them = learn_rounding(scheme, CALIBRATION)
    name = list(scheme.weights)[2]
    assert not np.array_equal(few.weights[name].codes, all_of_them.weights[name].codes)
    monkeypatch.setattr(rounding, "LARGEST_FAN_IN", 50)
    narrow = learn_rounding(scheme, CALIBRATION)
    kept = [n for n, c in narrow.weights.items() if np.array_equal(c.codes, scheme.weights[n].codes)]
    assert {n for n, c in scheme.weights.items() if c.codes[0].size > 50} <= set(kept)
    assert len(kept) < len(scheme.weights)


def test_what_is_computed_again_rather_than_held_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    scheme = scheme_of(4)
    kept = learn_rounding(scheme, CALIBRATION)
    monkeypatch.setattr(held, "HELD", 1)
    again = learn_rounding(scheme, CALIBRATION)
    for name, codes in kept.weights.items():
        np.testing.assert_array_equal(again.weights[name].codes, codes.codes)
    for name, bias in kept.biases.items():
        np.testing.assert_array_equal(again.biases[name], bias)


def test_only_what_grows_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts of three vectors, made four times as long and summed up again: no more is ever held than came in."""
    runs = []

    def longer(x: torch.Tensor) -> torch.Tensor:
        runs.append(len(x))
        return x.repeat(1, 4)

    monkeypatch.setattr(held, "HELD", 1)
    values = held.Held([{"x": torch.ones(3, 5)}, {"x": torch.ones(2, 5)}], {})
    values.then([Call(longer, ("x",), ("wide",), ("x",))])
    values.settle()
    assert runs == [3]
    assert values.length("wide") == 5
    assert [tuple(v.shape) for v in values.read("wide")] == [(3, 20), (2, 20)]
    values.then([Call(lambda x: x.sum(1, keepdim=True), ("wide",), ("sum",), ("wide",))])
    values.settle()
    runs.clear()
    assert [v.flatten().tolist() for v in values.read("sum")] == [[20.0] * 3, [20.0] * 2]
    assert not runs


def test_a_fixed_batch_learns_what_a_free_one_does() -> None:
    scheme = scheme_of(4)
    model = onnx.ModelProto()
    model.CopyFrom(scheme.model)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 32
    images = CALIBRATION[: len(CALIBRATION) // 32 * 32]
    fixed, free = learn_rounding(replace(scheme, model=model), images), learn_rounding(scheme, images)
    assert all(np.array_equal(codes.codes, free.weights[name].codes) for name, codes in fixed.weights.items())


def test_fewer_images_than_a_fixed_batch_are_taken_again() -> None:
    scheme = scheme_of(4)
    model = onnx.ModelProto()
    model.CopyFrom(scheme.model)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 16
    found = learn_rounding(replace(scheme, model=model), CALIBRATION[:6])
    assert np.isfinite(next(iter(found.biases.values()))).all()


@pytest.mark.parametrize(
    ("kernel", "options"), [((3, 3), {}), ((3,), {}), ((5, 3), {"groups": 4, "stride": 2, "dilation": 2})]
)
def test_patches_times_weights_are_the_convolution(kernel: tuple[int, ...], options: dict[str, int]) -> None:
    layers = {1: torch.nn.Conv1d, 2: torch.nn.Conv2d}
    shape = (4, *(13,) * len(kernel))
    torch.manual_seed(5)
    network = torch.nn.Sequential(layers[len(kernel)](4, 8, kernel, padding=2, bias=False, **options))
    attributes = {"group": network[0].groups, "pads": [2] * 2 * len(kernel)}
    attributes |= {"strides": [*network[0].stride], "dilations": [*network[0].dilation]}
    (layer,) = find_layers([helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], {"w"})
    images, weight = torch.randn(6, *shape), network[0].weight.detach()
    wanted = network(images).detach()
    found = moments(layer, [images[:2], images[2:]], [wanted[:2], wanted[2:]], weight, centred=False, images=6)
    rows = weight.reshape(network[0].groups, -1, weight[0].numel())
    # What the weights themselves give is what is wanted, so that E[y xᵀ] = W E[x xᵀ].
    torch.testing.assert_close(found.cross, rows @ found.gram)
    energy = wanted.square().mean((0, *range(2, wanted.ndim))).reshape(rows.shape[:2])
    torch.testing.assert_close(torch.einsum("goi,gij,goj->go", rows, found.gram, rows), energy)


def test_inputs_that_hardly_vary_about_their_means_have_the_moments_that_float64_finds() -> None:
    """In float32 their moments are no moments: not positive definite, which stopped a recipe with an error of torch's."""
    rng = np.random.default_rng(3)
    x = (rng.uniform(1, 5, 256) + rng.normal(0, 0.02, (4, 16, 256))).astype(np.float32)
    weight = rng.normal(size=(256, 12)).astype(np.float32)
    (layer,) = find_layers([helper.make_node("Gemm", ["x", "w"], ["y"])], {"w"})
    parts = [torch.from_numpy(part) for part in x]
    given = parts, [part @ torch.from_numpy(weight) for part in parts], torch.from_numpy(weight), True, 64
    rough, found = moments(layer, *given), moments(layer, *given, exactly=True)
    assert rough.drowned
    assert not moments(layer, [part - part.mean(0) for part in parts], *given[1:]).drowned
    exact = np.cov(x.reshape(64, 256).astype(np.float64).T, bias=True)
    assert np.linalg.eigvalsh(rough.gram[0].double().numpy())[0] < -DAMPING * exact.diagonal().mean()
    np.testing.assert_allclose(found.gram[0], exact, atol=1e-6 * exact.max())
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 12])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.zeros(12, np.float32), "b")],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    step = Quantize(weight_bits=8, activation_bits=8, rounding="learned", calibration_samples=64)
    flat = x.reshape(64, 256)
    learned = quantize.apply(step, network, flat)
    assert relative_error(run(learned, flat), flat @ weight) < 0.01


@pytest.mark.parametrize(
    ("activation_bits", "bias_correction", "moved"),
    [(8, "auto", True), (8, False, False), (8, True, True), (32, "auto", False), (32, False, False)],
)
def test_biases_move_only_where_the_step_says_so(
    activation_bits: int, bias_correction: str | bool, moved: bool
) -> None:
    """Weights alone, or no correction: the file keeps the float network's biases, to the bit where they are stored in float."""
    step = Quantize(
        weight_bits=4, activation_bits=activation_bits, rounding="learned", bias_correction=bias_correction,
        calibration_samples=16, weight_range="auto",
    )  # fmt: skip
    scheme = make_scheme(step, prepare(tiny_graph()), CALIBRATION[:16])
    found = quantize._rounded(step, scheme, CALIBRATION[:16])
    assert (found.biases.keys(), bool(found.biases)) == (scheme.biases.keys(), True)
    assert any(not np.array_equal(found.biases[n], b) for n, b in scheme.biases.items()) == moved
    assert any(not np.array_equal(found.weights[n].codes, c.codes) for n, c in scheme.weights.items())
