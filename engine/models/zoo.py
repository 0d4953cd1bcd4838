"""The built-in networks. Each builder takes the class count, the input channels, and factors of width and depth, and returns a module.

`width` multiplies every layer's channels, `depth` the number of blocks in every stage, of which one always stays.

They are small on purpose: their untouched versions are what people run on microcontrollers and cameras, so what compression does to
them is what it does in the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.models.transformer import HEADS, SeriesTransformer


def _width(channels: int, width: float) -> int:
    return max(4, round(channels * width))


def scaled_blocks(blocks: int, depth: float) -> int:
    """`depth` times so many blocks, halves rounded up, and one at least."""
    return max(1, math.floor(blocks * depth + 0.5))


class ConvBN(nn.Sequential):
    """Convolution, batch norm and, unless told otherwise, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), *([nn.ReLU(inplace=True)] if relu else []))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut (He et al. 2015, arXiv:1512.03385, figure 3); 1×1 shortcut where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, outputs, stride=stride)
        self.conv2 = ConvBN(outputs, outputs, relu=False)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        return F.relu(self.conv2(self.conv1(x)) + self.shortcut(x), inplace=True)


class _Head(nn.Sequential):
    """Global average pooling and a linear classifier."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, num_classes))


def _resnet(blocks: int, num_classes: int, in_channels: int, width: float, depth: float) -> nn.Module:
    channels = [_width(c, width) for c in (16, 32, 64)]
    layers: list[nn.Module] = [ConvBN(in_channels, channels[0])]
    inputs = channels[0]
    for stage, outputs in enumerate(channels):
        for block in range(scaled_blocks(blocks, depth)):
            layers.append(BasicBlock(inputs, outputs, stride=2 if stage and not block else 1))
            inputs = outputs
    return nn.Sequential(*layers, _Head(inputs, num_classes))


def resnet8(num_classes: int = 10, in_channels: int = 1, width: float = 1.0, depth: float = 1.0) -> nn.Module:
    """MLPerf Tiny's image classifier: three stages of one basic block (Banbury et al. 2021, arXiv:2106.07597)."""
    return _resnet(1, num_classes, in_channels, width, depth)


def resnet20(num_classes: int = 10, in_channels: int = 1, width: float = 1.0, depth: float = 1.0) -> nn.Module:
    """The CIFAR ResNet-20 of He et al. 2015 (arXiv:1512.03385, section 4.2), with 1×1 shortcuts."""
    return _resnet(3, num_classes, in_channels, width, depth)


def ds_cnn(num_classes: int = 10, in_channels: int = 1, width: float = 1.0, depth: float = 1.0) -> nn.Module:
    """MLPerf Tiny's keyword spotter, a stem and four depthwise-separable blocks of 64 (Zhang et al. 2017, arXiv:1711.07128).

    Its 10×4 stem reads spectrograms; images get a 3×3 stem with the same stride.
    """
    c = _width(64, width)
    layers: list[nn.Module] = [ConvBN(in_channels, c, stride=2)]
    for _ in range(scaled_blocks(4, depth)):
        layers += [ConvBN(c, c, groups=c), ConvBN(c, c, kernel=1)]
    return nn.Sequential(*layers, _Head(c, num_classes))


def mobilenet_v2(num_classes: int = 10, in_channels: int = 1, width: float = 1.0, depth: float = 1.0) -> nn.Module:
    """torchvision's MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), fitted to 28×28: stem at full resolution, three halvings.

    Width 1 is torchvision's `width_mult` 0.5.
    """
    from torchvision.models import MobileNetV2  # takes longer to load than torch itself

    settings = [
        [1, 16, 1, 2],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 1],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    settings = [
        [expand, channels, scaled_blocks(blocks, depth), stride] for expand, channels, blocks, stride in settings
    ]
    network = MobileNetV2(num_classes=num_classes, width_mult=0.5 * width, inverted_residual_setting=settings)
    stem = network.features[0][0]
    network.features[0][0] = nn.Conv2d(in_channels, stem.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(network.features[0][0].weight, mode="fan_out")
    module: nn.Module = network  # torchvision has no types
    return module


class TiedStage(nn.Module):
    """One entry convolution, then residual blocks applied `repeats` times over with the same weights, batch norm included.

    Weights and batch norms are shared by all passes, so the exported graph holds one copy however often it is applied.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, repeats: int, blocks: int) -> None:
        super().__init__()
        self.entry = ConvBN(inputs, outputs, stride=stride)
        made = [BasicBlock(outputs, outputs, stride=1) for _ in range(blocks)]
        self.block = made[0] if blocks == 1 else nn.Sequential(*made)
        self.repeats = repeats

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        x = self.entry(x)
        for _ in range(self.repeats):
            x = self.block(x)
        return x


def recursive_resnet(
    num_classes: int = 10, in_channels: int = 1, width: float = 1.0, depth: float = 1.0, repeats: int = 3
) -> nn.Module:
    """Depth without parameters: one residual block per stage (`depth` of them) applied `repeats` times with tied weights.

    After Guo et al. 2019, "Dynamic Recursive Neural Network" (CVPR), without the gates.
    """
    channels = [_width(c, width) for c in (16, 32, 64)]
    stages = [
        TiedStage(inputs, outputs, stride, repeats, scaled_blocks(1, depth))
        for inputs, outputs, stride in zip([in_channels, *channels], channels, (1, 2, 2), strict=False)
    ]
    return nn.Sequential(*stages, _Head(channels[-1], num_classes))


def series_transformer(
    num_classes: int = 10, in_channels: int = 2, width: float = 1.0, depth: float = 1.0
) -> nn.Module:
    """Four encoder blocks of width 64 with four heads, over the points of a series."""
    return SeriesTransformer(num_classes, in_channels, HEADS * max(1, round(16 * width)), scaled_blocks(4, depth))


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "resnet8": resnet8,
    "resnet20": resnet20,
    "ds_cnn": ds_cnn,
    "mobilenet_v2": mobilenet_v2,
    "recursive_resnet": recursive_resnet,
    "series_transformer": series_transformer,
}


def count_params(network: nn.Module) -> int:
    """Learned parameters; batch-norm statistics, which fold away at export, are not counted."""
    return sum(p.numel() for p in network.parameters())


def example_input(shape: tuple[int, ...]) -> Tensor:
    """A (1, channels, height, width) tensor to trace with."""
    return torch.zeros(1, *shape)
