import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.compress.pruning import importance as prune_importance
from engine.compress.pruning.allocation import allowed_counts, nearest, search
from engine.compress.pruning.graph import find_structure
from engine.compress.pruning.importance import bn_scores, norm_scores, taylor_scores, unit_scores
from engine.compress.pruning.sensitivity import least_damage, rising, validation_loss
from engine.compress.pruning.structure import Group
from engine.errors import StepError
from tests.helpers.prune_cases import built, images, stripes

DATA = stripes()
SHAPE = (1, 12, 12)


def small() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    with torch.no_grad():
        network[1].weight.uniform_(-2, 2)
        network[1].running_mean.normal_()
    return network.eval()


def by_hand(structure, name: str, scores: torch.Tensor) -> torch.Tensor:
    return scores[next(g.units for g in structure.groups if g.name == name)]


def test_norms_are_of_all_that_writes_and_reads_a_channel():
    network = small()
    structure = find_structure(network, SHAPE)
    w = {name: p.detach().double() for name, p in network.named_parameters()}
    squares = w["0.weight"].square().sum((1, 2, 3)) + w["1.weight"].square() + w["3.weight"].square().sum((0, 2, 3))
    found = by_hand(structure, "0", norm_scores(network, structure))
    torch.testing.assert_close(found.double(), squares / squares.mean(), rtol=1e-5, atol=0)
    squares = w["3.weight"].square().sum((1, 2, 3)) + w["7.weight"].square().sum(0)
    found = by_hand(structure, "3", norm_scores(network, structure))
    torch.testing.assert_close(found.double(), squares / squares.mean(), rtol=1e-5, atol=0)


def test_batch_norm_scales_are_absolute_and_groups_without_go_by_norms():
    network = small()
    structure = find_structure(network, SHAPE)
    norms = norm_scores(network, structure)
    scores = bn_scores(network, structure, norms)
    scale = network[1].weight.detach().abs()
    assert scale.min() < network[1].weight.detach().abs().max() > 0 > network[1].weight.min()
    torch.testing.assert_close(by_hand(structure, "0", scores), scale)
    torch.testing.assert_close(by_hand(structure, "3", scores), by_hand(structure, "3", norms) * scale.mean())


def test_a_residual_channel_goes_by_the_mean_of_its_batch_norms():
    network = built("resnet8").module
    structure = find_structure(network, (1, 28, 28))
    scores = bn_scores(network, structure, norm_scores(network, structure))
    scales = [network[0][1].weight, network[1].conv2[1].weight]
    torch.testing.assert_close(
        by_hand(structure, "0.0", scores), torch.stack([s.detach().abs() for s in scales]).mean(0)
    )


def test_bn_scale_needs_batch_norms():
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(256, 3))
    with pytest.raises(StepError, match=r"bn_scale needs batch norms.*use importance l2"):
        unit_scores("bn_scale", network, find_structure(network, SHAPE), None)


@pytest.mark.parametrize(("layer", "reader"), [("0", "3"), ("3", "7")])
def test_taylor_is_gradient_times_weight_of_what_reads_a_channel(monkeypatch, layer, reader):
    monkeypatch.setattr(prune_importance, "_TAYLOR_BATCH", 10)  # 24 images: the last batch is smaller
    network = small()
    structure = find_structure(network, SHAPE)
    expected = 0.0
    double = copy.deepcopy(network).double()
    weight = double.get_parameter(f"{reader}.weight")
    for start in (0, 10, 20):
        part = slice(start, start + 10)
        x = torch.from_numpy(DATA.preprocessing(DATA.calibration.inputs[part])).double()
        loss = F.cross_entropy(double(x), torch.from_numpy(DATA.calibration.labels[part]))
        (gradient,) = torch.autograd.grad(loss, weight)
        product = weight * gradient
        expected = expected + product.reshape(*product.shape[:2], -1).sum((0, 2)).square()
    found = by_hand(structure, layer, taylor_scores(network, structure, DATA))
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-4, atol=1e-12)


def test_taylor_is_the_slope_of_the_loss_as_a_residual_channel_fades(monkeypatch):
    """Finite differences: every producer of the channel is turned down a little, in double precision."""
    monkeypatch.setattr(prune_importance, "_TAYLOR_BATCH", 24)
    network = built("resnet8", SHAPE, 3).module
    structure = find_structure(network, SHAPE)
    x = torch.from_numpy(DATA.preprocessing(DATA.calibration.inputs)).double()
    labels = torch.from_numpy(DATA.calibration.labels)
    found = by_hand(structure, "0.0", taylor_scores(network, structure, DATA))
    for channel in (0, 5):
        losses = []
        for factor in (1 - 1e-5, 1 + 1e-5):
            faded = copy.deepcopy(network).double()
            with torch.no_grad():
                for norm in (faded[0][1], faded[1].conv2[1]):
                    norm.weight[channel] *= factor
                    norm.bias[channel] *= factor
                losses.append(float(F.cross_entropy(faded(x), labels)))
        slope = (losses[1] - losses[0]) / 2e-5
        assert float(found[channel]) == pytest.approx(slope**2, rel=1e-3)


