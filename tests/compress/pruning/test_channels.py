"""That channel pruning takes out what it means to, whatever ties layers together, and knows when it would not."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from engine.compress import prune
from engine.compress.pruning import graph as prune_graph
from engine.compress.pruning.graph import find_structure
from engine.compress.pruning.structure import Group, Structure
from engine.compress.pruning.surgery import checked, silenced, without
from engine.errors import StepError
from engine.models.builders import Origin, build
from engine.models.sources import Network
from engine.spec.steps import Prune
from tests.helpers.prune_cases import (
    Attention,
    as_it_sees,
    built,
    from_file,
    images,
    params,
    some_units,
    stripes,
    structure_of,
)

HALF = Prune(method="channel", ratio=0.5)


def silence(network: Network, structure: Structure, removed: torch.Tensor) -> Network:
    return Network(silenced(network.module, structure, removed), network.origin)


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        *((name, (1, 28, 28)) for name in ("resnet8", "ds_cnn", "mobilenet_v2", "recursive_resnet")),
        *(
            (f"torchvision:{name}", (3, 32, 32))
            for name in ("mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5")
        ),
        ("torchvision:squeezenet1_1", (3, 64, 64)),
    ],
)
def test_removing_silent_channels_changes_nothing(source, shape):
    """In double precision, since other channel counts mean other summation orders."""
    network = built(source, shape)
    structure = structure_of(network.module, shape)
    removed = some_units(structure)
    quiet = silenced(network.module, structure, removed).double()
    x = images(shape).double()
    expected = quiet(x)
    assert expected.std() > 1e-6
    small = without(quiet, structure, removed)
    assert params(small) < 0.6 * params(quiet)
    torch.testing.assert_close(small(x), expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet_v2", "recursive_resnet"])
def test_silent_channels_are_the_ones_that_go(name):
    network = built(name)
    structure = structure_of(network.module, (1, 28, 28))
    quiet = silence(network, structure, some_units(structure, 0.3))
    pruned, _ = prune.apply(Prune(method="channel", ratio=0.3, allocation="global", round_to=1), quiet, None, 0)
    x = images((1, 28, 28)).double()
    expected = copy.deepcopy(quiet.module).double()(x)
    torch.testing.assert_close(copy.deepcopy(pruned).double()(x), expected, rtol=1e-9, atol=1e-9)


def test_pruning_leaves_its_input_and_what_trains_alone():
    network = built("mobilenet_v2")
    network.module.features[0][0].weight.requires_grad_(False)
    before = copy.deepcopy(network.module.state_dict())
    pruned, _ = prune.apply(HALF, network, None, 0)
    assert all(torch.equal(t, before[k]) for k, t in network.module.state_dict().items())
    flags = [[p.requires_grad for p in m.parameters()] for m in (network.module, pruned)]
    assert flags[0] == flags[1]


def test_attention_keeps_its_heads_and_its_scale():
    torch.manual_seed(0)
    network = Attention().eval().double()
    with torch.no_grad():
        network.attention.in_proj_weight.mul_(4)  # so that the softmax is far from flat
        network.attention.in_proj_bias.normal_()
    structure = structure_of(network.float(), (1, 16, 16))
    assert [(g.name, len(g), g.parts, g.multiple, g.follows) for g in structure.groups] == [
        ("embed", 24, 1, 3, None),
        ("attention", 24, 3, 1, "embed"),
    ]
    removed = some_units(structure)
    quiet = silenced(network, structure, removed).double()
    small = without(quiet, structure, removed)
    assert (small.attention.embed_dim, small.attention.head_dim, small.attention.num_heads) == (12, 4, 3)
    assert small.attention.in_proj_weight.shape == (36, 12)
    x = images((1, 16, 16)).double()
    torch.testing.assert_close(small(x), quiet(x), rtol=1e-9, atol=1e-12)
    flat = copy.deepcopy(quiet)
    with torch.no_grad():
        flat.attention.in_proj_weight[:24] = 0
        flat.attention.in_proj_bias[:24] = 0
    assert (flat(x) - quiet(x)).abs().max() > 1e-3  # the scale of queries does show


def test_a_vision_transformer_loses_width_everywhere():
    torch.manual_seed(0)
    network = VisionTransformer(32, 8, 2, 4, 48, 96, num_classes=5).eval()
    structure = structure_of(network, (3, 32, 32))
    assert not structure.fixed
    small = without(network, structure, some_units(structure))
    assert (small.hidden_dim, small.class_token.shape, small.encoder.pos_embedding.shape) == (
        24,
        (1, 1, 24),
        (1, 17, 24),
    )
    assert [m.normalized_shape for m in small.modules() if isinstance(m, nn.LayerNorm)] == [(24,)] * 5
    assert small.encoder.layers[1].mlp[0].weight.shape == (48, 24)
    assert small(images((3, 32, 32))).shape == (2, 5)


def test_grouped_convolutions_lose_whole_parts():
    network = nn.Sequential(
        nn.Conv2d(1, 12, 3),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, groups=6),
        nn.ReLU(),
        nn.Conv2d(24, 3, 1),
        nn.Flatten(),
        nn.Linear(48, 2),
    )
    structure = structure_of(network, (1, 8, 8))
    assert [(g.name, len(g), g.channels) for g in structure.groups] == [("0", 6, 2), ("4", 3, 1)]
    removed = torch.zeros(structure.units, dtype=torch.bool)
    removed[structure.groups[0].units[[1, 4]]] = True
    small = without(network, structure, removed)
    assert (small[2].groups, small[2].in_channels, small[2].out_channels) == (4, 8, 16)
    kept = [0, 2, 3, 5]
    assert torch.equal(small[2].weight, network[2].weight.view(6, 4, 2, 3, 3)[kept].flatten(0, 1))
    assert torch.equal(small[0].weight, network[0].weight.view(6, 2, 1, 3, 3)[kept].flatten(0, 1))
    assert torch.equal(small[4].weight, network[4].weight.view(3, 6, 4, 1, 1)[:, kept].flatten(1, 2))


def test_a_convolution_that_reads_the_image_by_parts_stays_whole():
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2)
    )
    structure = structure_of(network, (4, 8, 8))
    assert [g.name for g in structure.groups] == ["2"]
    assert structure.fixed == {"0": "the parts of '0' read what cannot be removed"}


class Shared(nn.Module):
    """Two places with one weight: what one loses the other does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.first, self.second = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.second.weight = self.first.weight
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.second(self.first(self.stem(x)).relu()).relu().mean((2, 3)))


