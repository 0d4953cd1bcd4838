"""The saturating emulation: against exact arithmetic, hand-made cases, plain loops, and ONNX Runtime where it does not saturate."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.errors import StepError
from engine.graph.graph import load_onnx, open_session
from engine.measure.machine import machine
from engine.measure.portability import measure_portability
from engine.measure.saturation import Emulator, pair_excess
from engine.paths import EXAMPLE

torch.set_num_threads(1)


def excess_of(codes, weights):
    found, count = pair_excess(torch.tensor(codes, dtype=torch.int32), torch.tensor(weights, dtype=torch.int32))
    return found.tolist(), count.tolist()


def test_two_products_saturate_as_the_instruction_does():
    # 255·127 + 255·127 = 64770, held at 32767; 255·-128 twice = -65280, held at -32768.
    assert excess_of([[255, 255]], [[127], [127]]) == ([[32767 - 64770]], [1])
    assert excess_of([[255, 255]], [[-128], [-128]]) == ([[-32768 + 65280]], [1])
    # Just inside: 255·64 + 255·64 = 32640; 255·-64 - 255·64 = -32640; what cancels does not saturate.
    assert excess_of([[255, 255]], [[64, -64, 127], [64, -64, -127]]) == ([[0, 0, 0]], [0, 0, 0])
    # The edge itself: 32767 = 255·127 + 191·2.
    assert excess_of([[255, 191]], [[127], [2]]) == ([[0]], [0])
    assert excess_of([[255, 192]], [[127], [2]]) == ([[-2]], [1])


def test_neighbours_are_paired_and_a_last_odd_product_stands_alone():
    assert excess_of([[255, 0, 0, 255, 255]], [[127], [127], [127], [127], [127]]) == ([[0]], [0])
    assert excess_of([[0, 255, 255, 0]], [[127]] * 4) == ([[0]], [0])
    assert excess_of([[255, 255, 255, 255]], [[127]] * 4) == ([[2 * (32767 - 64770)]], [2])


def test_against_int16_arithmetic_written_out():
    rng = np.random.default_rng(0)
    codes, weights = rng.integers(0, 256, (40, 23)), rng.integers(-128, 128, (23, 9))
    expected = np.zeros((40, 9), np.int64)
    for k in range(0, 23, 2):
        pair = codes[:, k : k + 2].astype(np.int64) @ weights[k : k + 2].astype(np.int64)
        expected += np.clip(pair, np.iinfo(np.int16).min, np.iinfo(np.int16).max)
    found, count = excess_of(codes, weights)
    np.testing.assert_array_equal(codes @ weights + np.array(found), expected)
    assert sum(count) > 0


def test_seven_bits_never_saturate():
    rng = np.random.default_rng(1)
    codes, weights = np.full((1, 64), 255), rng.choice([-64, 63], (64, 32))
    assert excess_of(codes, weights) == ([[0] * 32], [0] * 32)


def _codes(name, array, dtype):
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def qdq_net(
    weights,
    *,
    zero=3,
    weight_type=np.int8,
    data_type=np.uint8,
    size=6,
    group=1,
    pads=1,
    bits=8,
    seed=0,
    scale=None,
    head=None,
):
    """Quantized convolution `weights` (outputs, channels, rows, columns), then pooling and a quantized Gemm."""
    rng = np.random.default_rng(seed)
    outputs, channels = weights.shape[0], weights.shape[1] * group
    head = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), (5, outputs)) if head is None else head
    scales = rng.uniform(0.001, 0.004, outputs) if scale is None else np.full(outputs, scale)
    offset = 0 if data_type == np.uint8 else -128
    weight_offset = 0 if weight_type == np.int8 else 128
    tensors = [
        _codes("sx", 0.02, np.float32), _codes("zx", zero + offset, data_type),
        _codes("w", weights + weight_offset, weight_type), _codes("sw", scales, np.float32),
        _codes("zw", np.full(outputs, weight_offset), weight_type),
        _codes("b", rng.integers(-500, 500, outputs), np.int32),
        _codes("sy", 0.05, np.float32), _codes("zy", 100 + offset, data_type),
        _codes("h", head + weight_offset, weight_type), _codes("sh", 0.01, np.float32),
        _codes("zh", weight_offset, weight_type),
    ]  # fmt: skip
    tensors.append(_codes("sb", numpy_helper.to_array(tensors[0]) * numpy_helper.to_array(tensors[3]), np.float32))
    node = helper.make_node
    nodes = [
        node("QuantizeLinear", ["input", "sx", "zx"], ["xq"]), node("DequantizeLinear", ["xq", "sx", "zx"], ["x"]),
        node("DequantizeLinear", ["w", "sw", "zw"], ["wf"], axis=0),
        node("DequantizeLinear", ["b", "sb"], ["bf"], axis=0),
        node("Conv", ["x", "wf", "bf"], ["y"], "conv", pads=[pads] * 4, group=group, strides=[2, 1]),
        node("QuantizeLinear", ["y", "sy", "zy"], ["yq"]), node("DequantizeLinear", ["yq", "sy", "zy"], ["yf"]),
        node("GlobalMaxPool", ["yf"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("QuantizeLinear", ["f", "sy", "zy"], ["fq"]), node("DequantizeLinear", ["fq", "sy", "zy"], ["ff"]),
        node("DequantizeLinear", ["h", "sh", "zh"], ["hf"]),
        node("Gemm", ["ff", "hf"], ["logits"], "head", transB=1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "qdq",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", channels, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def random_weights(shape, bits=8, seed=0):
    return np.random.default_rng(seed).integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), shape)


def images(n, channels, size=6, seed=0):
    # Codes near 255: 0.02 · 250.
    return np.random.default_rng(seed).uniform(-0.5, 6, (n, channels, size, size)).astype(np.float32)


CASES = {
    "plain": ((16, 8, 3, 3), {}),
    "grouped": ((16, 4, 3, 3), {"group": 2}),
    "depthwise": ((16, 1, 3, 3), {"group": 16}),
    "one channel": ((16, 1, 3, 3), {}),
    "pointwise": ((16, 7, 1, 1), {"pads": 0}),
    "u8u8": ((16, 8, 3, 3), {"weight_type": np.uint8}),
    "s8s8": ((16, 8, 3, 3), {"data_type": np.int8}),
}


@pytest.mark.parametrize("case", CASES)
def test_exact_sums_are_those_of_onnx_runtime(case):
    """On CPUs that do not saturate; 7 bits make it so everywhere."""
    flags = " ".join(machine().flags)
    bits = 8 if any(word in flags for word in ("vnni", "amx", "asimddp")) else 7
    shape, options = CASES[case]
    model = qdq_net(random_weights(shape, bits), bits=bits, **options)
    x = images(20, shape[1] * options.get("group", 1))
    expected = open_session(model).run(None, {"input": x})[0]
    found = Emulator(model)(x, saturating=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert len(Emulator(model).layers) == 2


@pytest.mark.parametrize("case", CASES)
def test_only_kernels_that_pair_in_sixteen_bits_saturate(case):
    shape, options = CASES[case]
    emulator = Emulator(qdq_net(random_weights(shape), **options))
    x = images(20, shape[1] * options.get("group", 1))
    exact, saturated = (emulator(x, saturating=s) for s in (False, True))
    conv = emulator.layers[0].summary()
    if case in ("u8u8", "s8s8", "depthwise"):
        assert (conv.possible, conv.saturated) == (False, 0)
    else:
        assert conv.possible
        assert 0 < conv.saturated < conv.outputs_changed < 1
        assert not np.array_equal(exact, saturated)


def test_a_convolution_pairs_channels_at_one_place_of_the_window():
    """One output, two channels, a window of two columns: which weights are neighbours decides whether they saturate together."""
    across, along = np.zeros((2, 16, 2, 1, 2), int)
    across[:, :, 0, 0] = 127  # both channels at the first column: a pair
    along[:, 0, 0, :] = 127  # one channel at both columns: two pairs
    x = np.full((1, 2, 6, 6), 5.5, np.float32)  # above the largest code, so all 255
    for weights, share in ((across, 0.5), (along, 0.0)):
        emulator = Emulator(qdq_net(weights, pads=0))
        emulator(x, saturating=True)
        assert emulator.layers[0].summary().saturated == share


def test_a_convolutions_excess_is_that_of_its_unrolled_sums():
    """The same by plain loops over places, in the order that the module's text gives."""
    weights, zero = random_weights((16, 3, 3, 2), seed=4), 3
    model = qdq_net(weights, zero=zero)
    layer = Emulator(model).layers[0]
    codes = np.random.default_rng(2).integers(0, 256, (2, 3, 6, 6))
    found = layer._excess(torch.tensor(codes, dtype=torch.float32)).numpy()
    padded = np.pad(codes, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=zero)
    for n, o, row, column in np.ndindex(found.shape):
        total = 0
        window = padded[n, :, 2 * row : 2 * row + 3, column : column + 2]
        terms = [int(window[c, i, j]) * int(weights[o, c, i, j]) for i, j, c in np.ndindex(3, 2, 3)]
        for pair in zip(terms[::2], terms[1::2], strict=True):
            total += int(np.clip(sum(pair), -32768, 32767)) - sum(pair)
        assert found[n, o, row, column] == total


