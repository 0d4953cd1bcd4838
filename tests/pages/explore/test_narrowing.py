"""Filter, brush, what is kept and left out, and the table's columns: Explore run as Streamlit runs it."""

from __future__ import annotations

import json

import pytest

from engine.frontier.brush import box, brush_text, inside, loop
from engine.frontier.columns import Trials
from engine.frontier.matching import match
from engine.frontier.recommendation import View, choose
from engine.metrics import shown
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")
TRIALS = Trials.of(sweep_trials())
BOX = box({"latency_ms": (0.3, 0.6), "accuracy": (0.9, 1.0)})
IN_BOX = {TRIALS.fact("label")[i] for i in inside(TRIALS, BOX).nonzero()[0]}


def listed(app) -> list[str]:
    return list(app.dataframe[0].value["recipe"])


def plain(app) -> str:
    return words(app).replace("\\", "")


def drawn(app) -> set[str]:
    figure = json.loads(app.get("plotly_chart")[0].proto.spec)
    return {owner[0] for trace in figure["data"] for owner in trace.get("customdata", [])}


def test_a_filter_leaves_out_of_chart_table_frontier_and_recommendation_what_it_does_not_match():
    enter()
    asked = "accuracy > 91 and weight_bits = 8"
    app = open_app(where=asked)
    found = match(TRIALS, asked)
    wanted = TRIALS.take(found.rows)
    assert sorted(listed(app)) == sorted(wanted.fact("label"))
    assert drawn(app) == set(wanted.ids)
    assert f"{len(wanted)} of 24 recipes are left; 8 lack weight_bits, and are not matched." in plain(app)
    front = choose(wanted, View()).front
    marks = dict(zip(app.dataframe[0].value["recipe"], app.dataframe[0].value["marks"], strict=True))
    standing = {name for name, mark in marks.items() if "frontier" in mark.split(", ")}
    assert standing == {wanted.fact("label")[wanted.place[i]] for i in front}
    assert "Ship “" in words(app)
    assert "there is no baseline" not in words(app)
    assert f"all {len(wanted)} recipes that are looked at remain" in words(app)
    assert "also of those that are left out above" in words(app)
    assert address(app)["where"] == asked
    # Wider again, and the same as ever.
    app.button(key="explore where clear").click().run()
    assert len(listed(app)) == 24
    assert "all 24 recipes remain" in words(app)
    assert "are left out above" not in words(app)
    assert "where" not in address(app)


def test_a_filter_is_typed_and_a_mistake_in_it_is_one_line_that_leaves_nothing_out():
    enter()
    app = open_app()
    app.text_input(key="explore where").set_value("size < 20 kB").run()
    assert len(listed(app)) == int(match(TRIALS, "size < 20 kB").rows.sum()) < 24
    app.text_input(key="explore where").set_value("size < 20").run()
    assert len(listed(app)) == 24
    assert "size needs a unit: write 20 kB, or 20 B. Nothing is left out" in plain(app)
    assert address(app)["where"] == "size < 20"
    app.text_input(key="explore where").set_value("accuracy > 99.9").run()
    assert "None of the 24 measured recipes is left by the filter." in words(app)
    # No empty table; what is below is of all recipes, and says so.
    assert ["recipe" in table.value for table in app.dataframe] == [False]
    assert "**Of all 24 measured recipes of the sweep**, also of those that are left out above." in words(app)
    app.button(key="explore show all").click().run()
    assert len(listed(app)) == 24


@pytest.mark.parametrize("shape", ["frontier", "3d", "parallel", "matrix", "map", "progress"])
def test_a_brush_in_the_address_is_told_in_words_and_the_table_lists_what_it_marks(shape):
    enter()
    app = open_app(brush=brush_text(BOX), **({} if shape == "frontier" else {"chart": shape}))
    assert set(listed(app)) == IN_BOX
    assert f"**{len(IN_BOX)} of 24** recipes are marked: latency 0.300 to 0.600 ms" in plain(app)
    assert address(app)["brush"] == brush_text(BOX)
    app.button(key="explore brush clear").click().run()
    assert len(listed(app)) == 24
    assert "brush" not in address(app)


def test_a_brush_is_in_no_figure_but_the_one_in_space():
    enter()
    for shape in ("frontier", "parallel", "matrix", "map"):
        specs = [
            open_app(chart=shape, **extra).get("plotly_chart")[0].proto.spec
            for extra in ({}, {"brush": brush_text(BOX)})
        ]
        assert specs[0] == specs[1]
    figure = json.loads(open_app(chart="3d", brush=brush_text(BOX)).get("plotly_chart")[0].proto.spec)
    assert len(next(t for t in figure["data"] if t["name"] == "marked")["x"]) == len(IN_BOX)


