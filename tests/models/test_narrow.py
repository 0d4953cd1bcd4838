"""Attention written out answers as torch's own does, and sizes in code are corrected, kept and refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.errors import ModelError
from engine.models.narrow import narrow, packed_sizes, sizes_of, unpack_sizes, write_out

torch.set_num_threads(1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("masks", ["none", "causal", "padding", "both", "by head"])
def test_attention_written_out_is_that_of_torch(batch_first, masks):
    torch.manual_seed(0)
    own = nn.MultiheadAttention(12, 3, batch_first=batch_first).double().eval()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    x = x if batch_first else x.transpose(0, 1)
    options: dict[str, torch.Tensor] = {}
    if masks in ("causal", "both"):
        options["attn_mask"] = torch.ones(5, 5, dtype=torch.bool).triu(1)
    if masks == "by head":
        options["attn_mask"] = torch.randn(6, 5, 5, dtype=torch.float64)
    if masks in ("padding", "both"):
        options["key_padding_mask"] = torch.tensor([[False] * 5, [False, False, False, True, True]])
    for weights in ({"need_weights": False}, {"average_attn_weights": True}, {"average_attn_weights": False}):
        expected = own(x, x, x, **options, **weights)
        found = write_out(nn.Sequential(own))[0](x, x, x, **options, **weights)
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if b is not None:
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_attention_to_others_and_of_one_sample_is_written_out_too():
    torch.manual_seed(0)
    own = nn.MultiheadAttention(12, 3, batch_first=True).double().eval()
    x, y = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 7, 12, dtype=torch.float64)
    expected = [own(x, y, y)[0], own(x[0], x[0], x[0])[0]]
    write_out(nn.Sequential(own))
    for found, right in zip([own(x, y, y)[0], own(x[0], x[0], x[0])[0]], expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-12)


class Views(nn.Module):
    """(n, 24) in every way of stating that there are four of six."""

    def forward(self, x):
        n = len(x)
        a = x.view(n, 4, 6).reshape((n * 4, 6)).unflatten(0, (n, 4))
        b, c = x.split(12, dim=1)
        d, e, f = torch.split(x, [6, 12, 6], 1)
        return a.flatten(1), b, c, d, e, f


def test_sizes_are_scaled_where_they_are_what_the_code_means_and_go_with_the_artifact():
    layer = Views()
    narrow(
        layer,
        {"": [(0, 1, 4, 2), (1, 0, 4, 2), (2, 1, 4, 2), (3, 0, 12, 6), (4, 1, 12, 6), (4, 0, 6, 3), (4, 2, 6, 3)]},
    )
    x = torch.arange(36.0).view(3, 12)
    a, b, c, d, e, f = layer(x)
    assert torch.equal(a, x)
    assert torch.equal(torch.cat([b, c], 1), x)
    assert [t.shape[1] for t in (d, e, f)] == [3, 6, 3]
    again = Views()
    assert unpack_sizes(again, packed_sizes(layer) | {"w": torch.zeros(1)}).keys() == {"w"}
    assert sizes_of(again) == sizes_of(layer)
    assert all(torch.equal(one, other) for one, other in zip(again(x), layer(x), strict=True))


def test_a_second_correction_goes_on_from_the_first():
    layer = Views()
    narrow(layer, {"": [(0, 1, 4, 2)]})
    narrow(layer, {"": [(0, 1, 2, 1)]})
    assert sizes_of(layer) == ((0, 1, 4, 1),)


def test_an_artifact_of_another_network_is_refused():
    with pytest.raises(ModelError, match="does not fit its network"):
        unpack_sizes(nn.Linear(2, 2), {"sizes/blocks.0": torch.zeros(1, 4, dtype=torch.int64)})
