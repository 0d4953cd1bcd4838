"""Every network that pruning promises to work on: pruned as it is, stored, opened again, exported, and run in ONNX Runtime."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.compress import prune
from engine.graph.counts import graph_facts
from engine.graph.graph import open_session
from engine.models.export import export_onnx
from engine.models.sources import Network, open_network, save_network
from engine.spec.steps import Prune
from tests.helpers.prune_cases import built, images, macs, params

SMALL, LARGER = (3, 32, 32), (3, 64, 64)
NETWORKS = {
    "resnet18": SMALL,
    "resnet50": SMALL,
    "mobilenet_v2": SMALL,
    "mobilenet_v3_small": SMALL,
    "mobilenet_v3_large": SMALL,
    "efficientnet_b0": SMALL,
    "regnet_y_400mf": SMALL,
    "densenet121": SMALL,
    "convnext_tiny": SMALL,
    "squeezenet1_1": LARGER,
    "shufflenet_v2_x0_5": SMALL,
    "shufflenet_v2_x1_0": SMALL,
    "vit_b_16": (3, 224, 224),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_pruned_stored_exported_and_run(name, tmp_path):
    shape = NETWORKS[name]
    network = built(f"torchvision:{name}", shape)
    # The others are asked for MACs; attention is not in the count by hand.
    step = Prune(method="channel", ratio=0.5) if name == "vit_b_16" else Prune(method="channel", macs_ratio=0.5)
    pruned, report = prune.apply(step, network, None, 0)
    assert report.reached
    assert 1 - params(pruned) / params(network.module) == pytest.approx(report.params_removed, abs=1e-12)
    save_network(Network(pruned, network.origin), tmp_path / "a.safetensors")
    opened = open_network(tmp_path / "a.safetensors").module
    x = images(shape, 1)
    with torch.inference_mode():
        expected = pruned(x)
        assert torch.equal(opened(x), expected)
    assert expected.std() > 0
    graph = export_onnx(opened, shape)
    (found,) = open_session(graph).run(None, {"input": x.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-4 * expected.abs().max().item())
    whole = report.macs_removed
    if name != "vit_b_16":
        whole = 1 - graph_facts(graph).macs / macs(network.module, shape)
        assert abs(whole - 0.5) <= 0.02
    assert whole == pytest.approx(report.macs_removed, abs=1e-12)
    # Smaller by real layers, not by zeros.
    assert report.zero_share < 0.01
    assert all((m.weight != 0).any() for m in pruned.modules() if isinstance(m, nn.Conv2d | nn.Linear))