def test_taylor_leaves_the_network_alone():
    network = small()
    network.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    taylor_scores(network, find_structure(network, SHAPE), DATA)
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert all(torch.equal(t, before[k]) for k, t in network.state_dict().items())


def test_validation_loss_is_the_mean_over_the_first_images(monkeypatch):
    network = small()
    x = torch.from_numpy(DATA.preprocessing(DATA.validation.inputs))
    expected = F.cross_entropy(network(x).double(), torch.from_numpy(DATA.validation.labels))
    assert validation_loss(DATA)(network) == pytest.approx(expected.item(), rel=1e-5)


def test_curves_never_fall_and_nothing_is_worse_than_no_number():
    shares, rises = rising([0.25, 0.5, 0.75], [-0.1, 0.3, 0.2])
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert rises.tolist() == [0, 0, 0.3, 0.3, 0.6]
    assert rising([0.5], [math.nan])[1][1] >= 1e9


def test_the_price_decides_how_much_goes():
    """Loss = share², saving = share / 2: the best share is price / 4."""
    shares = np.linspace(0, 1, 1001)
    curve = (shares, shares**2)
    for share in (0.1, 0.5):
        x = (math.log10(4 * share) + 7) / 12
        assert shares[least_damage(curve, shares, shares / 2, x)] == pytest.approx(share, abs=2e-3)
    assert shares[least_damage(curve, shares, shares / 2, 0.0)] == 0
    assert shares[least_damage(curve, shares, shares / 2, 1.0)] == 1


@pytest.mark.parametrize(
    ("units", "channels", "multiple", "round_to", "counts"),
    [
        (16, 1, 1, 4, [4, 8, 12, 16]),
        (10, 1, 1, 4, [4, 8, 10]),
        (3, 1, 1, 4, [3]),
        (6, 8, 1, 4, [1, 2, 3, 4, 5, 6]),
        (6, 2, 1, 8, [4, 6]),
        (48, 1, 12, 4, [12, 24, 36, 48]),
        (5, 1, 1, 1, [1, 2, 3, 4, 5]),
    ],
)
def test_counts_that_may_stay(units, channels, multiple, round_to, counts):
    group = Group("x", torch.arange(units), channels, multiple=multiple)
    assert allowed_counts(group, round_to).tolist() == counts


def test_of_two_counts_as_near_the_smaller_stays():
    assert nearest(np.array([4, 8, 12]), 6.0) == 4
    assert nearest(np.array([4, 8, 12]), 6.1) == 8


def test_the_search_alternates_layers_to_come_near():
    """Eight equal layers that can only be halved, one knob for all: half of them are."""
    allowed = [np.array([2, 4])] * 8
    counts = search(lambda x: np.full(8, 4 if x < 0.5 else 2), lambda c: 1 - c.sum(-1) / 32, allowed, 0.25)
    assert sorted(counts.tolist()) == [2] * 4 + [4] * 4


def test_the_search_tries_pairs_when_single_steps_do_not_help():
    """16 of 30 are left where 17 should be: 3 come back and 2 go."""
    allowed = [np.array([0, 3]), np.array([0, 2]), np.array([0, 14]), np.array([0, 11])]
    all_left, fewer = np.array([3, 2, 14, 11]), np.array([0, 2, 14, 0])
    counts = search(lambda x: fewer if x > 0 else all_left, lambda c: 1 - c.sum(-1) / 30, allowed, 13 / 30)
    assert counts.tolist() == [3, 0, 14, 0]


def test_the_search_goes_past_the_knob_where_it_must():
    allowed = [np.array([1, 2, 3, 4])] * 2
    assert search(lambda x: np.array([4, 4]), lambda c: 1 - c.sum(-1) / 8, allowed, 0.5).sum() == 4


def test_a_channel_is_what_a_channel_was(monkeypatch):
    """Scores do not depend on the order of groups: a channel made tiny is the least of its group under every importance."""
    network = small()
    with torch.no_grad():
        network[0].weight[2] *= 1e-4
        network[1].weight[2] = 1e-5
        network[1].bias[2] = -1e-4
        network[3].weight[:, 2] *= 1e-4
    structure = find_structure(network, SHAPE)
    for importance in ("l2", "bn_scale", "taylor"):
        assert int(by_hand(structure, "0", unit_scores(importance, network, structure, DATA)).argmin()) == 2
    assert network(images(SHAPE)).shape == (2, 3)
