"""Steps on a torch network: which options go with which method, and what is said of others."""

from __future__ import annotations

import pytest

from engine.errors import SpecError
from engine.spec.sentences import step_text
from engine.spec.steps import Prune
from engine.spec.validation import validated


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "heads"}, "method heads needs a ratio, the share of heads to remove"),
        ({"method": "mlp"}, "method mlp needs a ratio, the share of the MLPs' width to remove"),
        ({"method": "heads", "ratio": 0.5, "round_to": 2}, "round_to is not a knob of method heads"),
        ({"method": "heads", "macs_ratio": 0.5}, "macs_ratio is not a knob of method heads"),
        ({"method": "mlp", "ratio": 0.5, "importance": "bn_scale"}, "importance bn_scale is of batch norms"),
        ({"method": "heads_and_mlp", "ratio": 1.0}, "ratio"),
    ],
)
def test_what_heads_and_mlps_do_not_have_is_one_line(options: dict[str, object], told: str) -> None:
    with pytest.raises(SpecError, match=told) as caught:
        validated(Prune, options, "space.prune")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("heads", "Remove 25 % of the attention heads, what has the smallest weights, the same share in each layer"),
        (
            "mlp",
            "Remove 25 % of the width between the two layers of each MLP, what has the smallest weights, the same share in each layer",
        ),
        (
            "heads_and_mlp",
            "Remove 25 % of the attention heads and of the width between the two layers of each MLP, what has the smallest weights, "
            "the same share in each layer",
        ),
    ],
)
def test_a_sentence_says_what_goes(method: str, text: str) -> None:
    assert step_text(Prune(method=method, ratio=0.25)) == text
    assert Prune(method=method, ratio=0.25).is_smaller
