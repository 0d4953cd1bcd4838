"""Preprocessing as a spec may write it."""

from __future__ import annotations

import pytest

from engine.spec.sections import Data


def test_one_number_stands_for_a_list_of_it() -> None:
    assert Data(source="x.npz", preprocess={"mean": 0.5, "std": 2}) == Data(
        source="x.npz", preprocess={"mean": [0.5], "std": [2.0]}
    )
    with pytest.raises(ValueError, match="greater than 0"):
        Data(source="x.npz", preprocess={"mean": 0, "std": 0})
    with pytest.raises(ValueError, match="valid tuple"):
        Data(source="x.npz", preprocess={"mean": True, "std": 1})
