"""torch -> ONNX: same numbers, folded batch norms, tied weights once, same bytes every time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from engine.errors import ModelError
from engine.graph.graph import open_session
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS, ConvBN
from tests.helpers.nets import IMAGE_NETS

torch.set_num_threads(1)


def lived_in(network: nn.Module, shape: tuple[int, int, int], seed: int = 0) -> nn.Module:
    """Batch norms with statistics and shifts as after training, so that folding them wrongly shows."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator) * 0.2
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            module.weight.data = torch.rand(module.num_features, generator=generator) + 0.5
            module.bias.data = torch.randn(module.num_features, generator=generator) * 0.2
    return network.eval()


def logits(model: onnx.ModelProto, images: Tensor) -> np.ndarray:
    return open_session(model).run(None, {"input": images.numpy()})[0]


@pytest.mark.parametrize("name", IMAGE_NETS)  # tests/models/test_transformer.py
def test_zoo_networks_give_the_same_logits_in_the_runtime(name: str) -> None:
    network = lived_in(BUILDERS[name](), (1, 28, 28))
    network = network.to(memory_format=torch.channels_last)  # as training leaves them
    model = export_onnx(network, (1, 28, 28))
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(images).numpy()
    np.testing.assert_allclose(logits(model, images), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert not [n for n in model.graph.node if n.op_type in ("BatchNormalization", "Identity", "Constant")]
    assert [i.name for i in model.graph.input] == ["input"]
    assert [o.name for o in model.graph.output] == ["logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    onnx.checker.check_model(model, full_check=True)


def test_tied_weights_are_stored_once() -> None:
    deep = export_onnx(lived_in(BUILDERS["recursive_resnet"](repeats=6), (1, 28, 28)), (1, 28, 28))
    shallow = export_onnx(lived_in(BUILDERS["recursive_resnet"](repeats=2), (1, 28, 28)), (1, 28, 28))

    def stored(model: onnx.ModelProto) -> int:
        return sum(len(t.raw_data) for t in model.graph.initializer)

    assert stored(deep) == stored(shallow)
    assert (
        sum(n.op_type == "Conv" for n in deep.graph.node) == sum(n.op_type == "Conv" for n in shallow.graph.node) + 24
    )


def test_the_same_network_gives_the_same_bytes_and_is_left_in_its_mode() -> None:
    network = BUILDERS["ds_cnn"]().train()
    first = export_onnx(network, (1, 28, 28)).SerializeToString(deterministic=True)
    assert network.training
    assert export_onnx(network, (1, 28, 28)).SerializeToString(deterministic=True) == first


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class _Summed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (_Pair(), "returns tuple for 2 images"),
        (_Summed(), r"returns \(1, 8, 8\) for 2 images"),
        (ConvBN(3, 4), "cannot be exported for 1×8×8 images"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(network: nn.Module, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        export_onnx(network, (1, 8, 8))
    assert "\n" not in str(caught.value)


def test_several_threads_can_export_at_once():
    def export(seed: int) -> bytes:
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(seed + 1.0)
        return export_onnx(network, (1, 8, 8)).SerializeToString()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(export, range(8)))
    assert together == [export(seed) for seed in range(8)]


@pytest.mark.parametrize("frozen", [False, True])
def test_encoder_layers_are_exported_whether_they_train_or_not(frozen: bool) -> None:
    """Without a gradient torch runs them as one fused operator that ONNX does not have."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 1)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(x.reshape(-1, 9, 16)).mean(1))

    torch.manual_seed(0)
    network = Encoder().eval()
    for parameter in network.parameters():
        parameter.requires_grad_(not frozen)
    before = torch.backends.mha.get_fastpath_enabled()
    model = export_onnx(network, (1, 12, 12))
    assert torch.backends.mha.get_fastpath_enabled() == before
    images = torch.randn(5, 1, 12, 12)
    logits = open_session(model).run(None, {"input": images.numpy()})[0]
    with torch.enable_grad():
        np.testing.assert_allclose(logits, network(images).detach().numpy(), rtol=1e-4, atol=1e-5)
