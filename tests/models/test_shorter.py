"""Layers that are taken from a network: which stay, that their weights do, and what has none to leave out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.errors import ModelError
from engine.models.builders import Origin, build
from engine.models.shorter import kept
from engine.models.sources import Network, open_network, save_network, taken_student
from tests.helpers.prune_cases import from_file, images, settled

torch.set_num_threads(1)
SHAPE = (3, 7)


@pytest.mark.parametrize(
    ("layers", "depth", "places"),
    [
        (12, 0.5, [0, 2, 4, 7, 9, 11]), (6, 0.5, [0, 2, 5]), (4, 0.5, [0, 3]), (4, 0.75, [0, 2, 3]), (3, 0.5, [0, 2]), (2, 0.5, [0]),
        (1, 0.5, [0]), (4, 1.0, [0, 1, 2, 3]), (5, 0.01, [0]),
    ],
)  # fmt: skip
def test_the_first_and_the_last_stay_and_the_others_evenly(layers, depth, places):
    assert kept(layers, depth) == places


def transformer() -> Network:
    origin = Origin("series_transformer", 10, (2, 8), "random")
    return Network(settled(build(origin)), origin)


def test_half_of_a_transformer_is_its_first_and_last_block(tmp_path):
    whole = transformer()
    half = taken_student(whole, 0.5)
    assert len(half.module.blocks) == 2
    for own, theirs in ((0, 0), (1, 3)):
        for name, parameter in half.module.blocks[own].named_parameters():
            assert torch.equal(parameter, whole.module.blocks[theirs].get_parameter(name))
    by_hand = transformer().module
    by_hand.blocks = nn.Sequential(by_hand.blocks[0], by_hand.blocks[3])
    x = images((2, 8), 3)
    with torch.no_grad():
        assert torch.equal(half.module(x), by_hand(x))
        save_network(half, tmp_path / "half.safetensors")
        assert torch.equal(open_network(tmp_path / "half.safetensors").module(x), by_hand(x))
    assert len(whole.module.blocks) == 4


def test_at_full_depth_it_answers_as_the_network_does():
    whole = transformer()
    x = images((2, 8), 3)
    with torch.no_grad():
        assert torch.equal(taken_student(whole, 1.0).module(x), whole.module(x))


_RECURRENT = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = {layer}
        self.head = nn.Linear({width}, 5)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0].mean(1))

build = lambda: Net()
"""


@pytest.mark.parametrize(
    ("layer", "width", "alone"),
    [
        ("nn.GRU(3, 8, 3, batch_first=True, bidirectional=True)", 16, nn.GRU(3, 8, 2, batch_first=True, bidirectional=True)),
        ("nn.LSTM(3, 8, 3, batch_first=True)", 8, nn.LSTM(3, 8, 2, batch_first=True)),
        ("nn.RNN(3, 8, 3, bias=False, batch_first=True, nonlinearity='relu')", 8,
         nn.RNN(3, 8, 2, bias=False, batch_first=True, nonlinearity="relu")),
    ],
)  # fmt: skip
def test_a_stacked_recurrent_layer_keeps_its_first_and_last(tmp_path, layer, width, alone):
    """Against torch's own of two layers with the weights of the first and the third."""
    whole = from_file(tmp_path, _RECURRENT.format(layer=layer, width=width), SHAPE, 5)
    short = taken_student(whole, 0.5)
    with torch.no_grad():
        for name, parameter in alone.named_parameters():
            parameter.copy_(whole.module.rnn.get_parameter(name.replace("_l1", "_l2")))
        x = images(SHAPE, 4)
        expected = whole.module.head(alone(x.transpose(1, 2))[0].mean(1))
        torch.testing.assert_close(short.module(x), expected)
        save_network(short, tmp_path / "short.safetensors")
        again = open_network(tmp_path / "short.safetensors").module
        assert torch.equal(again(x), short.module(x))
    assert again.rnn.num_layers == 2


_ENCODER = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 16), nn.Linear(16, 5)
        layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.transpose(1, 2))).mean(1))

build = lambda: Net()
"""


def test_an_encoder_of_torch_whose_builder_knows_no_depth(tmp_path):
    whole = from_file(tmp_path, _ENCODER, SHAPE, 5)
    half = taken_student(whole, 0.5).module
    assert len(half.encoder.layers) == 3
    for own, theirs in enumerate((0, 2, 5)):
        assert torch.equal(half.encoder.layers[own].linear1.weight, whole.module.encoder.layers[theirs].linear1.weight)


_BESIDE = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.beside = nn.ModuleList(nn.Linear(21, 5) for _ in range(4))

    def forward(self, x):
        return sum(layer(x.flatten(1)) for layer in self.beside)

build = lambda: Net()
"""


def test_layers_beside_each_other_are_no_stack(tmp_path):
    """They are alike and in one list, but none reads another: a sum would run with half of them, and be another network."""
    with pytest.raises(
        ModelError, match=r"at depth 0\.5 none of its layers can be left out.*use start: fresh"
    ) as caught:
        taken_student(from_file(tmp_path, _BESIDE, SHAPE, 5), 0.5)
    assert "\n" not in str(caught.value)
