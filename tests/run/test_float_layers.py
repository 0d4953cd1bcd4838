"""How few layers stay in float: the search, and what it makes of a real network."""

from __future__ import annotations

import pytest

from engine.run.float_layers import climbed


@pytest.mark.parametrize("needed", range(34))
def test_the_fewest_are_found_in_few_tries(needed: int) -> None:
    tried: list[int] = []

    def lost(count: int) -> float:
        tried.append(count)
        return 0.4 if count >= needed else 0.6

    assert climbed(lost, 33, 0.5) == needed
    assert len(tried) == len(set(tried))
    assert len(tried) <= 12


def test_where_no_number_is_enough_the_best_of_them_is_taken() -> None:
    assert climbed(lambda count: 2 - 0.1 * count, 7, 0.5) == 7
    assert climbed(lambda count: {0: 3.0, 1: 2.0, 2: 2.5, 4: 2.0, 5: 4.0}[count], 5, 0.5) == 1
