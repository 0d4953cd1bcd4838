"""The spec of a new sweep as text beside the form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.new_sweep import errors, press, search_boxes, tiles, turn_to, typed
from tests.helpers.pages import open_app, words

pytestmark = pytest.mark.usefixtures("home")
INEXPRESSIBLE = """name: odd
model: {source: resnet8}
space: {finetune: {epochs: 3}, quantize: [null, {weight_bits: 8, activation_bits: 8}]}
"""


def test_the_text_is_the_form_and_the_form_is_the_text():
    app = turn_to(open_app("new_sweep"), "As YAML")
    text = app.text_area(key="form text").value
    assert "student: ds_cnn" in text
    assert tiles(app)["Recipes"] == "24"
    app.text_area(key="form text").set_value(text.replace("[0.25, 0.5, 0.7]", "[0.33]")).run()
    assert tiles(app)["Recipes"] == "12"
    assert "The form shows the same" in words(app)
    turn_to(app, "Form")
    assert tiles(app)["Recipes"] == "12"
    # A share that the form has no chip for gets one.
    assert app.pills(key="form channels").value == [0.33]
    assert "33 %" in app.pills(key="form channels").options
    app.pills(key="form channels").set_value([0.33, 0.5]).run()
    assert "ratio: [0.33, 0.5]" in turn_to(app, "As YAML").text_area(key="form text").value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: [", "line 1, column 8"),
        (
            "model: {source: resnet8}\nspace: {quantize: {weight_bits: 9, activation_bits: 8}}",
            "space.quantize.weight_bits",
        ),
        (
            "model: {source: resnet8}\nspace: {quantize: {weight_bits: 8, activation_bits: 8}, prune: {method: nm}}",
            "cannot follow",
        ),
    ],
)
def test_a_mistake_in_the_text_is_one_line_and_leaves_the_form_alone(text, says):
    app = typed(text)
    assert len(errors(app)) == 1
    assert says in errors(app)[0]
    assert not any(b.label == "Start sweep" for b in app.button)
    turn_to(app, "Form")
    assert tiles(app)["Recipes"] == "24"
    assert not errors(app)
    assert "the text has a mistake" in words(app)
    # And the text is still there to be put right.
    assert turn_to(app, "As YAML").text_area(key="form text").value == text


@pytest.mark.parametrize("place", ["![](http://evil.net/x.png): 1", "model: {source: '![](http://evil.net/x.png)'}"])
def test_what_an_uploaded_text_says_is_never_drawn(place):
    app = typed(place)
    assert app.error[0].value.count("http") == app.error[0].value.count(r"\!\[\]\(http\:") == 1


def test_what_the_form_cannot_show_is_run_from_the_text(monkeypatch):
    started = []

    class Runner:
        def __init__(self, command, **options):
            started.append(command[4])

        def poll(self):
            return None

    monkeypatch.setattr("pages.shared.runner.subprocess.Popen", Runner)
    app = typed(INEXPRESSIBLE)
    assert "The form cannot show this" in words(app)
    assert "finetune 3" in words(app)
    assert tiles(app)["Recipes"] == "3"
    press(app, "Start sweep")
    assert "epochs: 3" in Path(started[0]).read_text()


def test_a_text_that_the_form_cannot_show_is_dropped_only_when_told_to():
    app = turn_to(typed(INEXPRESSIBLE), "Form")
    app.pills(key="form channels").set_value([0.5]).run()
    assert turn_to(app, "As YAML").text_area(key="form text").value == INEXPRESSIBLE
    press(app, "Write it anew from the form")
    assert "ratio: [0.5]" in app.text_area(key="form text").value
    assert tiles(app)["Recipes"] == "12"


def test_a_file_is_read_like_what_is_typed():
    app = turn_to(open_app("new_sweep"), "As YAML")
    text = (
        "name: from a file\nmodel: {source: ds_cnn}\nspace: {quantize: [null, {weight_bits: 8, activation_bits: 8}]}\n"
    )
    app.file_uploader[0].set_value(("../../etc/passwd.yaml", text.encode(), "application/yaml")).run()
    assert app.text_area(key="form text").value == text
    assert tiles(app)["Recipes"] == "2"
    turn_to(app, "Form")
    assert app.text_input(key="form name").value == "from a file"
    assert app.selectbox(key="form model").value == "ds_cnn"


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"x" * 60_000, b"a: \x00"])
def test_a_file_that_is_no_spec_changes_nothing(content):
    app = turn_to(open_app("new_sweep"), "As YAML")
    before = app.text_area(key="form text").value
    app.file_uploader[0].set_value(("spec.yaml", content, "application/yaml")).run()
    assert app.text_area(key="form text").value == before
    assert "That file is not a spec" in errors(app)[0]


def test_the_text_stays_over_a_visit_to_another_page():
    app = typed(INEXPRESSIBLE)
    app.switch_page("pages/overview/page.py").run()
    app.switch_page("pages/new_sweep/page.py").run().run()
    assert app.text_area(key="form text").value == INEXPRESSIBLE
    assert "It is planned and run from the text" in words(app)


def test_a_text_with_a_search_fills_the_form_in():
    app = typed(
        "name: s\nmodel: {source: resnet8}\nsearch: {method: gp}\nspace: {quantize: [null, {weight_bits: [8, 4], activation_bits: 32}]}\n"
    )
    app = turn_to(app, "Form")
    assert search_boxes(app)[0].value == "gp"
    assert "search: {method: gp}" in app.code[0].value
    press(app, "First look")
    assert search_boxes(app)[0].value == "grid"
