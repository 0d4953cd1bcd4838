"""The interpreter computes what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.compress.quantization.torch_graph import FloatGraph
from engine.errors import StepError
from engine.graph.graph import open_session
from engine.graph.tidy import fold
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS

torch.set_num_threads(1)
SMALL = (3, 64, 64)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    **{name: (BUILDERS[name], (2, 8) if name == "series_transformer" else (1, 28, 28)) for name in BUILDERS},
    **{
        name: (lambda name=name: getattr(torchvision.models, name)(num_classes=10), SMALL)
        for name in (
            "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf", "densenet121",
        )
    },
    "vit": (lambda: torchvision.models.VisionTransformer(16, 4, 2, 2, 16, 32, num_classes=10), (3, 16, 16)),
    "swin": (
        lambda: torchvision.models.SwinTransformer([2, 2], 12, [2, 2], [2, 2], [4, 4], num_classes=10), (3, 16, 16)
    ),
    "convnext": (
        lambda: torchvision.models.ConvNeXt(
            [torchvision.models.convnext.CNBlockConfig(16, 32, 2), torchvision.models.convnext.CNBlockConfig(32, None, 2)],
            num_classes=10,
        ),
        SMALL,
    ),
}  # fmt: skip


def scrambled(network: nn.Module) -> nn.Module:
    """Batch norms and layer scales as after training, so that nothing is hidden by ones and zeros."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 2, generator=generator)
    for name, parameter in network.named_parameters():
        if name.endswith("layer_scale") or (name.endswith("weight") and not parameter.any()):
            nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
    return network.eval()


