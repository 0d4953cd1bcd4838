"""Layers take the shapes of stored tensors, and all that they keep beside their tensors follows."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from engine.errors import ModelError
from engine.models.state import fit_to, load_state

torch.set_num_threads(1)


def fitted(network: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module:
    network = copy.deepcopy(network)
    fit_to(network, state)
    load_state(network, state, "the state", "the network")
    return network


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (nn.Conv2d(6, 8, 3), nn.Conv2d(4, 5, 3)),
        (nn.Conv2d(6, 8, 3, bias=False), nn.Conv2d(6, 2, 3, bias=False)),
        (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(5, 5, 3, groups=5)),
        (nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(5, 10, 3, groups=5)),
        (nn.Conv2d(12, 24, 3, groups=6), nn.Conv2d(6, 12, 3, groups=3)),
        (nn.Conv2d(12, 24, 3, groups=6), nn.Conv2d(2, 4, 3, groups=1)),
        (nn.Conv1d(6, 8, 3), nn.Conv1d(4, 5, 3)),
        (nn.Linear(6, 8), nn.Linear(4, 3)),
        (nn.BatchNorm2d(8), nn.BatchNorm2d(3)),
        (nn.BatchNorm2d(8, affine=False), nn.BatchNorm2d(3, affine=False)),
        (nn.LayerNorm(8), nn.LayerNorm(3)),
        (nn.PReLU(8), nn.PReLU(3)),
        (nn.MultiheadAttention(12, 3), nn.MultiheadAttention(6, 3)),
        (nn.MultiheadAttention(12, 3, bias=False), nn.MultiheadAttention(9, 3, bias=False)),
    ],
)
def test_a_layer_becomes_what_it_would_have_been_built_as(before, after):
    layer = fitted(before, after.state_dict())
    assert repr(layer) == repr(after)
    plain = {k: v for k, v in vars(after).items() if isinstance(v, int | float | tuple | str | bool)}
    assert {k: vars(layer)[k] for k in plain} == plain
    assert all(torch.equal(t, after.state_dict()[k]) for k, t in layer.state_dict().items())
    channels = (
        getattr(after, "in_channels", None) or getattr(after, "num_features", None) or getattr(after, "embed_dim", None)
    )
    shape = {nn.Linear: (2, 4), nn.LayerNorm: (2, 3), nn.PReLU: (2, 3), nn.Conv1d: (2, 4, 9)}.get(
        type(after), (2, channels, 9, 9)
    )
    if isinstance(after, nn.MultiheadAttention):
        x = torch.randn(5, 2, after.embed_dim)
        torch.testing.assert_close(layer.eval()(x, x, x)[0], after.eval()(x, x, x)[0])
    else:
        x = torch.randn(shape)
        assert torch.equal(layer.eval()(x), after.eval()(x))


def test_unchanged_layers_keep_their_tensors():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    state = network.state_dict() | {"1.weight": torch.ones(2, 4), "1.bias": torch.ones(2)}
    kept = network[0].weight
    fit_to(network, state)
    assert network[0].weight is kept
    assert (network[1].out_features, network[1].weight.shape) == (2, (2, 4))


def test_what_trains_and_its_type_stay():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).double()
    network[0].weight.requires_grad_(False)
    small = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)).double()
    fit_to(network, small.state_dict())
    assert [p.requires_grad for p in network.parameters()] == [False, True, True, True]
    assert {t.dtype for t in [*network.parameters(), network[1].running_mean]} == {torch.float64}


def test_weights_that_layers_share_stay_shared():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    # Stored once, under the first name, as networks are saved.
    small = fitted(network, {"0.weight": torch.ones(3, 3), "0.bias": torch.ones(3), "1.bias": torch.zeros(3)})
    assert small[1].weight is small[0].weight
    assert (small[1].in_features, small[1].out_features) == (3, 3)
    assert small(torch.ones(1, 3)).tolist() == [[12, 12, 12]]


class Scaled(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width, 1, 1))
        self.register_buffer("shift", torch.zeros(width, 1, 1))


def test_free_parameters_and_buffers_are_fitted():
    small = fitted(Scaled(8), Scaled(3).state_dict())
    assert (small.scale.shape, small.shift.shape) == ((3, 1, 1), (3, 1, 1))
    assert isinstance(small.scale, nn.Parameter)


def test_a_vision_transformer_is_fitted_whole():
    sizes = {"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 2, "num_classes": 3}
    wide, narrow = (VisionTransformer(**sizes, hidden_dim=width, mlp_dim=2 * width).eval() for width in (16, 8))
    nn.init.normal_(narrow.heads.head.weight)
    small = fitted(wide, narrow.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(small(x), narrow(x))
    assert small(x).std() > 0


def old_checkpoint(network: nn.Module) -> dict[str, torch.Tensor]:
    """As torch before 0.4.1 would have saved it."""
    return {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    "network", [nn.BatchNorm2d(3), nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.InstanceNorm1d(3))]
)
def test_a_checkpoint_without_counts_of_batches_is_taken_as_torch_takes_it(network: nn.Module):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_()
    old = old_checkpoint(network)
    by_torch, by_us = (
        copy.deepcopy(network).apply(lambda m: getattr(m, "reset_parameters", lambda: None)()) for _ in "12"
    )
    by_torch.load_state_dict(dict(old), strict=True)
    load_state(by_us, old, "the state", "the network")
    ours = by_us.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in by_torch.state_dict().items())


def test_what_else_is_missing_is_still_refused_and_a_count_of_ones_own_is_no_norms():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network.register_buffer("num_batches_tracked", torch.tensor(0))
    state = old_checkpoint(network)
    with pytest.raises(ModelError, match=r"1 missing \(num_batches_tracked\)"):
        load_state(network, state, "the state", "the network")
    del state["1.running_mean"]
    with pytest.raises(ModelError, match="2 missing"):
        load_state(network, state, "the state", "the network")


def masked() -> nn.Module:
    """A causal mask is infinite; batch-norm statistics must not be."""
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    network.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))
    return network


def test_a_buffer_may_be_infinite_and_what_training_makes_may_not():
    state = masked().state_dict()
    load_state(masked(), state, "the state", "the network")
    for name in ("0.weight", "1.bias", "1.running_var"):
        bad = state | {name: state[name] * torch.nan}
        with pytest.raises(ModelError, match=f"{name} has values that are not finite"):
            load_state(masked(), bad, "the state", "the network")
