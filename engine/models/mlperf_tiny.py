"""The four reference networks of MLPerf Tiny, untrained: what published latencies and energies were measured on.

Banbury et al. 2021, "MLPerf Tiny Benchmark" (arXiv:2106.07597); layers after the Keras models of mlcommons/tiny
(`benchmark/training/*/keras_model.py`). Multiply-accumulates and parameters are the published ones exactly, where a parameter is
what Keras counts: weights, biases and all four vectors of a batch norm. Keras pads uneven sides at the end and torch at
both, which moves no count.

Unlike the zoo's own `resnet8` and `ds_cnn`, which are fitted to 28×28 images, these read the benchmark's own inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx
from torch import nn

from engine.models.export import export_onnx
from engine.models.zoo import BasicBlock, ConvBN


@dataclass(frozen=True)
class Reference:
    """A benchmark network: its builder, its input (channels, height, width), and the published counts for one inference."""

    build: Callable[[], nn.Module]
    input_shape: tuple[int, int, int]
    macs: int
    params: int


def _with_bias(network: nn.Module) -> nn.Module:
    """Every convolution gets a bias: Keras keeps one even before a batch norm, which makes it redundant, and counts it."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            module.bias = nn.Parameter(module.weight.new_zeros(module.out_channels))
    return network


def resnet8() -> nn.Module:
    """Image classification, 3×32×32 to 10 classes: a stem and three residual blocks of 16, 32 and 64 channels."""
    blocks = [BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 64, 2)]
    return _with_bias(nn.Sequential(ConvBN(3, 16), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)))


def ds_cnn() -> nn.Module:
    """Keyword spotting, a 1×49×10 spectrogram to 12 words: a 10×4 stem of stride 2 and four depthwise-separable blocks of 64."""
    stem = [nn.Conv2d(1, 64, (10, 4), 2, (5, 1)), nn.BatchNorm2d(64), nn.ReLU()]
    blocks = [part for _ in range(4) for part in (ConvBN(64, 64, groups=64), ConvBN(64, 64, kernel=1))]
    return _with_bias(nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 12)))


def mobilenet_v1() -> nn.Module:
    """Visual wake words, 3×96×96 to 2 classes: MobileNetV1 (Howard et al. 2017, arXiv:1704.04861) at a quarter of its width."""
    layers: list[nn.Module] = [ConvBN(3, 8, stride=2)]
    inputs = 8
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        layers += [ConvBN(inputs, inputs, stride=stride, groups=inputs), ConvBN(inputs, outputs, kernel=1)]
        inputs = outputs
    return _with_bias(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 2)))


def autoencoder() -> nn.Module:
    """Anomaly detection, 640 spectrogram values to 640: dense layers of 128 around a bottleneck of 8. The input is 1×1×640."""
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = 640
    for outputs in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.Linear(inputs, 640))


REFERENCES: dict[str, Reference] = {
    "resnet8": Reference(resnet8, (3, 32, 32), 12_501_632, 78_666),
    "ds_cnn": Reference(ds_cnn, (1, 49, 10), 2_656_768, 24_908),
    "mobilenetv1_0.25_96": Reference(mobilenet_v1, (3, 96, 96), 7_489_664, 221_794),
    "fc_autoencoder": Reference(autoencoder, (1, 1, 640), 264_192, 269_992),
}
"""By the names that `data/mlperf_tiny.csv` uses."""


def keras_params(network: nn.Module) -> int:
    """Parameters as Keras counts them: learned ones and the running mean and variance of batch norms."""
    statistics = sum(b.numel() for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))
    return sum(p.numel() for p in network.parameters()) + statistics


def reference_onnx(name: str) -> onnx.ModelProto:
    """One of `REFERENCES` as a float graph, batch norms folded; its weights are random, so it says nothing but what it costs."""
    reference = REFERENCES[name]
    return export_onnx(reference.build().eval(), reference.input_shape)
