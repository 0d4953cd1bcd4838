"""A small trained network with its data, for tests of what learns on graphs, and graphs of untrained ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from engine.compress.finetune import Schedule, train
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.write import write
from engine.compress.quantize import prepare
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS
from tests.helpers.quantize_cases import Images, calibrated, run
from tests.helpers.tiny import images


def split(n: int, seed: int) -> Split:
    x, y = images(n, seed)
    return Split(x[:, None], y)


@cache
def tiny_data() -> Dataset:
    preprocessing = Preprocessing(1 / 255, (0.3,), (0.2,))
    splits = [split(n, seed) for n, seed in ((1500, 0), (200, 1), (400, 2), (600, 3))]
    return Dataset("tiny", "0" * 64, ("bar", "pillar", "blob"), preprocessing, *splits)


@cache
def tiny_graph() -> onnx.ModelProto:
    """A small residual network that has learnt the three classes, prepared."""
    torch.manual_seed(0)
    network = BUILDERS["resnet8"](num_classes=3, width=0.5)
    data = tiny_data()
    train(
        network, data.train, data.preprocessing, Schedule(epochs=4, learning_rate=0.1, batch_size=64, dropout=False), 0
    )
    return prepare(export_onnx(network, data.input_shape))


def random_graph(network: nn.Module, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """An untrained network's graph, prepared; activations as large as in a trained one."""
    return prepare(calibrated(network, shape))


@cache
def half_zero_graph() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """`tiny_graph` with the smaller half of every filter bank at zero, and where, by initialiser."""
    model = onnx.ModelProto()
    model.CopyFrom(tiny_graph())
    zeros = {}
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            weight = numpy_helper.to_array(tensor).copy()
            weight[np.abs(weight) < np.median(np.abs(weight))] = 0
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
            zeros[tensor.name] = weight == 0
    return model, zeros


def run_scheme(scheme: Scheme, x: Images, fused: bool = True) -> np.ndarray:
    """What the scheme's file answers; not `fused`, in float arithmetic between roundings instead of integer kernels."""
    return run(write(scheme, packed=False), x, fused)
