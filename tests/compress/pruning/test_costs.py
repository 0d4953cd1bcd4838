"""What channels cost in parameters and MACs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from engine.compress.pruning.costs import CostModel, count_costs, measure_uses
from engine.compress.pruning.surgery import without
from tests.helpers.prune_cases import Attention, built, macs, some_units, structure_of


def test_costs_are_what_they_are_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    costs = count_costs(network, measure_uses(network, (3, 16, 16)))
    assert costs.macs == 64 * 8 * 27 + 64 * 8 * 9 + 64 * 16 * 8 + 16 * 10
    assert costs.params == (8 * 27 + 8) + 16 + 8 * 9 + (16 * 8 + 16) + (160 + 10)


def test_attention_costs_its_projections_and_both_products():
    network = Attention().eval()
    tokens, width = 16, 24
    products = 2 * tokens * tokens * width
    projections = tokens * (3 * width * width + width * width)
    assert (
        count_costs(network, measure_uses(network, (1, 16, 16))).macs
        == tokens * 16 * width + projections + products + 3 * width
    )


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("resnet20", (1, 28, 28)),
        ("mobilenet_v2", (1, 28, 28)),
        ("recursive_resnet", (1, 28, 28)),
        ("torchvision:regnet_y_400mf", (3, 32, 32)),
        ("torchvision:squeezenet1_1", (3, 64, 64)),
        ("vit", (3, 32, 32)),
    ],
)
def test_forecast_costs_are_those_of_the_pruned_network(source, shape):
    module = VisionTransformer(32, 8, 2, 4, 48, 96).eval() if source == "vit" else built(source, shape).module
    structure = structure_of(module, shape)
    uses = measure_uses(module, shape)
    model = CostModel(module, structure, uses)
    for share in (0.0, 0.3, 0.7):
        removed = some_units(structure, share)
        lost = torch.stack([removed[g.units].sum() for g in model.groups]).numpy()
        real = count_costs(without(module, structure, removed), uses)
        forecast = [float(cost) for cost in model(lost)]
        assert forecast == pytest.approx([real.params, real.macs], rel=1e-12)
    if source != "vit":
        assert count_costs(module, uses).macs == macs(module, shape)
