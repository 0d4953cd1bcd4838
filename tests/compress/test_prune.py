import json
import textwrap
from dataclasses import asdict

import pytest
import torch
from torch import nn

from engine.compress import prune
from engine.compress.pruning.graph import find_structure
from engine.compress.pruning.surgery import without
from engine.errors import StepError
from engine.models.pruned import pruned_masks
from engine.models.sources import Network, open_network, save_network
from engine.spec.steps import Prune
from tests.helpers.prune_cases import built, from_file, images, macs, params, stripes

ZOO = ["resnet8", "resnet20", "ds_cnn", "mobilenet_v2", "recursive_resnet"]
SHAPE = (1, 28, 28)


def channel(**knobs) -> Prune:
    return Prune(method="channel", **knobs)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("knob", ["ratio", "macs_ratio"])
def test_the_share_asked_for_is_reached_within_two_points(name, knob, share):
    network = built(name)
    count = params if knob == "ratio" else lambda module: macs(module, SHAPE)
    before = count(network.module)
    pruned, report = prune.apply(channel(**{knob: share}), network, None, 0)
    assert count(network.module) == before
    removed = 1 - count(pruned) / before
    assert abs(removed - share) <= 0.02
    assert report.reached
    assert report.note is None
    assert (report.asked, report.quantity) == (share, "params" if knob == "ratio" else "macs")
    assert report.params_removed == pytest.approx(1 - params(pruned) / params(network.module), abs=1e-12)
    assert report.macs_removed == pytest.approx(1 - macs(pruned, SHAPE) / macs(network.module, SHAPE), abs=1e-12)
    assert not pruned.training
    assert pruned(images(SHAPE)).shape == (2, 10)


@pytest.mark.parametrize("round_to", [1, 8])
@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_channels_left_are_multiples(round_to, allocation):
    pruned, report = prune.apply(
        channel(macs_ratio=0.5, round_to=round_to, allocation=allocation), built("resnet20"), None, 0
    )
    assert report.reached
    sizes = {m.out_channels for m in pruned.modules() if isinstance(m, nn.Conv2d)}
    assert all(size % round_to == 0 for size in sizes)
    assert round_to > 1 or any(size % 4 for size in sizes)


def test_a_second_pruning_counts_from_the_original():
    network = built("resnet20")
    once, first = prune.apply(channel(macs_ratio=0.3), network, None, 0)
    twice, second = prune.apply(channel(macs_ratio=0.5), Network(once, network.origin), None, 0)
    counts = [macs(m, SHAPE) for m in (network.module, once, twice)]
    assert [1 - c / counts[0] for c in counts] == pytest.approx([0, 0.3, 0.5], abs=0.02)
    assert (first.macs_removed, second.macs_removed) == pytest.approx((0.3, 0.5), abs=0.02)
    again, third = prune.apply(channel(macs_ratio=0.3), Network(twice, network.origin), None, 0)
    assert macs(again, SHAPE) == counts[2]
    assert not third.reached
    assert (
        third.note
        == f"asked 30 % of the MACs removed, reached {100 * second.macs_removed:.3g} %: earlier steps removed that much"
    )


def test_rounds_may_end_with_one_that_finds_nothing_left_to_do():
    network = built("resnet8")
    once, first = prune.apply(channel(macs_ratio=0.5), network, None, 0)
    share = min(0.99, first.macs_removed + 0.001)
    twice, second = prune.apply(channel(macs_ratio=share), Network(once, network.origin), None, 0)
    assert second.reached
    assert all(torch.equal(a, b) for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True))


def test_uniform_means_the_same_share_of_the_original_widths():
    """A layer that an earlier step left narrower than the others is not narrowed in proportion once more."""
    network = built("resnet20")
    structure = find_structure(network.module, SHAPE)
    removed = torch.zeros(structure.units, dtype=torch.bool)
    removed[next(g.units for g in structure.groups if g.name == "2.conv1.0")[:8]] = True
    uneven = Network(without(network.module, structure, removed), network.origin)
    pruned, report = prune.apply(channel(macs_ratio=0.5, round_to=1), uneven, None, 0)
    widths = [
        m.out_channels / o.out_channels
        for m, o in zip(pruned.modules(), network.module.modules(), strict=True)
        if isinstance(m, nn.Conv2d)
    ]
    assert report.reached
    assert pruned[2].conv1[0].out_channels == 8
    assert max(widths) - sorted(widths)[1] <= 1 / 16  # but for that layer, all within a channel of the narrowest


