import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.compress import prune
from engine.compress.pruning.weights import keep_n_of_m, prune_magnitude, weight_layers
from engine.errors import StepError
from engine.models.pruned import pruned_masks
from engine.models.sources import Network, open_network, save_network
from engine.spec.steps import Prune
from tests.helpers.prune_cases import as_it_sees, built, from_file, stripes

ZOO = ["resnet8", "resnet20", "ds_cnn", "mobilenet_v2", "recursive_resnet"]


def magnitude(ratio: float, **knobs) -> Prune:
    return Prune(method="magnitude", ratio=ratio, **knobs)


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [m.weight.detach() for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def flat(tensors: list[torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.abs().flatten() for t in tensors])


def are_smallest(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether what was zeroed is smaller than all that stayed, and what stayed is as it was."""
    before, gone = before.abs(), after == 0
    return bool(torch.equal(after.abs()[~gone], before[~gone]) and before[gone].max() <= before[~gone].min())


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("ratio", [0.3, 0.9])
def test_global_zeroes_exactly_the_smallest_weights(name, ratio):
    network = built(name)
    pruned, report = prune.apply(magnitude(ratio), network, None, 0)
    before, after = flat(weights(network.module)), flat(weights(pruned))
    assert int((after == 0).sum()) == round(ratio * len(before))
    assert are_smallest(before, after)
    assert report.zero_share == pytest.approx(ratio, abs=1e-4)
    assert (report.reached, report.note, report.params_removed, report.macs_removed) == (True, None, 0, 0)


@pytest.mark.parametrize("ratio", [0.25, 0.9])
def test_uniform_zeroes_the_same_share_of_each_layer(ratio):
    network = built("resnet8")
    pruned, report = prune.apply(magnitude(ratio, allocation="uniform"), network, None, 0)
    for before, after in zip(weights(network.module), weights(pruned), strict=True):
        assert int((after == 0).sum()) == round(ratio * before.numel())
        assert are_smallest(before.flatten(), after.flatten())
    assert report.zero_share == pytest.approx(ratio, abs=1e-3)


IDLE = """
class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Conv2d(1, 16, 3)
        self.idle = nn.Conv2d(1, 16, 3)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.used(x).relu() + 1e-6 * self.idle(x).relu()
        return 100 * self.head(x.amax((2, 3)))

def build():
    torch.manual_seed(0)
    return Idle()
"""


def test_sensitivity_takes_from_layers_that_do_nothing(tmp_path):
    network = from_file(tmp_path, IDLE, (1, 12, 12))
    data = as_it_sees(network.module, stripes())
    pruned, report = prune.apply(magnitude(0.4, allocation="sensitivity"), network, data, 0)
    zeros = {name: float((w == 0).float().mean()) for name, w in weight_layers(pruned).items()}
    assert zeros["idle"] > 0.9
    assert zeros["used"] < 0.1
    assert report.zero_share == pytest.approx(0.4, abs=0.01)
    again, _ = prune.apply(magnitude(0.4, allocation="sensitivity"), network, data, 1)
    assert all(torch.equal(a, b) for a, b in zip(weights(pruned), weights(again), strict=True))


@pytest.mark.parametrize("ratio", [0.2, 0.6, 0.95])
def test_sensitivity_reaches_the_share(ratio):
    network = built("resnet8", (1, 12, 12), 3)
    pruned, report = prune.apply(magnitude(ratio, allocation="sensitivity"), network, stripes(), 0)
    assert float((flat(weights(pruned)) == 0).double().mean()) == pytest.approx(ratio, abs=0.002)
    for before, after in zip(weights(network.module), weights(pruned), strict=True):
        assert (after == 0).sum() == 0 or are_smallest(before.flatten(), after.flatten())
    assert report.reached


def test_biases_batch_norms_and_the_input_stay():
    network = built("resnet8")
    original = copy.deepcopy(network.module.state_dict())
    pruned, _ = prune.apply(magnitude(0.99), network, None, 0)
    matrices = {name for name, t in original.items() if t.ndim > 1}
    assert all(torch.equal(t, original[name]) for name, t in network.module.state_dict().items())
    assert all(torch.equal(t, original[name]) for name, t in pruned.state_dict().items() if name not in matrices)


@settings(max_examples=30)
@given(ratio=st.floats(0.001, 0.999), levels=st.integers(1, 4))
def test_global_is_exact_among_equal_weights(ratio, levels):
    layer = nn.Linear(12, 10)
    layer.weight.data = torch.randint(
        -levels, levels + 1, (10, 12), generator=torch.Generator().manual_seed(levels)
    ).float()
    already = int((layer.weight == 0).sum())
    prune_magnitude(magnitude(ratio), layer, None)
    assert int((layer.weight == 0).sum()) == max(already, round(ratio * 120))


def test_fewer_zeros_than_there_are_is_said():
    network = built("resnet8")
    sparse, _ = prune.apply(magnitude(0.8), network, None, 0)
    _, report = prune.apply(magnitude(0.5), Network(sparse, network.origin), None, 0)
    assert report.note == "asked 50 % of the weights zero, reached 80 %: there were more zeros before"
    assert not report.reached


def test_shared_weights_count_once():
    layer = nn.Linear(4, 4)
    assert list(weight_layers(nn.Sequential(layer, layer))) == ["0"]
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    assert list(weight_layers(tied)) == ["0"]
    assert list(weight_layers(nn.MultiheadAttention(8, 2))) == ["", "out_proj"]


@pytest.mark.parametrize("step", [magnitude(0.5), Prune(method="nm")])
def test_networks_without_weights_to_zero_are_refused(step, tmp_path):
    body = "def build():\n    return nn.Sequential(nn.AdaptiveAvgPool2d((1, 3)), nn.Flatten())"
    with pytest.raises(StepError, match=r"no convolution or linear layer|fits no layer of this network"):
        prune.apply(step, from_file(tmp_path, body), None, 0)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_stored_weights_follow_the_pattern_along_the_inputs(name, pattern, tmp_path):
    n, m = map(int, pattern.split(":"))
    network = built(name)
    pruned, report = prune.apply(Prune(method="nm", pattern=pattern), network, None, 0)
    save_network(Network(pruned, network.origin), tmp_path / "a.safetensors")
    stored = weights(open_network(tmp_path / "a.safetensors").module)
    zeros = total = 0
    for before, after in zip(weights(network.module), stored, strict=True):
        zeros, total = zeros + int((after == 0).sum()), total + after.numel()
        if before.shape[1] % m:
            assert torch.equal(after, before)
            continue
        old, new = (w.numpy().reshape(len(w), w.shape[1], -1) for w in (before, after))
        for first in range(0, before.shape[1], m):
            group, kept = np.abs(old[:, first : first + m]), new[:, first : first + m]
            assert ((kept != 0).sum(1) == n).all()
            largest = np.sort(group, axis=1)[:, -n:].sum(1)
            np.testing.assert_allclose(np.abs(kept).sum(1), largest, rtol=1e-6)
            assert (kept[kept != 0] == old[:, first : first + m][kept != 0]).all()
    assert report.zero_share == pytest.approx(zeros / total, abs=1e-12)
    assert report.asked == 1 - n / m
    assert report.reached == (abs(zeros / total - (1 - n / m)) <= 0.02)


def test_what_is_left_dense_is_said():
    _, report = prune.apply(Prune(method="nm"), built("ds_cnn"), None, 0)
    assert report.note is not None
    assert report.note.startswith("asked 50 % of the weights zero, reached 4")
    assert report.note.endswith(
        "layers whose inputs are no multiple of 4 stay dense, 5 of them ('0.0' with 1, '1.0' with 1, '3.0' with 1, …)"
    )


def test_a_pattern_by_hand():
    layer = nn.Conv2d(4, 1, (1, 2), bias=False)
    layer.weight.data = torch.tensor([[[[1.0, -8]], [[-2, 7]], [[3, 0.5]], [[-4, 0.25]]]])
    keep_n_of_m(Prune(method="nm", pattern="2:4"), layer)
    assert layer.weight.tolist() == [[[[0, -8]], [[0, 7]], [[3, 0]], [[-4, 0]]]]


def test_an_iterated_pattern_changes_nothing_more():
    network = built("resnet8")
    once, _ = prune.apply(Prune(method="nm"), network, None, 0)
    twice, _ = prune.apply(Prune(method="nm"), Network(once, network.origin), None, 0)
    assert all(torch.equal(a, b) for a, b in zip(weights(once), weights(twice), strict=True))


def test_what_a_step_chose_is_noted_and_travels_with_the_artifact(tmp_path):
    """Ratios note the weights that they took out, patterns all places that they keep empty; in a layer of zeros that is not the same."""
    network = built("resnet8")
    head = next(name for name, layer in network.module.named_modules() if isinstance(layer, nn.Linear)) + ".weight"
    nn.init.zeros_(network.module.get_parameter(head))
    for step in (magnitude(0.6), Prune(method="nm", pattern="1:4")):
        pruned, _ = prune.apply(step, network, None, 0)
        save_network(Network(pruned, network.origin), tmp_path / "a.safetensors")
        opened = open_network(tmp_path / "a.safetensors").module
        masks = {name: mask for name, (_, mask) in pruned_masks(opened).items()}
        assert opened.state_dict().keys() == network.module.state_dict().keys()
        for name, before in network.module.named_parameters():
            after = opened.get_parameter(name)
            expected = (after == 0) & (before != 0)
            if name == head and step.method == "nm":
                assert masks[name].sum() == 0.75 * after.numel()
            else:
                assert torch.equal(masks.get(name, torch.zeros_like(expected)), expected)
    again, _ = prune.apply(magnitude(0.7), Network(opened, network.origin), None, 0)
    assert all((pruned_masks(again)[name][1] | ~mask).all() for name, mask in masks.items())
