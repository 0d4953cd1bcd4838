"""The zoo's transformer: the numbers of torch's own attention, a small graph, and steps that work on it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from engine.compress.prune import apply as prune
from engine.datasets.load import load_dataset
from engine.errors import ModelError
from engine.graph.graph import open_session
from engine.models.export import export_onnx
from engine.models.sources import build_student, load_network
from engine.models.transformer import SeriesTransformer
from engine.models.zoo import BUILDERS
from engine.spec.sections import Data, Model
from engine.spec.steps import Prune

torch.set_num_threads(1)
SERIES = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(3))


def scores(network: nn.Module, series: torch.Tensor) -> np.ndarray:
    session = open_session(export_onnx(network, (2, 8)))
    return session.run(None, {"input": series.numpy()})[0]


def test_its_attention_is_that_of_torch():
    network = BUILDERS["series_transformer"]().eval()
    attention = network.blocks[0].attention
    tokens = torch.randn(3, 8, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = nn.MultiheadAttention.forward(attention, tokens, tokens, tokens, need_weights=False)[0]
        torch.testing.assert_close(attention(tokens), expected, rtol=1e-5, atol=1e-6)


def test_its_graph_has_no_sizes_to_work_out_and_gives_the_same_for_any_batch():
    network = BUILDERS["series_transformer"]().eval()
    kinds = Counter(n.op_type for n in export_onnx(network, (2, 8)).graph.node)
    assert not {"Shape", "Gather", "Slice", "Concat"} & kinds.keys()
    assert kinds["Softmax"] == 4
    for n in (1, 5):
        with torch.no_grad():
            np.testing.assert_allclose(scores(network, SERIES[:n]), network(SERIES[:n]).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 65), (1, 28, 28)])
def test_what_is_no_short_series_is_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="reads series"):
        SeriesTransformer(10, shape[0], 64, 1)(torch.zeros(2, *shape))


def test_channels_and_heads_are_pruned_together_and_the_graph_still_agrees():
    data = load_dataset(Data(source="pen_digits"))
    network = load_network(Model(source="series_transformer"), data)
    pruned, report = prune(Prune(method="channel", ratio=0.5), network, data, 0)
    assert report.reached
    attention = pruned.blocks[0].attention
    assert attention.embed_dim % attention.num_heads == 0
    assert attention.embed_dim < 64
    with torch.no_grad():
        np.testing.assert_allclose(scores(pruned, SERIES), pruned(SERIES).numpy(), rtol=1e-4, atol=1e-4)


def test_half_the_depth_is_half_the_blocks_and_pictures_are_told_in_a_line():
    data = load_dataset(Data(source="pen_digits"))
    assert len(build_student("series_transformer", data, 1.0, 0, depth=0.5).module.blocks) == 2
    with pytest.raises(ModelError, match=r"reads series, .channels, up to 64 points.; choose a network that fits"):
        build_student("series_transformer", load_dataset(Data()), 1.0, 0)
    with pytest.raises(
        ModelError, match=r"series_transformer's shipped checkpoint is for .* in 10 classes, but fashion_mnist has"
    ):
        load_network(Model(source="series_transformer"), load_dataset(Data()))
