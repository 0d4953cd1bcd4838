"""How much of the frontier is found, said of any sweep: the same figure as a run's, nothing where nothing can be said."""

from __future__ import annotations

import numpy as np
import pytest

from engine.search import found
from engine.search.found import found_text, share_found
from engine.search.frugal import FrugalChooser
from engine.search.prices import Prices
from engine.spec.recipe import Recipe
from engine.trials.trial import Trial
from tests.helpers.search_cases import SMALL, measured, share, sweep, walk

SEARCH = sweep("random", space=SMALL)


def test_it_is_what_a_run_says_and_near_the_truth():
    from scipy import sparse

    every = [measured(r) for r in SEARCH.all_recipes]
    known = walk(SEARCH, 22)
    nothing = sparse.csr_array((len(every), 1))
    run = FrugalChooser(SEARCH).next({t.id: t for t in known}, {}, (), (), Prices(nothing, None, np.ones(1)))
    said = share_found(SEARCH, known)
    assert said == run.found
    assert said == pytest.approx(share(known, every), abs=0.1)


def test_nothing_is_said_before_anything_is_known_or_when_nothing_is_left(monkeypatch: pytest.MonkeyPatch):
    every = [measured(r) for r in SEARCH.all_recipes]
    assert share_found(SEARCH, []) is None
    assert share_found(SEARCH, [measured(Recipe()), *(Trial(t.id, t.recipe) for t in every[1:])]) is None
    assert share_found(SEARCH, every) is None
    failed = [*every[:9], *(Trial(t.id, t.recipe, state="failed") for t in every[9:])]
    assert share_found(SEARCH, failed) is None
    # Of the baseline nothing is known, so nothing can be counted from it.
    assert share_found(SEARCH, every[1:9]) is None
    monkeypatch.setattr(found, "MOST", 5)
    assert share_found(SEARCH, every[:9]) is None


def test_limits_that_nothing_keeps_are_not_taken_for_a_frontier_that_is_found():
    never = {"target": {"limits": {"size_bytes": 10}}, "search": {"method": "gain", "enough": 0.9}}
    aimed = sweep("gain", space=SMALL, **never)
    known = walk(SEARCH, 12)
    assert share_found(aimed, known) is None
    from scipy import sparse

    prices = Prices(sparse.csr_array((len(aimed.all_recipes), 1)), None, np.ones(1))
    step = FrugalChooser(aimed).next({t.id: t for t in known}, {}, (), (), prices)
    # Nor does the search end there: it looks for what comes nearest.
    assert (step.found, step.recipe is None) == (None, False)


@pytest.mark.parametrize(
    "asked",
    [
        {"target": {"limits": {"top5": 0.9}}},
        {"target": {"limits": {"size_bytes": 0}}},
        {"search": {"method": "gain", "objectives": ["latency_ms", "top5"]}},
    ],
    ids=["limit", "nothing", "objectives"],
)
def test_of_what_no_recipe_has_measured_nothing_is_said_and_the_search_goes_on(asked: dict[str, object]):
    from scipy import sparse

    chosen = sweep("gain", space=SMALL, **asked)
    known = walk(SEARCH, 4)
    prices = Prices(sparse.csr_array((len(chosen.all_recipes), 1)), None, np.ones(1))
    step = FrugalChooser(chosen).next({t.id: t for t in known}, {}, (), (), prices)
    assert share_found(chosen, known) is None
    assert step.found is None
    assert step.recipe is not None


@pytest.mark.parametrize("most", [6, 1000], ids=["some", "all"])
def test_what_is_under_way_is_not_found_yet(most: int):
    from scipy import sparse

    known = walk(SEARCH, 2)
    busy = [r.id for r in SEARCH.all_recipes if r.id not in {t.id for t in known}][:most]
    prices = Prices(sparse.csr_array((len(SEARCH.all_recipes), 1)), None, np.ones(1))
    step = FrugalChooser(SEARCH).next({t.id: t for t in known}, {}, busy, (), prices)
    # What a cancelled run leaves is what is measured by then.
    assert step.found == pytest.approx(share_found(SEARCH, known), abs=0.1)


def test_the_words_say_unlikely_only_where_it_is():
    assert found_text(0.9, 7) == "found: about 90.0% of the frontier's volume that is expected of all recipes"
    assert found_text(0.995, 7).endswith("; the 7 that are left are unlikely to improve it")
    assert found_text(1.0, 0) == "no recipe is left to measure"
