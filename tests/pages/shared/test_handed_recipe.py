"""A recipe in an address, as hostile as an address may be."""

from __future__ import annotations

import json

import pytest

from engine.errors import SpecError
from pages.shared.handed_recipe import from_params


@pytest.mark.parametrize(
    "text",
    [
        "[" * 2000,
        "{}",
        '[{"step": ["prune"]}]',
        '[{"step": "quantize", "weight_bits": 1e400}]',
        json.dumps([{"step": "quantize", "weight_bits": 8, "activation_bits": 8, "layers": {"\ud800": 8}}]),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        from_params({"recipe": text, "from": "any"})
    assert "\n" not in str(refused.value)
