"""Layer by layer on the Trial page: asked for, drawn, gathered into a recipe, and opened in New sweep."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from engine.explain import layers, sensitivity
from engine.spec.recipe import Recipe
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from pages.shared import handed_recipe
from tests.helpers.new_sweep import errors, tiles
from tests.helpers.pages import address, open_app, words

pytestmark = pytest.mark.usefixtures("home")
NAMES = ("/0/0.0/Conv", "/1/conv1/conv1.0/Conv")


def measured(*_: object) -> dict[str, object]:
    """As `measure_layers` says it of two layers."""

    def cells(harm: float) -> list[dict[str, object]]:
        return [
            {
                "bits": b,
                "harm": {"value": h, "low": h - 0.2, "high": h + 0.2},
                "divergence": 0.1,
                "bytes_saved": s,
                "ms_saved": 0.01,
            }
            for b, h, s in ((8, 0.0, 1000), (4, harm, 2000))
        ]

    rows = [
        {"name": n, "also": [], "op_type": "Conv", "params": 144, "cells": cells(h)}
        for n, h in zip(NAMES, (0.1, 3.0), strict=True)
    ]
    return {
        "layers": rows,
        "samples": 500,
        "bits": [8, 4],
        "kernels": "measured",
        "safe": False,
        "metric": {"name": "Accuracy", "unit": "points", "tested": True},
        "divergence": {"name": "KL divergence", "unit": "nats"},
    }


def press(app, label):
    next(b for b in app.button if b.label == label).click().run()
    assert not app.exception
    return app


def test_before_anybody_has_asked_there_are_buttons(example):
    row, trials = example
    app = open_app("trial", sweep=row.id, trial=trials["int8"].id)
    assert {"Run it beside the baseline", "Round each layer alone"} <= {b.label for b in app.button}
    base = open_app("trial", sweep=row.id, trial=trials["baseline"].id)
    assert "Run it beside the baseline" not in {b.label for b in base.button}
    assert "Round each layer alone" in {b.label for b in base.button}


def test_where_answers_differ_is_said_in_words(example):
    row, trials = example
    layers.layers(Store.open(), Artifacts.open(), row.id, trials["int8"].id)
    said = words(open_app("trial", sweep=row.id, trial=trials["int8"].id)).replace("\\", "")
    assert "**Answers begin to differ at " in said
    assert "Against baseline, on 100 test samples" in said


def test_cells_are_gathered_into_a_recipe_that_new_sweep_opens_with(example, monkeypatch):
    row, trials = example
    monkeypatch.setattr("engine.explain.layer_harm.measure_layers", measured)
    sensitivity.sensitivity(Store.open(), Artifacts.open(), row.id, trials["int8"].id)
    app = open_app("trial", sweep=row.id, trial=trials["int8"].id)
    assert "Click cells" in words(app)
    press(app, "Pick the fewest bits")
    said = words(app).replace("\\", "")
    assert "0/0.0/Conv 4, 1/conv1/conv1.0/Conv 8, all others in float: **3.0 kB** of weights saved" in said
    assert "about 0.1 points lost" in said
    link = next(e.proto for e in app.get("page_link") if e.proto.label == "Open in New sweep")
    params = {k: v[0] for k, v in parse_qs(link.query_string.lstrip("?")).items()}
    recipe = handed_recipe.from_params(params)[1]
    assert dict(recipe.steps[-1].layers) == {NAMES[0]: 4}
    opened = open_app("new_sweep", **params)
    assert "/0/0.0/Conv: 4" in opened.text_area(key="form text").value
    assert tiles(opened)["Recipes"] == "2"
    assert "The form cannot show this" in words(opened)
    # From here on the text counts, and a reload brings nothing back.
    assert address(opened) == {}
    press(app, "Clear")
    assert "Click cells" in words(app)


def test_recipes_that_the_form_has_boxes_for_open_in_the_form(example):
    row, _ = example
    recipe = Recipe.from_json([{"step": "quantize", "weight_bits": 4, "activation_bits": 8}])
    opened = open_app("new_sweep", **handed_recipe.to_params(row.id, recipe))
    assert opened.segmented_control(key="form shown as").value == "Form"
    assert tiles(opened)["Recipes"] == "2"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"recipe": "["}, "cannot be read"),
        ({"recipe": "[" * 20_000}, "cannot be read"),
        ({"recipe": json.dumps([{"step": "quantize", "weight_bits": 9, "activation_bits": 8}])}, "weight_bits"),
        ({"from": "<b>nowhere"}, "is not here"),
    ],
)
def test_an_address_that_names_no_recipe_is_one_line_and_changes_nothing(example, changed, says):
    row, _ = example
    recipe = Recipe.from_json([{"step": "quantize", "weight_bits": 4, "activation_bits": 8}])
    app = open_app("new_sweep")
    app.query_params.update(handed_recipe.to_params(row.id, recipe) | changed)
    app.run()
    assert not app.exception
    assert len(errors(app)) == 1
    assert says in errors(app)[0]
    assert tiles(app)["Recipes"] == "24"