def test_channels_can_go_after_weights_and_the_zeros_that_stay_are_counted():
    network = built("resnet8")
    sparse, _ = prune.apply(Prune(method="magnitude", ratio=0.8), network, None, 0)
    small, report = prune.apply(channel(ratio=0.5), Network(sparse, network.origin), None, 0)
    weights = [m.weight for m in small.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    assert report.zero_share == pytest.approx(zeros, abs=1e-12)
    assert 0.5 < zeros < 0.8  # what is left is what mattered more
    assert report.reached
    masks = pruned_masks(small)
    assert sum(int(mask.sum()) for _, mask in masks.values()) == sum(int((w == 0).sum()) for w in weights)
    assert all(torch.equal(mask, weight == 0) for weight, mask in masks.values())


def test_the_account_lists_every_layer():
    network = built("ds_cnn")
    pruned, report = prune.apply(channel(macs_ratio=0.5), network, None, 0)
    layers = {name: m for name, m in pruned.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert [layer.name for layer in report.layers] == list(layers)
    assert [layer.after for layer in report.layers] == [len(m.weight) for m in layers.values()]
    assert [layer.before for layer in report.layers] == [64] * 9 + [10]
    _, report = prune.apply(Prune(method="magnitude", ratio=0.5), network, None, 0)
    sizes = [m.weight.numel() for m in network.module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [layer.before for layer in report.layers] == sizes
    assert sum(layer.after for layer in report.layers) == pytest.approx(
        sum(layer.before for layer in report.layers) / 2, abs=1
    )
    assert json.loads(json.dumps(asdict(report)))["quantity"] == "zeros"


@pytest.mark.parametrize("allocation", ["uniform", "global", "sensitivity"])
@pytest.mark.parametrize("importance", ["l2", "bn_scale", "taylor"])
def test_every_way_reaches_its_share_and_gives_the_same_again(importance, allocation):
    network, data = built("resnet8", (1, 12, 12), 3), stripes()
    step = channel(macs_ratio=0.6, importance=importance, allocation=allocation)
    (first, report), (second, _) = (prune.apply(step, network, data, seed) for seed in (0, 1))
    assert abs(1 - macs(first, (1, 12, 12)) / macs(network.module, (1, 12, 12)) - 0.6) <= 0.02
    assert report.reached
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"importance": "taylor"}, "importance taylor needs labelled images; use importance l2"),
        ({"allocation": "sensitivity"}, "allocation sensitivity measures the loss on validation images"),
    ],
)
def test_methods_that_look_at_images_say_so(knobs, message):
    with pytest.raises(StepError, match=message):
        prune.apply(channel(ratio=0.5, **knobs), built("resnet8"), None, 0)


def test_what_cannot_be_reached_is_said():
    _, report = prune.apply(channel(macs_ratio=0.5, round_to=32), built("resnet8"), None, 0)
    assert not report.reached
    assert report.note == (
        f"asked 50 % of the MACs removed, reached {100 * report.macs_removed:.3g} %: "
        "layers lose channels in multiples of 32, and as many stay"
    )


def test_a_share_too_small_for_one_step_is_refused():
    with pytest.raises(
        StepError, match=r"at 0\.01 removes nothing: layers lose channels in multiples of 16.*smaller round_to"
    ):
        prune.apply(channel(ratio=0.01, round_to=16), built("resnet8"), None, 0)


