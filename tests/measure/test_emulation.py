"""Whole files with either kind of sums: what is run here, what is emulated, and where the two must be one."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.errors import StepError
from engine.graph.graph import load_onnx, open_session
from engine.measure import integer_nodes
from engine.measure.emulation import Emulator, runtime_sums
from engine.paths import EXAMPLE
from tests.helpers.integer_nets import CONVOLUTIONS, EXACT_CONVOLUTIONS, PRODUCTS, case, images, qdq_net, random_weights

PAIRED = (*CONVOLUTIONS, *PRODUCTS)


def as_run(model, x):
    session = open_session(model)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def logits(emulator, x):
    return emulator.emulated(x)["logits"]


def example_file(label):
    trials = json.loads((EXAMPLE / "sweep.json").read_text())["trials"]
    return load_onnx(EXAMPLE / "artifacts" / next(t["artifact"] for t in trials if t["label"] == label))


def test_this_run_is_on_the_kind_of_cpu_that_it_was_started_for():
    """So that a second run, as on a CPU that saturates, cannot pass by being the first one again."""
    expected = os.environ.get("PARETOSCOPE_EXPECT_SUMS")
    if not expected:
        pytest.skip("any kind of CPU will do; `make test-avx2` asks for one that saturates")
    assert runtime_sums() == expected


def everything_anew(monkeypatch, few):
    """From here on every output of a layer is computed by us, as if saturation changed it by 0: alone, or with all others (few 0)."""

    def every(layer, codes, zero, window):
        n = len(codes) * len(layer._centred) * math.prod(window.places)
        return np.arange(n), np.zeros(n), 0

    monkeypatch.setattr(integer_nodes, "_FEW", few)
    monkeypatch.setattr(integer_nodes.IntegerLayer, "_excess", every)


@pytest.mark.parametrize("name", PAIRED)
def test_one_kind_of_sums_is_what_runs_here(name, monkeypatch):
    """On a CPU that saturates the emulation is held against its own kernels; on others with saturation taken out of it."""
    model, x = case(name)
    emulator = Emulator(model)
    assert emulator.possible
    if runtime_sums() == "saturating":
        np.testing.assert_array_equal(logits(emulator, x), as_run(model, x))
        assert not np.array_equal(emulator.exact(x), as_run(model, x))
    else:
        assert not np.array_equal(logits(emulator, x), as_run(model, x))
        for few in (0, math.inf):
            everything_anew(monkeypatch, few)
            np.testing.assert_array_equal(logits(emulator, x), as_run(model, x))


@pytest.mark.parametrize("name", PAIRED)
def test_outputs_that_saturate_are_the_same_alone_and_with_all_others(name, monkeypatch):
    model, x = case(name)
    found = []
    for few in (0, math.inf):
        monkeypatch.setattr(integer_nodes, "_FEW", few)
        emulator = Emulator(model)
        found.append((logits(emulator, x), emulator.layers()))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("name", PAIRED)
def test_exact_sums_are_had_from_uint8_weights_too(name, monkeypatch):
    """As on a CPU that saturates; where this one does not, the file itself says what is right."""
    model, x = case(name)
    emulator = Emulator(model)
    there = emulator.exact(x)
    monkeypatch.setattr("engine.measure.emulation.runtime_sums", lambda: "saturating")
    np.testing.assert_array_equal(emulator.exact(x), there)
    if runtime_sums() == "exact":
        np.testing.assert_array_equal(there, as_run(model, x))
    monkeypatch.setattr("engine.measure.emulation.runtime_sums", lambda: "exact")
    np.testing.assert_array_equal(emulator.saturating(x), logits(emulator, x))


@pytest.mark.parametrize("name", EXACT_CONVOLUTIONS)
def test_kernels_that_are_exact_everywhere_are_left_alone(name):
    model, x = case(name)
    found = Emulator(model)
    found.emulated(x)
    conv = found.layers()[0]
    assert (conv.name, conv.possible, conv.saturated, conv.outputs_changed) == ("conv", False, 0, 0)


def test_seven_bits_have_nothing_to_emulate():
    model = qdq_net(random_weights((16, 8, 3, 3), bits=7), bits=7)
    emulator = Emulator(model)
    assert not emulator.possible
    assert [(x.possible, x.saturated) for x in emulator.layers()] == [(False, 0), (False, 0)]
    x = images(4, 8)
    for found in (emulator.exact(x), emulator.saturating(x), logits(emulator, x)):
        np.testing.assert_array_equal(found, as_run(model, x))


def test_layers_of_zeros_are_layers():
    """As pruning leaves them."""
    model = qdq_net(np.zeros((16, 8, 3, 3), int))
    x = images(4, 8)
    emulator = Emulator(model)
    assert [layer.possible for layer in emulator.layers()] == [False, True]
    np.testing.assert_array_equal(emulator.exact(x), emulator.saturating(x))


def test_a_convolution_pairs_channels_at_one_place_of_the_window():
    """One output, two channels, a window of two columns: which weights are neighbours decides whether they saturate together."""
    across, along = np.zeros((2, 16, 2, 1, 2), int)
    across[:, :, 0, 0] = 127  # both channels at the first column: a pair
    along[:, 0, 0, :] = 127  # one channel at both columns: two pairs
    x = np.full((1, 2, 6, 6), 5.5, np.float32)  # above the largest code, so all 255
    for weights, share in ((across, 0.5), (along, 0.0)):
        emulator = Emulator(qdq_net(weights, pads=0))
        emulator.emulated(x)
        conv = emulator.layers()[0]
        assert conv.saturated == share
        assert conv.outputs_changed == (1.0 if share else 0.0)
        emulator.forget()
        assert emulator.layers()[0].saturated == 0


def test_a_file_of_a_fixed_batch_is_filled_up():
    model, x = case("direct")
    expected = logits(Emulator(model), x[:3])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    emulator = Emulator(model)
    np.testing.assert_array_equal(logits(emulator, x[:3]), expected)
    assert len(emulator.exact(x[:3])) == 3


@pytest.mark.parametrize("label", ["int8", "distil ds_cnn (2×25k) · channels −70 % · finetune 1×20k · int8"])
def test_a_real_network_by_the_bit(label, monkeypatch):
    """The shipped example's files: packed and plain forms, shortcuts, depthwise layers, and the runtime's own fused additions and pools."""
    model, data = example_file(label), load_fashion_mnist()
    x = data.preprocessing(data.test.head(20).inputs)
    emulator = Emulator(model)
    if runtime_sums() == "exact":
        everything_anew(monkeypatch, 0)
    np.testing.assert_array_equal(logits(emulator, x), as_run(model, x))


def test_what_cannot_be_emulated_is_refused_in_one_line():
    with pytest.raises(StepError, match="MatMulInteger 'stack' multiplies by weights of 3 axes"):
        Emulator(_integer_product([numpy_helper.from_array(np.full((2, 4, 5), 127, np.int8), "w")]))
    # A second activation instead of weights.
    zeros = [numpy_helper.from_array(np.zeros((), t), n) for n, t in (("zx", np.uint8), ("zw", np.int8))]
    with pytest.raises(StepError, match="MatMulInteger 'stack' multiplies by int8 activations"):
        Emulator(_integer_product(zeros))


@pytest.mark.parametrize("case", ["large weights together", "a zero point far from 0"])
def test_sums_that_one_float32_does_not_hold_are_whole(case):
    rng = np.random.default_rng(0)
    if case == "a zero point far from 0":
        weights, zero = 100 + rng.integers(-3, 4, (2048, 2)), 100
    else:
        weights, zero = np.zeros((6144, 2), np.int64), 0
        weights[:1536] = 127
    codes = rng.integers(240, 256, (4, len(weights)))
    named = {"zx": (3, np.uint8), "zw": (zero, np.int8)}
    model = _integer_product(
        [numpy_helper.from_array(np.array(v, t), n) for n, (v, t) in {"w": (weights, np.int8), **named}.items()],
        codes.shape,
    )
    pairs = (codes[:, :, None] * weights).reshape(4, -1, 2, 2).sum(axis=2)
    expected = (
        np.clip(pairs, -32768, 32767).sum(axis=1) - 3 * weights.sum(axis=0) - zero * (codes - 3).sum(axis=1)[:, None]
    )
    (found,) = Emulator(model).emulated(codes.astype(np.uint8)).values()
    np.testing.assert_array_equal(found, expected)


def test_what_saturates_is_added_up_as_it_is_found(monkeypatch):
    """Where every pair does there are hundreds of them for each output: they are not all held."""
    model, x = qdq_net(np.full((16, 64, 3, 3), 127)), np.full((2, 64, 6, 6), 5.5, np.float32)
    emulator = Emulator(model)
    before, shares = logits(emulator, x), emulator.layers()
    assert shares[0].saturated > 0.7
    for name in ("engine.measure.integer_nodes._BLOCK", "engine.measure.saturation._BLOCK"):
        monkeypatch.setattr(name, 1)
    held, real = list[int](), integer_nodes.summed
    monkeypatch.setattr(integer_nodes, "summed", lambda *a: held.append(len(a[0])) or real(*a))
    emulator = Emulator(model)
    np.testing.assert_array_equal(logits(emulator, x), before)
    assert emulator.layers() == shares
    outputs, of_one_code = 16 * 3 * 6, 16 * 9
    assert 0 < max(held) <= 2 * outputs + of_one_code


def _integer_product(tensors, shape=(2, 3, 4)) -> onnx.ModelProto:
    names = [t.name for t in tensors]
    inputs = {"input": TensorProto.UINT8} | ({} if "w" in names else {"w": TensorProto.INT8})
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["input", "w", *(n for n in names if n != "w")], ["sums"], "stack")], "g",
        [helper.make_tensor_value_info(n, t, shape if n == "input" else [2, 4, 5]) for n, t in inputs.items()],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, None)],
        tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
