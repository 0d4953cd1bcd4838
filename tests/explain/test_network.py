"""Networks of stored trials: the shipped examples, pruned, rounded and distilled."""

import pytest

from engine.errors import InputError, NotFoundError
from engine.explain.network import layer_times, names_hold, network, network_difference, network_json, network_rows
from engine.graph.graph_difference import BITS, FIRST_ALONE, NARROWER, SAME, summary
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill
from tests.helpers.trial_factory import INT8, trial


def _trial(example, label):
    store, _, sweep, ids = example
    return store.trial(sweep, ids[label])


def test_a_pruned_and_rounded_network_is_matched_layer_by_layer(example):
    found = network_difference(
        _trial(example, "baseline"), _trial(example, "channels −50 % · finetune 1×20k · int8"), example[1]
    )

    assert summary(found) == "10 of 10 layers narrower, 10 in other bits"
    layers = [p for p in found.pairs if found.box(p).is_layer]
    assert {p.how for p in layers} == {"name"}
    assert {p.changes for p in layers} == {(NARROWER, BITS)}
    # Sums have lost their names on the way, and are where they were.
    assert {p.how for p in found.pairs if found.box(p).op_type == "Add"} == {"place"}
    assert all(p.changes == (SAME,) for p in found.pairs if p not in layers)


def test_weights_alone_in_few_bits_are_told_as_such(example):
    found = network_difference(_trial(example, "baseline"), _trial(example, "4-bit weights"), example[1])

    assert {p.said for p in found.pairs if found.box(p).is_layer} == {("weights 32 → 4 bits",)}


def test_a_student_of_another_kind_is_no_narrower_teacher(example):
    found = network_difference(_trial(example, "baseline"), _trial(example, "distil ds_cnn (2×25k)"), example[1])

    assert not found.lineage
    # Both have a layer /0/0.0/Conv, which are two layers.
    assert [p.changes for p in found.pairs if found.title(p) == "0/0.0/Conv" and p.first is not None] == [
        (FIRST_ALONE,)
    ]


def test_bytes_are_those_of_the_file(example):
    own = _trial(example, "int8")
    graph = network(own, example[1])

    assert sum(box.bytes or 0 for box in graph.boxes) == sum(own.size_layers.values())
    assert sum(box.params or 0 for box in graph.boxes) == own.params
    assert sum(box.macs or 0 for box in graph.boxes) == own.macs
    assert len(network_rows(graph)) == len(network_json(graph)["boxes"]) - 2
    every = network(own, example[1], fold=False)
    assert len(every.boxes) > 2 * len(graph.boxes)
    assert sum(box.params or 0 for box in every.boxes) == own.params


def test_a_trial_without_a_file_is_refused_in_one_line(example):
    with pytest.raises(InputError, match="has no file"):
        network(trial(INT8, artifact=None), example[1])
    with pytest.raises(NotFoundError, match="is gone"):
        network(trial(INT8, artifact="0" * 64 + ".onnx"), example[1])


def test_names_of_a_network_that_was_built_anew_are_its_own():
    student = Distill(student="ds_cnn")
    assert names_hold(Recipe(), INT8)
    assert names_hold(Recipe(steps=(student,)), Recipe(steps=(student, *INT8.steps)))
    assert names_hold(Recipe(), Recipe(steps=(Distill(student="current"),)))
    assert names_hold(Recipe(), Recipe(steps=(Distill(student="self", width=0.5),)))
    assert not names_hold(Recipe(), Recipe(steps=(student,)))
    assert not names_hold(Recipe(), Recipe(steps=(Distill(student="self", depth=0.5),)))


def test_times_are_those_of_layers():
    why = {
        "by_layer": [
            {"name": "a", "trial_ms": 0.2, "baseline_ms": 0.5},
            {"name": "b", "trial_ms": None, "baseline_ms": 0.1},
            {"name": "", "trial_ms": 0.3, "baseline_ms": 0.3},
        ]
    }
    assert layer_times(why) == {"a": 0.2}
    assert layer_times(why, of_baseline=True) == {"a": 0.5, "b": 0.1}