def test_marked_recipes_are_kept_then_left_out_then_all_are_back():
    enter()
    app = open_app(brush=brush_text(BOX))
    app.button(key="explore keep").click().run()
    assert set(listed(app)) == IN_BOX
    assert drawn(app) == {i for i, name in zip(TRIALS.ids, TRIALS.fact("label"), strict=True) if name in IN_BOX}
    assert "recipes are left after one brush" in words(app)
    shared = address(app)
    assert "brush" not in shared
    app.button(key="explore cut undo").click().run()
    assert len(listed(app)) == 24
    # A link shows the same to somebody else, who goes on from there.
    other = open_app(
        **shared,
        brush=brush_text(loop("latency_ms", "accuracy", False, False, [(0, 0), (0.45, 0), (0.45, 100), (0, 100)])),
    )
    fast = {n for n, t in zip(TRIALS.fact("label"), TRIALS.numbers("latency_ms").value, strict=True) if t < 0.45}
    assert set(listed(other)) == IN_BOX & fast
    other.button(key="explore exclude").click().run()
    assert set(listed(other)) == IN_BOX - fast
    assert address(other)["cuts"].startswith("keep~latency_ms~0.3~0.6~accuracy~0.9~1!out~lasso~")
    other.button(key="explore cut reset").click().run()
    assert len(listed(other)) == 24


def test_a_brush_becomes_limits():
    enter()
    app = open_app(brush=brush_text(BOX), max_size_bytes="200000")
    app.button(key="explore to limits").click().run()
    found = {k: v for k, v in address(app).items() if k.startswith(("min_", "max_"))}
    assert found == {"min_accuracy": "0.9", "max_latency_ms": "0.6", "max_size_bytes": "200000"}
    assert "brush" not in address(app)
    assert len(listed(app)) == 24


def test_another_sweep_has_no_brush_of_this_one():
    first, second = enter(), enter("second")
    app = open_app(sweep=second.id, brush=brush_text(BOX), where="accuracy > 80")
    app.selectbox(key="pick sweep").set_value(first.id).run()
    assert "brush" not in address(app)
    assert address(app)["where"] == "accuracy > 80"


def test_columns_are_chosen_ordered_pinned_and_sorted_by():
    enter()
    app = open_app(columns="latency_ms,weight_bits,accuracy", pin="latency_ms", sort="-size_bytes")
    element = app.dataframe[0]
    assert list(element.proto.column_order) == ["recipe", "latency_ms", "weight_bits", "accuracy"]
    assert json.loads(element.proto.columns)["latency_ms"]["pinned"] is True
    sizes = list(element.value["size_bytes"])
    assert sizes == sorted(sizes, reverse=True)
    assert set(element.value["weight_bits"].dropna()) == {4.0, 8.0}
    assert address(app).items() >= {"columns": "latency_ms,weight_bits,accuracy", "sort": "-size_bytes"}.items()
    app.button(key="explore columns reset").click().run()
    assert not app.dataframe[0].proto.column_order
    assert "columns" not in address(app)


def test_columns_that_do_not_vary_are_hidden_and_named_until_asked_for():
    enter()
    app = open_app()
    assert "columns that do not vary are hidden" in words(app) or "column that does not vary is hidden: Truth" in words(
        app
    )
    app.toggle(key="explore columns every").set_value(True).run()
    assert "not vary" not in words(app)
    assert address(app)["every"] == "1"


def test_what_lacks_a_value_is_sorted_last_either_way_and_an_unknown_column_sorts_nothing():
    enter()
    usual = listed(open_app())
    for sort in ("weight_bits", "-weight_bits"):
        found = open_app(sort=sort, columns="weight_bits").dataframe[0].value["weight_bits"]
        assert found.isna().tolist() == [False] * 16 + [True] * 8
        assert found.dropna().is_monotonic_increasing is (sort == "weight_bits")
    assert listed(open_app(sort="beauty")) == usual
    assert listed(open_app(sort="-marks")) == usual[::-1]
    app = open_app(sort="latency_ms")
    assert list(app.dataframe[0].value["latency_ms"]) == sorted(
        shown("latency_ms", v) for v in TRIALS.numbers("latency_ms").value
    )
