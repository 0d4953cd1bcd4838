"""Networks, pictures and ways to run graphs that the tests of quantization share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from engine.graph.graph import open_session
from engine.measure.emulation import Emulator, runtime_sums
from engine.models.export import export_onnx

UNOPTIMIZED = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
Images = np.ndarray


def pictures(n: int, shape: tuple[int, int, int], seed: int) -> Images:
    """Smooth pictures of very different brightness, so that ranges and logits spread as they do on photographs."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(n, shape[0], 4, 4, generator=generator) * torch.rand(n, 1, 1, 1, generator=generator) * 3
    return nn.functional.interpolate(coarse, shape[1:], mode="bicubic").numpy()


def calibrated(network: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """The network's graph, its batch norms having seen pictures: activations as large as in a trained network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=torch.Generator().manual_seed(1))
            nn.init.normal_(module.bias, 0, 0.3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        network.train()(torch.from_numpy(pictures(32, shape, 0)))
    return export_onnx(network.eval(), shape)


class Mixture(nn.Module):
    """Every kind of layer in few weights: plain, strided, depthwise, pointwise, grouped and 1×1 convolutions, a shortcut, two Gemms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
        )
        self.pointwise = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12))
        self.down = nn.Sequential(
            nn.MaxPool2d(2), nn.Conv2d(12, 18, 3, stride=2, padding=1, groups=3), nn.BatchNorm2d(18), nn.ReLU()
        )
        self.wide = nn.Sequential(nn.Conv2d(18, 70, (1, 3), padding=(0, 1)), nn.BatchNorm2d(70), nn.ReLU6())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(70, 33), nn.ReLU(), nn.Linear(33, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.head(self.wide(self.down(torch.relu(x + self.pointwise(self.depthwise(x))))))


MIXTURE_SHAPE = (1, 16, 16)


def mixture() -> onnx.ModelProto:
    """The graph of `Mixture`: five convolutions, two Gemms."""
    torch.manual_seed(3)
    return calibrated(Mixture(), MIXTURE_SHAPE)


def run(model: onnx.ModelProto, images: Images, optimize: bool = True) -> np.ndarray:
    """The graph's output, with or without ONNX Runtime's optimizations; with exact sums, also on a CPU whose int8 sums saturate."""
    if optimize and runtime_sums() == "saturating":
        return Emulator(model).exact(images)
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL if optimize else UNOPTIMIZED
    return open_session(model, level).run(None, {model.graph.input[0].name: images})[0]


def operators_at_run_time(model: onnx.ModelProto, folder: Path, int8_allowed: bool = False) -> Counter[str]:
    """What ONNX Runtime executes, kernel by kernel; `int8_allowed`: as on ARM, where it does not turn int8 activations into uint8 first."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if int8_allowed:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(n.op_type for n in onnx.load(folder / "optimized.onnx").graph.node)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Length of the difference over that of what was expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def pruned(model: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """A copy whose smallest weights, that share of each layer's, are zero."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if len(tensor.dims) > 1:
            value = onnx.numpy_helper.to_array(tensor).copy()
            value[np.abs(value) <= np.quantile(np.abs(value), share)] = 0
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return copy