@pytest.mark.parametrize("name", list(NETWORKS))
def test_whole_networks_agree_with_onnx_runtime(name: str) -> None:
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = fold(export_onnx(scrambled(build()), shape))
    images = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)  # the graph was traced with one image
    expected = open_session(model).run(None, {"input": images})[0]
    with torch.no_grad():
        layout = torch.channels_last if images.ndim == 4 else torch.contiguous_format
        (found,) = FloatGraph(model)(torch.from_numpy(images).contiguous(memory_format=layout))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def graph_of(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], shape: tuple[int, ...]) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    graph = helper.make_graph(nodes, "g", inputs, [onnx.ValueInfoProto(name="y")], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


F32, I64 = np.float32, np.int64
IMAGE = (2, 4, 7, 6)
SEQUENCE = (3, 2, 9)
CASES: dict[str, tuple[str, dict[str, np.ndarray], dict[str, object], tuple[int, ...]]] = {
    "conv pads on one side": ("Conv", {"w": np.ones((3, 4, 3, 3), F32)}, {"pads": [0, 1, 2, 0], "strides": [2, 1]}, IMAGE),
    "conv same upper": ("Conv", {"w": np.ones((3, 4, 4, 3), F32)}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, IMAGE),
    "conv same lower": ("Conv", {"w": np.ones((3, 4, 2, 2), F32)}, {"auto_pad": "SAME_LOWER"}, IMAGE),
    "conv valid": ("Conv", {"w": np.ones((3, 4, 2, 2), F32)}, {"auto_pad": "VALID"}, IMAGE),
    "conv dilated groups": (
        "Conv", {"w": np.arange(72, dtype=F32).reshape(4, 2, 3, 3)}, {"group": 2, "dilations": [2, 1]}, IMAGE
    ),
    "conv of sequences": ("Conv", {"w": np.arange(18, dtype=F32).reshape(3, 2, 3)}, {"pads": [2, 1], "strides": [2]}, SEQUENCE),
    "conv of sequences, grouped and dilated": (
        "Conv", {"w": np.arange(4, dtype=F32).reshape(2, 1, 2)}, {"group": 2, "dilations": [3], "kernel_shape": [2]}, SEQUENCE
    ),
    "conv of sequences same upper": ("Conv", {"w": np.ones((3, 2, 4), F32)}, {"auto_pad": "SAME_UPPER", "strides": [2]}, SEQUENCE),
    "max pool of sequences": ("MaxPool", {}, {"kernel_shape": [3], "pads": [1, 0], "strides": [2]}, SEQUENCE),
    "average pool of sequences": ("AveragePool", {}, {"kernel_shape": [3], "pads": [1, 1]}, SEQUENCE),
    "conv of volumes": ("Conv", {"w": np.ones((3, 2, 2, 1, 2), F32)}, {"pads": [1, 0, 1, 0, 0, 1]}, (2, 2, 4, 3, 5)),
    "max pool one side": ("MaxPool", {}, {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}, IMAGE),
    "max pool ceil": ("MaxPool", {}, {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, IMAGE),
    "average pool": ("AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, IMAGE),
    "average pool counting pads": (
        "AveragePool", {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, IMAGE
    ),
    "average pool one side": ("AveragePool", {}, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}, IMAGE),
    "gemm transposed and scaled": (
        "Gemm", {"w": np.arange(12, dtype=F32).reshape(3, 4), "b": np.ones((5, 3), F32)},
        {"transB": 1, "alpha": 0.5, "beta": 2.0}, (5, 4),
    ),
    "gemm of columns": ("Gemm", {"w": np.arange(15, dtype=F32).reshape(5, 3)}, {"transA": 1}, (5, 4)),
    "clip from below": ("Clip", {"low": np.array(0.2, F32)}, {}, IMAGE),
    "clip from above": ("Clip", {"": np.array(0.0, F32), "high": np.array(0.2, F32)}, {}, IMAGE),
    "hard sigmoid": ("HardSigmoid", {}, {"alpha": 0.3, "beta": 0.4}, IMAGE),
    "hard swish": ("HardSwish", {}, {}, IMAGE),
    "leaky relu": ("LeakyRelu", {}, {}, IMAGE),
    "prelu": ("PRelu", {"slope": np.array([0.1, 0.2, 0.3, 0.4], F32).reshape(4, 1, 1)}, {}, IMAGE),
    "erf": ("Erf", {}, {}, IMAGE),
    "softmax": ("Softmax", {}, {"axis": 1}, IMAGE),
    "mean over all": ("ReduceMean", {}, {"keepdims": 0}, IMAGE),
    "mean over axes": ("ReduceMean", {"axes": np.array([-1, 1], I64)}, {}, IMAGE),
    "flatten": ("Flatten", {}, {"axis": 2}, IMAGE),
    "reshape keeping": ("Reshape", {"s": np.array([0, 2, -1], I64)}, {}, IMAGE),
    "transpose": ("Transpose", {}, {"perm": [0, 2, 3, 1]}, IMAGE),
    "unsqueeze": ("Unsqueeze", {"axes": np.array([-1, 0], I64)}, {}, IMAGE),
    "slice with steps": (
        "Slice",
        {"s": np.array([-1, 1], I64), "e": np.array([-100, 5], I64), "a": np.array([3, 2], I64), "t": np.array([-2, 2], I64)},
        {}, IMAGE,
    ),
    "gather": ("Gather", {"i": np.array([[0, -1]], I64)}, {"axis": 1}, IMAGE),
    "expand": ("Expand", {"s": np.array([3, 1, 1, 1, 1], I64)}, {}, IMAGE),
    "pad reflecting": ("Pad", {"p": np.array([0, 0, 1, 2, 0, 0, 3, 1], I64)}, {"mode": "reflect"}, IMAGE),
    "pad with ones": ("Pad", {"p": np.array([1, 2], I64), "v": np.array(1, F32), "a": np.array([2], I64)}, {}, IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_operators_agree_with_onnx_runtime_in_their_corners(name: str) -> None:
    op, constants, attributes, shape = CASES[name]
    node = helper.make_node(op, ["x", *constants], ["y"], **attributes)
    model = graph_of([node], {k: v for k, v in constants.items() if k}, shape)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    expected = open_session(model, level).run(None, {"x": x})[0]
    (found,) = FloatGraph(model)(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_split_gives_every_part() -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        helper.make_node("Split", ["a"], ["c", "d"], axis=3, num_outputs=2),
        helper.make_node("Concat", ["b", "b"], ["e"], axis=0),
        helper.make_node("GlobalAveragePool", ["e"], ["y"]),
    ]
    model = graph_of(nodes, {"sizes": np.array([1, 3], I64)}, IMAGE)
    x = torch.randn(IMAGE, generator=torch.Generator().manual_seed(0))
    d, y = FloatGraph(model, ["d", "y"])(x)
    torch.testing.assert_close(d, x[:, :1, :, 3:])
    torch.testing.assert_close(y, x[:, 1:].mean((2, 3), keepdim=True).repeat(2, 1, 1, 1))


def test_inner_tensors_can_be_asked_for_and_gradients_flow() -> None:
    torch.manual_seed(0)
    model = fold(export_onnx(BUILDERS["resnet8"]().eval(), (1, 28, 28)))
    middle = model.graph.node[4].output[0]
    images = torch.randn(3, 1, 28, 28, requires_grad=True)
    inner, logits = FloatGraph(model, [middle, model.graph.output[0].name])(images)
    assert inner.shape[0] == 3
    assert inner.ndim == 4
    (gradient,) = torch.autograd.grad(logits.sum(), images)
    assert float(gradient.abs().sum()) > 0


def test_an_unknown_operator_is_named_in_one_line() -> None:
    model = graph_of([helper.make_node("Det", ["x"], ["y"], name="where")], {}, IMAGE)
    with pytest.raises(StepError, match=r"^operator Det \(node 'where'\) cannot be trained[^\n]*$"):
        FloatGraph(model)
