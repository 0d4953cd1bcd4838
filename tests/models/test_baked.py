"""Layers that compute their weight become plain ones: the same answers, weights that can be pruned, one checkpoint for both forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from engine.compress.pruning.weights import prune_magnitude, weight_layers
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.models.baked import bake
from engine.models.export import export_onnx
from engine.models.pruned import pruned_masks
from engine.models.sources import load_network, open_network, save_network
from engine.spec.sections import Model
from engine.spec.steps import Prune

torch.set_num_threads(1)
IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))

WRAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old_spectral_norm": nn.utils.spectral_norm,
    "pruned": lambda m: prune.l1_unstructured(m, "weight", 0.3),
}
NET = """
import torch, warnings
from torch import nn
from torch.nn.utils import parametrizations, prune

def build(num_classes=3, wrap=parametrizations.weight_norm):
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)]
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), wrap(nn.Conv2d(8, 8, 3)), *head)

def plain(num_classes=3):
    return build(num_classes, lambda m: m)

def pruned(num_classes=3):
    return build(num_classes, lambda m: prune.l1_unstructured(m, "weight", 0.3))
"""


def network(wrap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    middle = wrap(nn.Conv2d(8, 8, 3))
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    ).eval()


@pytest.mark.parametrize("name", WRAPS)
def test_the_answers_stay_and_the_weight_is_a_parameter(name: str) -> None:
    net = network(WRAPS[name])
    with torch.no_grad():
        expected = net(IMAGES)
    baked = bake(net, "net.py:build")
    assert baked.state_dict().keys() == network(lambda m: m).state_dict().keys()
    assert {n for n, _ in baked.named_parameters()} == set(baked.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(baked(IMAGES), expected)
    before = baked[2].weight.detach().clone()
    prune_magnitude(Prune(method="magnitude", ratio=0.5, allocation="uniform"), baked, None)
    assert (before != baked[2].weight).any()
    zeros = {n: float((w == 0).float().mean()) for n, w in weight_layers(baked).items()}
    assert zeros == pytest.approx(dict.fromkeys(("0", "2", "5"), 0.5), abs=0.02)
    export_onnx(baked, (1, 8, 8))


def test_the_older_weight_norm_too() -> None:
    with pytest.warns(FutureWarning, match="weight_norm"):
        net = network(nn.utils.weight_norm)
    with torch.no_grad():
        expected = net(IMAGES)
        torch.testing.assert_close(bake(net, "n")(IMAGES), expected)
    assert isinstance(net[2].weight, nn.Parameter)


def test_what_torchs_own_pruning_masked_is_noted() -> None:
    net = network(WRAPS["pruned"])
    mask = net[2].weight_mask == 0
    (name, (parameter, found)), *others = pruned_masks(bake(net, "n")).items()
    assert (name, others) == ("2.weight", [])
    assert torch.equal(found, mask)
    assert not parameter[mask].any()


class _Refuses(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise RuntimeError("only while it trains")
        return x


def test_a_parametrisation_that_fails_is_named_with_its_layer() -> None:
    net = network(lambda m: m).train()
    nn.utils.parametrize.register_parametrization(net[2], "weight", _Refuses())
    with pytest.raises(
        ModelError, match=r"model 'net\.py:build': the weights of layer '2' .* \(only while it trains\); remove"
    ):
        bake(net, "net.py:build")


def data() -> Dataset:
    split = Split(np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 3)
    return Dataset("toy", "0" * 64, ("a", "b", "c"), Preprocessing(1 / 255, (0.5,), (0.5,)), split, split, split, split)


@pytest.mark.parametrize("function", ["build", "pruned"])
def test_checkpoints_of_both_forms_are_read_and_artifacts_come_back(function: str, tmp_path: Path) -> None:
    path, weights = tmp_path / "net.py", tmp_path / "w.pt"
    path.write_text(NET)
    scope: dict[str, Callable[[], nn.Module]] = {}
    exec(NET, scope)
    torch.manual_seed(3)
    trained = scope[function]()
    torch.save(trained.state_dict(), weights)
    with torch.no_grad():
        expected = trained.eval()(IMAGES)
    source = f"{path}:{function}"
    first = load_network(Model(source=source, weights=str(weights)), data())
    torch.save(first.module.state_dict(), weights)  # as somebody saves it who has removed the parametrisation
    for loaded in (first, load_network(Model(source=source, weights=str(weights)), data())):
        save_network(loaded, tmp_path / "a.safetensors")
        for module in (loaded.module, open_network(tmp_path / "a.safetensors").module):
            with torch.no_grad():
                torch.testing.assert_close(module(IMAGES), expected)
    assert bool(pruned_masks(open_network(tmp_path / "a.safetensors").module)) == (function == "pruned")