def test_shared_weights_stay_shared():
    network = Shared().eval()
    structure = structure_of(network, (1, 8, 8))
    assert [len(g) for g in structure.groups] == [8]
    removed = some_units(structure)
    small, x = without(network, structure, removed), images((1, 8, 8))
    assert small.first.weight is small.second.weight
    torch.testing.assert_close(small(x), silenced(network, structure, removed)(x))


class Shuffled(nn.Module):
    """Channels of the first layer are dealt out in another order than the dependency graph assumes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)
        self.second = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.first(x)
        x = x.view(len(x), 2, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        return self.head(self.second(x).mean((2, 3)))


def test_wrong_groups_are_found_by_trying_them():
    structure = checked(Shuffled(), find_structure(Shuffled(), (1, 8, 8)), (1, 8, 8))
    assert [g.name for g in structure.groups] == ["second"]
    assert structure.fixed == {"first": "its channels are rearranged on the way to the layers that read them"}


@pytest.mark.parametrize("source", ["resnet8", "ds_cnn", "vit"])
def test_any_axis_in_the_wrong_order_is_found(source):
    """The check is of use only if it sees every single mistake: each axis in turn gets its units in another order."""
    shape = (3, 32, 32) if source == "vit" else (3, 12, 12)
    module = (
        VisionTransformer(32, 8, 2, 2, 16, 32).eval() if source == "vit" else build(Origin(source, 10, shape, "random"))
    )
    structure = find_structure(module, shape)
    names = {name for name, _ in module.named_parameters()}
    axes = [i for i, axis in enumerate(structure.axes) if axis.tensor in names]
    for i in axes[::2]:
        turned = replace(structure.axes[i], unit=structure.axes[i].unit.roll(len(structure.axes[i].unit) // 2 + 1))
        wrong = replace(structure, axes=(*structure.axes[:i], turned, *structure.axes[i + 1 :]))
        assert checked(module, wrong, shape).fixed, f"{turned.tensor}, axis {turned.dim}"


def test_graphs_that_the_library_cannot_walk_are_refused(monkeypatch):
    monkeypatch.setattr(prune_graph, "_MOST_STEPS", 100_000)  # more than any other network of this file takes
    network = build(Origin("torchvision:swin_t", 10, (3, 64, 64), "random"))
    with pytest.raises(
        StepError, match=r"channel pruning cannot follow the channels of layer 'features.*use magnitude pruning"
    ):
        find_structure(network, (3, 64, 64))


def test_shufflenet_loses_what_is_not_shuffled():
    network = built("torchvision:shufflenet_v2_x0_5", (3, 32, 32))
    structure = structure_of(network.module, (3, 32, 32))
    names = {g.name for g in structure.groups}
    branches = {f"stage{s}.{b}.branch2.0" for s, n in ((2, 4), (3, 8), (4, 4)) for b in range(n)}
    assert names == branches | {"conv1.0", "conv5.0"}
    assert {"stage2.0.branch1.2", "stage3.0.branch1.2", "stage4.0.branch1.2"} <= structure.fixed.keys()
    _, report = prune.apply(Prune(method="channel", ratio=0.99), network, None, 0)
    assert report.note is not None
    assert "stays whole, since" in report.note
    assert "other layers" in report.note


def test_the_least_of_every_part_go():
    group = Group("x", torch.arange(10, 18), 1, parts=2)
    scores = torch.tensor([5.0, 1, 3, 2, 90, 80, 80, 10])
    assert group.least(scores, 4).sort().values.tolist() == [11, 13, 15, 17]
    assert group.least(scores, 8).tolist() == []


def test_a_users_network_with_a_residual_stream(tmp_path):
    body = """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(16, 32, 1), nn.ReLU(), nn.Conv2d(32, 16, 1))

    def forward(self, x):
        return x + self.inner(x)