def test_the_report_tells_what_saturation_does_to_the_classes():
    """Two features: the larger of them is a pair that saturates to half of itself, and so to less than the other."""
    weights = np.zeros((2, 2, 1, 2), int)
    weights[0, :, 0, 0] = 127  # neighbours: 255 · 127 twice is 64770, held at 32767
    weights[1, 0, 0, :] = 95  # not neighbours: 48450
    head = np.eye(5, 2, dtype=int) * 100
    bright, dark = np.full((12, 2, 6, 6), 5.5, np.float32), np.full((8, 2, 6, 6), 0.1, np.float32)
    model = qdq_net(weights, pads=0, scale=0.001, head=head)
    report = measure_portability(model, bright, np.concatenate([bright, dark]), np.zeros(20, np.int64))
    assert (report.images, report.accuracy, report.saturated_accuracy) == (20, 1.0, 0.4)
    assert (report.flips, report.harmed, report.helped) == (12, 12, 0)
    assert report.risk == "harmful"
    assert report.p_value == pytest.approx(0.5**12)  # mid-p of twelve to nothing
    conv, last = report.layers
    assert (conv.name, conv.possible, conv.saturated, conv.outputs_changed) == ("conv", True, 0.25, 0.5)
    assert (last.name, last.possible) == ("head", False)

    unseen = measure_portability(model, dark, dark, np.zeros(8, np.int64))
    assert (unseen.risk, unseen.flips, unseen.accuracy) == ("unseen", 0, 1.0)
    safe = measure_portability(
        qdq_net(weights // 2, pads=0, scale=0.002, head=head), bright, bright, np.zeros(12, np.int64)
    )
    assert (safe.risk, safe.flips, safe.saturated_accuracy, safe.p_value) == ("none", 0, 1.0, 1.0)


def test_a_float_file_is_told_so():
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["input"], ["p"]), helper.make_node("Flatten", ["p"], ["logits"])], "f",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 2, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
    )  # fmt: skip
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(StepError, match="no integer layers"):
        measure_portability(model, *[np.zeros((1, 2, 4, 4), np.float32)] * 2, np.zeros(1, np.int64))


@pytest.mark.parametrize("label", ["int8", "distil ds_cnn · channels −70 % · finetune 1 · int8"])
def test_exact_sums_of_a_real_network_are_those_of_onnx_runtime(label):
    """The shipped example's files: packed and plain forms, shortcuts, depthwise layers, and the runtime's own fused additions and pools."""
    if not any(word in " ".join(machine().flags) for word in ("vnni", "amx", "asimddp")):
        pytest.skip("this CPU saturates itself, so it has nothing exact to be compared with")
    trials = json.loads((EXAMPLE / "sweep.json").read_text())["trials"]
    artifact = next(t["artifact"] for t in trials if t["label"] == label)
    model = load_onnx(EXAMPLE / "artifacts" / artifact)
    data = load_fashion_mnist()
    x = data.preprocessing(data.test.head(40).inputs)
    session = open_session(model)
    expected = session.run(None, {session.get_inputs()[0].name: x})[0]
    found = Emulator(model)(x, saturating=False)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    # An addition's rounding may fall to the other side of a tie and move an image's logits by a step or two; most are equal to the bit.
    assert np.mean(np.abs(found - expected).max(axis=1) < 1e-4) >= 0.8
