"""The lineage map: its tree is the recipes' own, however they share their steps."""

from __future__ import annotations

import numpy as np
import pytest

from engine.figures.lineage import MOST_NODES, lineage_alt, lineage_figure, lineage_info
from engine.frontier.recommendation import View, choose
from engine.spec.recipe import Recipe
from engine.trials.trial import Trial
from tests.helpers.trial_factory import sweep_trials, trial

TRIALS = sweep_trials(failed=1, pending=2)
INFO = lineage_info(TRIALS, choose(TRIALS, View()), "accuracy", "size_bytes")


def test_every_node_is_one_step_longer_than_its_parent_and_every_finished_trial_has_one():
    done = {t.id: t for t in TRIALS if t.state == "done"}
    assert {n.trial_id for n in INFO.nodes if n.trial_id} == set(done)
    assert INFO.left_out == 0
    for node in INFO.nodes:
        assert (node.parent is None) == (node.x == 0)
        if node.parent is not None:
            assert INFO.nodes[node.parent].x == node.x - 1
        if node.trial_id:
            assert len(done[node.trial_id].recipe.steps) == node.x
    assert sum(n.parent is None for n in INFO.nodes) == 1


def test_a_prefix_that_is_no_recipe_is_drawn_without_numbers():
    between = [n for n in INFO.nodes if n.trial_id is None]
    # The space has a finetune after each prune, so the pruned network alone is never a recipe.
    assert between
    assert all(n.label.startswith("channels") and n.colour is None for n in between)


def test_rows_do_not_collide_and_parents_are_in_the_middle_of_their_children():
    leaves = [n.y for i, n in enumerate(INFO.nodes) if not any(m.parent == i for m in INFO.nodes)]
    assert sorted(leaves) == list(range(len(leaves)))
    for i, node in enumerate(INFO.nodes):
        children = [m.y for m in INFO.nodes if m.parent == i]
        if children:
            assert node.y == pytest.approx(np.mean(children))


def test_marks_carry_their_trial_and_a_larger_number_is_a_larger_mark():
    figure = lineage_figure(INFO)
    drawn = {row[0]: size for t in figure.data if t.customdata is not None and t.name != "on the way"
             for row, size in zip(t.customdata, t.marker.size, strict=True)}  # fmt: skip
    done = [t for t in TRIALS if t.state == "done"]
    assert set(drawn) == {t.id for t in done}
    by_size = sorted(done, key=lambda t: t.size_bytes)
    assert drawn[by_size[0].id] < drawn[by_size[-1].id]
    assert "21 measured recipes" in lineage_alt(INFO)


def test_labels_from_recipes_are_text_and_not_markup():
    bad = trial(Recipe.from_json([{"step": "distill", "student": "torchvision:<b>x</b>"}]))
    trials = [trial(), bad]
    info = lineage_info(trials, choose(trials, View()), "accuracy", "size_bytes")
    assert all("<b>x" not in n.hover for n in info.nodes)


def test_a_map_of_very_many_recipes_keeps_the_frontier_and_says_how_many_it_leaves_out():
    def made(i: int) -> Trial:
        recipe = Recipe.from_json([{"step": "prune", "method": "magnitude", "ratio": (i + 1) / 2000}])
        return trial(recipe, accuracy=0.5 + i / 4000, size_bytes=1000 + i)

    trials = [trial(accuracy=0.4, size_bytes=5000), *(made(i) for i in range(1500))]
    choice = choose(trials, View(x="size_bytes"))
    info = lineage_info(trials, choice, "accuracy", "size_bytes")
    assert len(info.nodes) <= MOST_NODES
    assert info.left_out == 1501 - sum(n.trial_id is not None for n in info.nodes)
    few = [made(3), made(900)]
    on_map = {
        n.trial_id
        for n in lineage_info([*few, *trials], choose(few, View(x="size_bytes")), "accuracy", "size_bytes").nodes
    }
    assert {t.id for t in few} <= on_map


def test_nothing_measured_gives_an_empty_map():
    info = lineage_info([], choose([], View()), "accuracy", "size_bytes")
    assert info.nodes == ()
    lineage_figure(info)
