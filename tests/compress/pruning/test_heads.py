"""That whole heads and hidden numbers go, however the code writes attention, and that what is left computes what it did without them."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from engine.compress import prune
from engine.compress.pruning.channels import prune_parts
from engine.compress.pruning.parts import find_parts
from engine.compress.pruning.surgery import checked, without
from engine.datasets.load import load_dataset
from engine.errors import StepError
from engine.graph.graph import open_session
from engine.models.builders import Origin
from engine.models.export import export_onnx
from engine.models.sources import Network, convert_file, load_network, open_network, save_network
from engine.spec.sections import Data, Model
from engine.spec.steps import Prune
from tests.helpers.attentions import HEADS, WIDTH, Fused, Grouped, Own, Separate, Series, Split
from tests.helpers.prune_cases import from_file, images, params, settled

torch.set_num_threads(1)
SHAPE = (3, 7)
HALF = Prune(method="heads", ratio=0.5)


def series(attention: type[nn.Module] = Separate, gated: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return settled(Series(attention, gated))


def network(module: nn.Module) -> Network:
    """A network in whose place `module` would be built; the origin is what pruning counts from."""
    return Network(module, Origin("", 5, SHAPE, ""))


def structure(module: nn.Module, part: str):
    module = copy.deepcopy(module).float()
    return checked(module, find_parts(module, SHAPE, part), SHAPE, samples=2)


@pytest.mark.parametrize("attention", [Separate, Fused, Split, Own])
def test_what_is_left_is_the_network_with_those_heads_masked(attention):
    """Each head's part of the output matrix is masked by hand, in float64; the matrix is the last of the attention's."""
    module = series(attention).double()
    found = structure(module, "heads")
    assert [(len(g), g.channels) for g in found.groups] == [(HEADS, 6 if attention is Separate else 18)] * 2
    assert not found.fixed
    gone = {0: [0, 3], 1: [1, 2]}
    removed = torch.zeros(found.units, dtype=torch.bool)
    masked = copy.deepcopy(module)
    for i, heads in gone.items():
        removed[found.groups[i].units[heads]] = True
        last = [layer for layer in masked.attentions[i].modules() if isinstance(layer, nn.Linear)][-1]
        for head in heads:
            last.weight.data[:, 6 * head : 6 * (head + 1)] = 0
    small = without(module, found, removed)
    for n in (1, 3):
        x = images(SHAPE, n).double()
        torch.testing.assert_close(small(x), masked(x), rtol=1e-9, atol=1e-12)
    # Half of the heads' rows and columns, and of their biases.
    per_block = 4 * WIDTH * WIDTH // 2 + (0 if attention is Fused else 3 * WIDTH // 2)
    assert params(module) - params(small) == 2 * per_block


def test_the_exported_file_has_fewer_heads_and_answers_as_the_network_does(tmp_path):
    small = without(*_halved(series(Fused)))
    session = open_session(export_onnx(small, SHAPE))
    x = images(SHAPE, 5)
    with torch.no_grad():
        np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], small(x).numpy(), rtol=1e-4, atol=1e-5)
    shapes = {tuple(t.dims) for t in export_onnx(small, SHAPE).graph.initializer}
    assert {(WIDTH, 3 * WIDTH // 2), (WIDTH // 2, WIDTH)} <= shapes
    assert (WIDTH, 3 * WIDTH) not in shapes


def _halved(module: nn.Module, part: str = "heads"):
    found = structure(module, part)
    removed = torch.zeros(found.units, dtype=torch.bool)
    for group in found.groups:
        removed[group.units[: len(group) // 2]] = True
    return module, found, removed


def test_heads_that_share_keys_and_values_go_together():
    module = series(Grouped).double()
    found = structure(module, "heads")
    assert [len(g) for g in found.groups] == [2, 2]
    small = without(*_halved(module))
    assert small.attentions[0].key.weight.shape == (6, WIDTH)
    assert small.attentions[0].query.weight.shape == small.attentions[0].out.weight.T.shape == (12, WIDTH)
    masked = copy.deepcopy(module)
    for attention in masked.attentions:
        attention.out.weight.data[:, :12] = 0
    x = images(SHAPE).double()
    torch.testing.assert_close(small(x), masked(x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gated", [False, True])
def test_hidden_numbers_of_an_mlp_go_with_both_rows_of_a_gated_one(gated):
    module = series(gated=gated).double()
    found = structure(module, "mlp")
    assert [(g.name, len(g), g.channels) for g in found.groups] == [(f"up.{i}", 32, 1 + gated) for i in range(2)]
    small, masked = without(*_halved(module, "mlp")), copy.deepcopy(module)
    for layer in masked.down:
        layer.weight.data[:, :16] = 0
    x = images(SHAPE).double()
    torch.testing.assert_close(small(x), masked(x), rtol=1e-9, atol=1e-12)
    assert small.down[0].weight.shape == (WIDTH, 16)


_ENCODER = """
class Net(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 24), nn.Linear(24, 5)
        layer = nn.TransformerEncoderLayer(24, 4, 32, 0.1, batch_first=not first, norm_first=first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.first = first

    def forward(self, x):
        x = self.embed(x.transpose(1, 2))
        x = self.encoder(x.transpose(0, 1)).transpose(0, 1) if self.first else self.encoder(x)
        return self.head(x.mean(1))

def build():
    return Net({first})
"""


@pytest.mark.parametrize("first", [False, True])
def test_an_encoder_of_torch_loses_heads_and_width_and_is_built_again_so(tmp_path, first):
    """Saved and opened, it is the same; trained, it takes no fused way; pruned again, and of channels, it still is what it says."""
    whole = from_file(tmp_path, _ENCODER.replace("{first}", str(first)), SHAPE, 5)
    step = Prune(method="heads_and_mlp", ratio=0.5, importance="l2")
    pruned, report = prune.apply(step, whole, None, 0)
    assert [(c.name, c.before, c.after) for c in report.layers] == [
        *((f"encoder.layers.{i}.self_attn", 4, 2) for i in range(2)),
        *((f"encoder.layers.{i}.linear1", 32, 16) for i in range(2)),
    ]
    assert (report.reached, report.note) == (True, None)
    assert report.params_removed == pytest.approx(1 - params(pruned) / params(whole.module))
    assert report.macs_removed > 0.4
    again = _reopened(tmp_path, pruned, whole)
    channels, _ = prune.apply(Prune(method="channel", ratio=0.6, round_to=1), again, None, 0)
    _reopened(tmp_path, channels, whole)
    third, last = prune.apply(Prune(method="heads", ratio=0.75), again, None, 0)
    assert [(c.before, c.after) for c in last.layers] == [(2, 1)] * 2
    _reopened(tmp_path, third, whole)
    assert torch.isfinite(copy.deepcopy(third).train()(images(SHAPE))).all()


def _reopened(folder, module: nn.Module, whole: Network) -> Network:
    save_network(Network(module, whole.origin), folder / "net.safetensors")
    again = open_network(folder / "net.safetensors")
    x = images(SHAPE, 3)
    with torch.no_grad():
        assert torch.equal(again.module(x), module(x))
    session = open_session(export_onnx(again.module, SHAPE))
    np.testing.assert_allclose(
        session.run(None, {"input": x.numpy()})[0], module(x).detach().numpy(), rtol=1e-3, atol=1e-4
    )
    return again


def test_heads_after_channels_keep_their_own_width(tmp_path):
    whole = from_file(tmp_path, _ENCODER.replace("{first}", "True"), SHAPE, 5)
    narrow, _ = prune.apply(Prune(method="channel", ratio=0.3, round_to=1), whole, None, 0)
    width = narrow.encoder.layers[0].self_attn.embed_dim
    assert width < 24
    pruned, _ = prune.apply(HALF, Network(narrow, whole.origin), None, 0)
    attention = _reopened(tmp_path, pruned, whole).module.encoder.layers[0].self_attn
    assert (attention.embed_dim, attention.head_dim, len(attention.in_proj_weight)) == (
        width,
        width // 4,
        3 * width // 2,
    )


def test_the_heads_that_matter_least_go():
    module = series(Separate)
    for i, head in ((0, 2), (1, 1)):
        module.attentions[i].out.weight.data[:, 6 * head : 6 * (head + 1)] *= 1e-3
        for layer in (module.attentions[i].query, module.attentions[i].key, module.attentions[i].value):
            layer.weight.data[6 * head : 6 * (head + 1)] *= 1e-3
    kept = _pruned(module, Prune(method="heads", ratio=0.25))
    assert torch.equal(kept.attentions[0].out.weight, module.attentions[0].out.weight[:, [*range(12), *range(18, 24)]])
    assert torch.equal(kept.attentions[1].out.weight, module.attentions[1].out.weight[:, [*range(6), *range(12, 24)]])


def _pruned(module: nn.Module, step: Prune) -> nn.Module:
    return prune_parts(step, "heads", module, module, SHAPE, None)[0]


def test_global_takes_heads_where_they_matter_least_and_leaves_one_in_each():
    module = series(Separate)
    module.attentions[0].out.weight.data[:, 6:] *= 1e-2
    for layer in (module.attentions[0].query, module.attentions[0].key, module.attentions[0].value):
        layer.weight.data[6:] *= 1e-2
    kept = _pruned(module, Prune(method="heads", ratio=0.375, allocation="global"))
    assert [a.out.weight.shape[1] // 6 for a in kept.attentions] == [1, 4]


class _Normalised(Separate):
    """A norm over all heads before the output matrix: no head can go without changing the others."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x):
        q, k, v = (f(x).view(len(x), -1, 4, 6).transpose(1, 2) for f in (self.query, self.key, self.value))
        shares = (q @ k.transpose(-1, -2) / math.sqrt(6)).softmax(-1)
        return self.out(self.norm((shares @ v).transpose(1, 2).reshape(len(x), -1, 24)))


class _Biased(Separate):
    """A number for each head is added to its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(4, 1, 1))

    def forward(self, x):
        q, k, v = (f(x).view(len(x), -1, 4, 6).transpose(1, 2) for f in (self.query, self.key, self.value))
        shares = (q @ k.transpose(-1, -2) * self.bias).softmax(-1)
        return self.out((shares @ v).transpose(1, 2).reshape(len(x), -1, 24))


class _OneHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        shares = (self.query(x) @ self.key(x).transpose(-1, -2) / math.sqrt(24)).softmax(-1)
        return self.out(shares @ self.value(x))


@pytest.mark.parametrize(
    ("attention", "reason"),
    [
        (_Normalised, "no single linear layer reads its heads"),
        (_Biased, "does not run with fewer"),
        (_OneHead, "it has one head"),
        (lambda: Grouped(HEADS), "all of its heads share keys and values"),
    ],
)
def test_heads_that_cannot_go_are_left_with_the_reason(attention, reason):
    module = series(attention)
    with pytest.raises(
        StepError, match=rf"layer 'attentions\.0' stays whole, since.*{reason}.*; use method channel"
    ) as caught:
        _pruned(module, HALF)
    assert "\n" not in str(caught.value)


def test_a_network_without_heads_says_so():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(21, 16), nn.ReLU(), nn.Linear(16, 5)).eval()
    with pytest.raises(
        StepError, match="pruning of heads cannot shrink this network: it has no attention heads to spare"
    ):
        _pruned(plain, HALF)
    found = find_parts(plain, SHAPE, "mlp")
    assert [(g.name, len(g)) for g in found.groups] == [("1", 16)]


def test_heads_go_from_a_network_of_a_file(tmp_path):
    """Its reshapes are numbers of the graph; opened again from the artifact it has as many heads as it had."""
    data = load_dataset(Data(source="pen_digits"))
    file = export_onnx(load_network(Model(source="series_transformer"), data).module, data.input_shape)
    whole = convert_file(Model(source="net.onnx"), file, data)
    pruned, report = prune.apply(Prune(method="heads_and_mlp", ratio=0.5), whole, None, 0)
    assert [(c.before, c.after) for c in report.layers] == [(4, 2)] * 4 + [(128, 64)] * 4
    save_network(Network(pruned, whole.origin), tmp_path / "net.safetensors")
    again = open_network(tmp_path / "net.safetensors").module
    x = images((2, 8), 3)
    with torch.no_grad():
        assert torch.equal(again(x), pruned(x))
        session = open_session(export_onnx(again, (2, 8)))
        np.testing.assert_allclose(session.run(None, {"input": x.numpy()})[0], pruned(x).numpy(), rtol=1e-3, atol=1e-4)
