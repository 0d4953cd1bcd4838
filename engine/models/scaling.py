"""torchvision's classifiers at other widths and depths, where their constructors take those as numbers.

The numbers of the original are read off the original itself, so that every member of a family (resnet18 … wide_resnet101_2) is
scaled by the same few lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torchvision
from torch import nn
from torchvision.models import ConvNeXt, DenseNet, MNASNet, MobileNetV2, MobileNetV3, ResNet, ShuffleNetV2
from torchvision.models.convnext import CNBlockConfig

from engine.errors import ModelError
from engine.models.zoo import scaled_blocks


def build_scaled(name: str, num_classes: int, width: float, depth: float) -> nn.Module:
    """torchvision's network `name` with `width` times the channels in every layer and `depth` times the blocks in every stage.

    Raises ModelError for a family whose constructor has no such number.
    """
    original: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
    knobs, make = _FAMILIES.get(type(original), ((), None))
    for knob, value in (("width", width), ("depth", depth)):
        if value != 1 and knob not in knobs:
            able = sorted(family.__name__ for family, (has, _) in _FAMILIES.items() if knob in has)
            raise ModelError(
                f"torchvision:{name} has no {knob} that could be changed (value {value:g}); use {knob} 1, or a network of "
                f"{', '.join(able)}"
            )
    if make is None:
        return original  # both are 1
    scaled: nn.Module = make(name, original, num_classes, width, depth)  # torchvision has no types
    return scaled


def _times(channels: int, width: float, multiple: int = 1) -> int:
    return max(1, round(channels * width / multiple)) * multiple


def _mobilenet(name: str, original: Any, num_classes: int, width: float, depth: float) -> Any:
    return torchvision.models.get_model(name, weights=None, num_classes=num_classes, width_mult=width)


def _mnasnet(name: str, original: Any, num_classes: int, width: float, depth: float) -> Any:
    return MNASNet(original.alpha * width, num_classes)


def _resnet(name: str, original: Any, num_classes: int, width: float, depth: float) -> Any:
    stages = (original.layer1, original.layer2, original.layer3, original.layer4)
    return ResNet(
        type(original.layer1[0]),
        [scaled_blocks(len(stage), depth) for stage in stages],
        num_classes,
        groups=original.groups,
        width_per_group=original.base_width,
    )


def _densenet(name: str, original: Any, num_classes: int, width: float, depth: float) -> Any:
    blocks = [block for key, block in original.features.named_children() if key.startswith("denseblock")]
    first = blocks[0].denselayer1
    return DenseNet(
        growth_rate=_times(first.conv2.out_channels, width),
        block_config=tuple(scaled_blocks(len(block), depth) for block in blocks),
        # A transition halves the channels, so one would leave none.
        num_init_features=_times(original.features.conv0.out_channels, width, 2),
        num_classes=num_classes,
    )


def _shufflenet(name: str, original: Any, num_classes: int, width: float, depth: float) -> Any:
    return ShuffleNetV2(
        [scaled_blocks(len(stage), depth) for stage in (original.stage2, original.stage3, original.stage4)],
        # Each block splits its channels into two equal halves.
        [_times(channels, width, 2) for channels in original._stage_out_channels],
        num_classes,
    )


def _convnext(name: str, original: Any, num_classes: int, width: float, depth: float) -> Any:
    # The stem, then stages, each but the last followed by a downsampling layer.
    stages = list(original.features[1::2])
    channels = [_times(stage[0].block[0].in_channels, width) for stage in stages]
    settings = [
        CNBlockConfig(inputs, outputs, scaled_blocks(len(stage), depth))
        for stage, inputs, outputs in zip(stages, channels, [*channels[1:], None], strict=True)
    ]
    return ConvNeXt(settings, num_classes=num_classes)


_FAMILIES: dict[type[nn.Module], tuple[tuple[str, ...], Callable[[str, Any, int, float, float], Any]]] = {
    MobileNetV2: (("width",), _mobilenet),
    MobileNetV3: (("width",), _mobilenet),
    MNASNet: (("width",), _mnasnet),
    ResNet: (("depth",), _resnet),
    DenseNet: (("width", "depth"), _densenet),
    ShuffleNetV2: (("width", "depth"), _shufflenet),
    ConvNeXt: (("width", "depth"), _convnext),
}
"""What of a family can be scaled, and the function that builds it."""
