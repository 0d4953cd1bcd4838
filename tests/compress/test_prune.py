import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.compress import prune
from engine.compress.prune import channels_kept, prunable_weights
from engine.errors import StepError
from engine.models.builders import Origin, build
from engine.models.catalog import zoo_names
from engine.models.zoo import BUILDERS, count_params
from engine.spec import Prune

torch.set_num_threads(1)


def settled(network: nn.Module, shape=(1, 28, 28)) -> nn.Module:
    """A network whose batch norms have seen something, so that no channel is like another."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.uniform_(-0.5, 0.5, generator=generator)
    return network.eval()


def zeros(network: nn.Module) -> int:
    return sum(int((w == 0).sum()) for w in prunable_weights(network))


@pytest.mark.parametrize("name", zoo_names())
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_magnitude_zeroes_exactly_the_smallest_weights(name, ratio):
    network = BUILDERS[name]()
    pruned = prune.apply(Prune(method="magnitude", ratio=ratio), network, (1, 28, 28))
    total = sum(w.numel() for w in prunable_weights(network))
    assert zeros(pruned) == round(ratio * total)
    before = torch.cat([w.detach().abs().flatten() for w in prunable_weights(network)])
    after = torch.cat([w.detach().abs().flatten() for w in prunable_weights(pruned)])
    assert before[after == 0].max() <= before[after != 0].min()
    assert torch.equal(after[after != 0], before[after != 0])


def test_magnitude_leaves_biases_batch_norms_and_its_input_alone():
    network = settled(BUILDERS["resnet8"]())
    original = copy.deepcopy(network.state_dict())
    pruned = prune.apply(Prune(method="magnitude", ratio=0.99), network, (1, 28, 28))
    weights = {name for name, t in original.items() if t.ndim > 1}
    assert all(torch.equal(t, original[name]) for name, t in network.state_dict().items())
    assert all(torch.equal(t, original[name]) for name, t in pruned.state_dict().items() if name not in weights)


@settings(max_examples=30, deadline=None)
@given(ratio=st.floats(0.001, 0.999), levels=st.integers(1, 4))
def test_magnitude_is_exact_among_equal_weights(ratio, levels):
    layer = nn.Linear(12, 10)
    layer.weight.data = torch.randint(
        -levels, levels + 1, (10, 12), generator=torch.Generator().manual_seed(levels)
    ).float()
    already = int((layer.weight == 0).sum())
    pruned = prune.apply(Prune(method="magnitude", ratio=ratio), layer, (1, 1, 12))
    assert zeros(pruned) == max(already, round(ratio * 120))


def test_magnitude_counts_shared_weights_once():
    network = BUILDERS["recursive_resnet"]()
    shared = nn.Sequential(network, network)
    assert len(prunable_weights(shared)) == len(prunable_weights(network))


def test_magnitude_needs_a_layer_with_weights():
    with pytest.raises(StepError, match="no convolution or linear layer"):
        prune.apply(Prune(method="magnitude", ratio=0.5), nn.ReLU(), (1, 4, 4))


@given(channels=st.integers(1, 600), ratio=st.floats(0.001, 0.999), multiple=st.integers(1, 32))
def test_kept_channels_are_a_near_multiple(channels, ratio, multiple):
    kept = channels_kept(channels, ratio, multiple)
    assert 1 <= kept <= channels
    if kept < channels:
        assert kept % multiple == 0
        assert kept == multiple or abs(kept - channels * (1 - ratio)) <= multiple / 2 + 1e-6


@pytest.mark.parametrize("name", zoo_names())
@pytest.mark.parametrize("channels", [1, 3])
def test_channel_keeps_the_stated_share_of_every_layer(name, channels):
    network = settled(BUILDERS[name](in_channels=channels))
    before = copy.deepcopy(network.state_dict())
    pruned = prune.apply(Prune(method="channel", ratio=0.5), network, (channels, 28, 28))
    assert all(torch.equal(t, before[k]) for k, t in network.state_dict().items())
    for (path, old), new in zip(network.named_modules(), pruned.modules(), strict=True):
        if isinstance(old, nn.Conv2d):
            assert new.out_channels == channels_kept(old.out_channels, 0.5, 4), path
        if isinstance(old, nn.Linear):
            assert new.out_features == 10
    assert pruned(torch.zeros(3, channels, 28, 28)).shape == (3, 10)
    assert not pruned.training


def silenced(width: int) -> torch.Tensor:
    """Half the channels of a layer; which ones differs by its width only, as layers of one residual stream share their channels."""
    return torch.randperm(width, generator=torch.Generator().manual_seed(width))[channels_kept(width, 0.5, 4) :]


@pytest.mark.parametrize("name", zoo_names())
def test_channel_removes_dead_channels_without_any_change(name):
    """Half the channels of each layer are made silent: they must go, whatever ties layers together, and nothing else may change."""
    network = settled(BUILDERS[name]())
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                dead = silenced(len(module.weight))
                module.weight[dead] = 0
                if module.bias is not None:
                    module.bias[dead] = 0
            # Nobody listens to them either: importance is over all weights of a channel, those that read it included.
            if isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels > 1:
                module.weight[:, silenced(module.in_channels)] = 0
        linear.weight[:, silenced(linear.in_features)] = 0
        network.requires_grad_(False)
    images = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    pruned = prune.apply(Prune(method="channel", ratio=0.5), network, (1, 28, 28))
    assert count_params(pruned) < 0.5 * count_params(network)
    assert linear.in_features > [m for m in pruned.modules() if isinstance(m, nn.Linear)][-1].in_features
    # In double precision, since other channel counts mean other summation orders, and deep networks amplify float32's noise.
    expected = copy.deepcopy(network).double()(images.double())
    assert expected.std() > 0
    torch.testing.assert_close(copy.deepcopy(pruned).double()(images.double()), expected, rtol=1e-9, atol=1e-10)
    assert not any(p.requires_grad for p in pruned.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "shape"),
    [
        ("resnet18", 10, (3, 32, 32)),
        ("mobilenet_v2", 5, (1, 28, 28)),
        ("squeezenet1_1", 10, (3, 32, 32)),
        ("googlenet", 4, (1, 32, 32)),
        ("mobilenet_v3_small", 10, (3, 32, 32)),
    ],
)
def test_channel_prunes_torchvision_networks(name, classes, shape):
    network = build(Origin(f"torchvision:{name}", classes, shape, "random"))
    pruned = prune.apply(Prune(method="channel", ratio=0.5, round_to=8), network, shape)
    assert pruned(torch.zeros(2, *shape)).shape == (2, classes)
    assert count_params(pruned) < 0.35 * count_params(network)


def test_channel_prunes_each_part_of_a_grouped_convolution_alike():
    network = nn.Sequential(
        nn.Conv2d(1, 24, 3),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, groups=3),
        nn.ReLU(),
        nn.Conv2d(24, 8, 1),
        nn.Flatten(),
        nn.Linear(8 * 36, 4),
    )
    pruned = prune.apply(Prune(method="channel", ratio=0.5), network, (1, 10, 10))
    assert (pruned[2].groups, pruned[2].in_channels, pruned[2].out_channels) == (3, 12, 12)
    assert pruned[6].in_features == 4 * 36
    assert pruned(torch.zeros(2, 1, 10, 10)).shape == (2, 4)


class _Free(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3)
        self.scale = nn.Parameter(torch.ones(16, 1, 1))
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head((self.conv(x) * self.scale).mean((2, 3)))


class _Fixed(nn.Module):
    """Says the channel count in its code, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.conv(x).mean((2, 3)).view(-1, 16))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Free(), "cannot shrink layer 'scale': _Free with its own 'scale'"),
        (
            nn.Sequential(nn.Conv2d(1, 16, 3), nn.PReLU(16), nn.Flatten(), nn.Linear(16 * 36, 3)),
            "cannot shrink layer '1': PReLU",
        ),
        (_Fixed(), "channel pruning (broke|changed) this network"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "removes nothing"),
    ],
)
def test_networks_that_cannot_be_pruned_say_where_and_why(network, message):
    with pytest.raises(StepError, match=message) as caught:
        prune.apply(Prune(method="channel", ratio=0.5), network, (1, 8, 8))
    assert "\n" not in str(caught.value)


def test_shufflenet_is_refused_naming_a_layer():
    network = build(Origin("torchvision:shufflenet_v2_x0_5", 10, (3, 32, 32), "random"))
    with pytest.raises(StepError, match=r"cannot follow the channels after layer 'stage\d\.\d\.branch"):
        prune.apply(Prune(method="channel", ratio=0.5), network, (3, 32, 32))


def test_a_ratio_too_small_to_remove_a_multiple_is_said():
    with pytest.raises(StepError, match=r"ratio 0\.01 removes nothing.*multiples of 4; use a larger ratio"):
        prune.apply(Prune(method="channel", ratio=0.01), BUILDERS["resnet8"](), (1, 28, 28))