FIXED = """
class Fixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)).view(-1, 16))

def build():
    return Fixed()
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            FIXED,
            "cannot shrink this network: layer 'conv' stays whole, since the network does not run with fewer of its channels",
        ),
        (
            "def build():\n    return nn.Sequential(nn.Conv2d(1, 16, 3), nn.GroupNorm(4, 16), nn.Flatten(), nn.Linear(576, 3))",
            "cannot shrink this network: layer '0' stays whole, since its channels reach '1', a GroupNorm; use magnitude",
        ),
        (
            "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))",
            "it has no layer with channels to spare",
        ),
    ],
)
def test_networks_that_cannot_be_pruned_say_where_and_why(body, message, tmp_path):
    with pytest.raises(StepError, match=message) as caught:
        prune.apply(channel(ratio=0.5), from_file(tmp_path, body), None, 0)
    assert "\n" not in str(caught.value)


def test_one_rigid_layer_does_not_keep_the_others_whole(tmp_path):
    body = FIXED.replace("nn.Conv2d(1, 16, 3)", "nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 16, 3))")
    network = from_file(tmp_path, body)
    pruned, report = prune.apply(channel(ratio=0.5), network, None, 0)
    assert (pruned.conv[0].out_channels, pruned.conv[2].out_channels) == (16, 16)
    assert report.reached
    _, report = prune.apply(channel(ratio=0.95), network, None, 0)
    assert not report.reached
    assert "layer 'conv.2' stays whole, since the network does not run with fewer" in (report.note or "")


def test_free_parameters_and_activations_with_weights_shrink_too(tmp_path):
    body = """
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3)
        self.scale = nn.Parameter(torch.ones(16, 1, 1))
        self.act = nn.PReLU(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.act(self.conv(x) * self.scale).mean((2, 3)))

def build():
    return Scaled()
"""
    network = from_file(tmp_path, body)
    pruned, report = prune.apply(channel(ratio=0.5), network, None, 0)
    assert (len(pruned.scale), len(pruned.act.weight), pruned.head.in_features) == (8, 8, 8)
    save_network(Network(pruned, network.origin), tmp_path / "a.safetensors")
    x = images((1, 8, 8))
    assert torch.equal(open_network(tmp_path / "a.safetensors").module(x), pruned(x))
    assert report.reached


@pytest.mark.parametrize("step", [Prune(method="magnitude", ratio=0.5), Prune(method="nm"), channel(ratio=0.5)])
def test_a_layer_that_computes_its_weight_is_named(tmp_path, step):
    body = """
    class Standardised(nn.Conv2d):
        def __init__(self):
            super().__init__(4, 4, 3)
            self.raw = nn.Parameter(self.weight.detach().clone())
            del self.weight

        @property
        def weight(self):
            return self.raw - self.raw.mean((1, 2, 3), keepdim=True)

    def build():
        return nn.Sequential(nn.Conv2d(1, 4, 3), Standardised(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    """
    with pytest.raises(
        StepError, match=r"^layer '1' computes its weight on each access, so it cannot be pruned; make it a parameter$"
    ):
        prune.apply(step, from_file(tmp_path, textwrap.dedent(body)), None, 0)


def test_what_is_no_convolution_and_no_linear_layer_is_named(tmp_path):
    body = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3, padding=1)
            self.up = nn.ConvTranspose2d(4, 4, 2)
            self.rows = nn.GRU(9 * 4, 16, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.rows(self.up(self.stem(x)).permute(0, 2, 1, 3).flatten(2))[0][:, -1])

    def build():
        return Net()
    """
    network = from_file(tmp_path, textwrap.dedent(body))
    pruned, report = prune.apply(Prune(method="magnitude", ratio=0.5), network, None, 0)
    left = 4 * 4 * 4 + 3 * 16 * (36 + 16)
    share = left / (left + 36 + 48)
    assert report.reached
    assert report.note == (
        f"only convolutions and linear layers are pruned: {share:.1%} of the network's weights stay as they were, in "
        "ConvTranspose2d 'up', GRU 'rows'"
    )
    assert torch.equal(pruned.rows.weight_ih_l0, network.module.rows.weight_ih_l0)
    _, report = prune.apply(Prune(method="magnitude", ratio=0.5), built("resnet8"), None, 0)
    assert report.note is None
