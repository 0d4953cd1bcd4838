"""Profiles: recorded events are summed as they should be, and a real graph with rounding that cannot fuse shows it."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.explain.advice import explain, unfused
from engine.graph.graph import save_onnx
from engine.measure.operators import kernels_of, owners, profile_pair
from engine.spec.sections import LatencyOptions


def event(name, op_name, dur, index, category="Node"):
    return {"cat": category, "name": name, "dur": dur, "args": {"op_name": op_name, "node_index": index}}


def test_kernels_have_their_median_and_their_layer_whatever_the_runtime_calls_them():
    owner = {"/1/Conv": "/1/Conv", "/1/Relu_output": "/1/Conv", "/2/Conv": "/2/Conv", "pool": "/2/Conv"}
    events = [
        event("model_run", "", 9000, "0", "Session"),
        *(event("/1/Relu_output_nchwc_kernel_time", "Conv", dur, "4") for dur in (900, 100, 200)),
        *(event("/2/Conv_token_16_kernel_time", "QLinearConv", dur, "5") for dur in (30, 10, 20)),
        *(event("pool_kernel_time", "GlobalAveragePool", 7, "6") for _ in range(3)),
        event("/1/Conv_fence_before", "Conv", 5, "4"),
        event(
            "OpenVINOExecutionProvider_14189_0_0_kernel_time",
            "OpenVINOExecutionProvider_14189728820987750123_0",
            8,
            "7",
        ),
    ]
    found = [(k.name, k.op_type, k.layer, k.ms) for k in kernels_of(events, owner)]
    assert found == [
        ("/1/Relu_output", "Conv", "/1/Conv", 0.2),
        ("/2/Conv", "QLinearConv", "/2/Conv", 0.02),
        ("pool", "GlobalAveragePool", "", 0.007),  # follows a layer, but multiplies by nothing
        ("OpenVINOExecutionProvider_14189_0_0", "OpenVINO (compiled)", "", 0.008),
    ]


def conv_net(stray: bool, channels: int = 8) -> onnx.ModelProto:
    """Two convolutions in floats; with `stray` rounding between them that nothing takes in."""
    rng = np.random.default_rng(0)
    middle = ["r"]
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c1"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r"]),
    ]
    if stray:
        nodes += [
            helper.make_node("Erf", ["r"], ["e"]),
            helper.make_node("QuantizeLinear", ["e", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
            helper.make_node("Softplus", ["d"], ["g"]),
        ]
        middle = ["g"]
    nodes += [
        helper.make_node("Conv", [*middle, "w2"], ["c2"], "second"),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["logits"]),
    ]
    tensors = {
        "w1": rng.standard_normal((channels, 1, 3, 3)).astype(np.float32),
        "w2": rng.standard_normal((10, channels, 3, 3)).astype(np.float32),
        "s": np.float32(0.01), "z": np.uint8(0),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items() if stray or k.startswith("w")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_what_follows_a_layer_is_its_own():
    assert owners(conv_net(stray=False)) == {
        "first": "first", "c1": "first", "r": "first", "second": "second", "c2": "second", "p": "second", "logits": "second",
    }  # fmt: skip


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    paths = [folder / "stray.onnx", folder / "plain.onnx"]
    for path, stray in zip(paths, (True, False), strict=True):
        save_onnx(conv_net(stray), path)
    runtime = LatencyOptions().filled(None)
    return profile_pair(paths, [runtime.model_copy(update={"batch": 2}), runtime])


def test_rounding_that_cannot_fuse_is_found_in_a_real_profile(profiles):
    stray, plain = profiles
    assert [k.op_type for k in unfused(stray)] == ["QuantizeLinear", "DequantizeLinear"]
    assert unfused(plain) == ()
    assert (stray.images, plain.images) == (2, 1)


def test_a_real_profile_has_every_layer_and_its_cost(profiles):
    stray, plain = profiles
    assert plain.layer_macs == {"first": 12 * 12 * 8 * 9, "second": 10 * 10 * 10 * 8 * 9}
    assert plain.macs == stray.macs == sum(plain.layer_macs.values())
    assert plain.channels == {"first": 8, "second": 10}
    for profile in profiles:
        assert {"first", "second"} <= profile.by_layer().keys()
        assert profile.kernel_ms > 0
        assert all(k.ms >= 0 for k in profile.kernels)
    why = explain(stray, plain, ("avx2",))
    assert why.off_width == {"second": 10}
    assert why.macs_saved == 0