def build(num_classes=3):
    return nn.Sequential(nn.Conv2d(1, 16, 3), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes))
"""
    network = from_file(tmp_path, body)
    pruned, report = prune.apply(HALF, network, None, 0)
    assert report.reached
    assert (
        pruned[0].out_channels
        == pruned[1].inner[2].out_channels
        == pruned[2].inner[0].in_channels
        == pruned[5].in_features
        < 16
    )


TWO_BRANCHES = """
class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 1))
        self.idle = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 1))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return 100 * self.head((self.used(x) + 1e-6 * self.idle(x)).relu().amax((2, 3)))

def build():
    torch.manual_seed(0)
    return Branches()
"""


@pytest.mark.parametrize(
    ("importance", "allocation"),
    [("taylor", "global"), ("l2", "sensitivity"), ("taylor", "sensitivity")],
)
def test_what_does_nothing_goes_first(importance, allocation, tmp_path):
    network = from_file(tmp_path, TWO_BRANCHES, (1, 12, 12))
    data = as_it_sees(network.module, stripes())
    pruned, report = prune.apply(
        Prune(method="channel", macs_ratio=0.4, importance=importance, allocation=allocation, round_to=1),
        network,
        data,
        0,
    )
    assert report.reached
    assert pruned.used[0].out_channels >= 28
    assert pruned.idle[0].out_channels <= 8
    evenly, _ = prune.apply(Prune(method="channel", macs_ratio=0.4), network, data, 0)
    assert evenly.used[0].out_channels < 28
