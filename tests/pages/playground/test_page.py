"""Playground: images of the dataset and one's own through real files of the shipped example."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.store.store import Store
from pages.playground import drawing
from tests.helpers.pages import address, open_app, words

pytestmark = pytest.mark.usefixtures("home")


def example():
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    return row, store.trials(row.id)


def open_playground(**params):
    row, trials = example()
    return open_app("playground", sweep=row.id, trials=trials[1].id, **params)


def png(pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_a_test_image_is_answered_by_the_baseline_and_the_chosen():
    app = open_playground(image="7")
    data = load_fashion_mnist()
    truth = data.classes[int(data.test.labels[7])]
    assert "Test image 7, 28 × 28 pixels" in words(app)
    assert f"It is: **{truth}**" in words(app).replace("\\", "")
    assert sum(str(m.value).startswith("### ") for m in app.markdown) == 2
    assert "informal" in words(app)


def test_a_series_is_drawn_as_lines_and_asks_for_no_picture():
    store = Store.open()
    row = store.sweep("Example · transformer on pen strokes")
    app = open_app("playground", sweep=row.id, trials=store.trials(row.id)[1].id, image="7")
    assert "Test sample 7, 2 channels of 8 points, a line each." in words(app)
    assert "informal" in words(app)
    assert not app.radio
    assert "Other samples" in [b.label for b in app.button]
    assert len(app.get("image")) == 9


def test_other_images_are_drawn_and_kept_in_the_address():
    app = open_playground()
    before = {b.key for b in app.button if b.key and b.key.startswith("show ")}
    app.button(key="playground next").click().run()
    after = {b.key for b in app.button if b.key and b.key.startswith("show ")}
    assert len(before) == len(after) == 8
    assert before != after
    assert address(app)["draw"] == "1"
    wanted = next(b for b in app.button if b.key in after and not b.disabled)
    wanted.click().run()
    assert address(app)["image"] == wanted.key.removeprefix("show ")


@pytest.mark.parametrize(
    "params", [{"image": "-1"}, {"image": "9" * 50}, {"image": "<b>", "draw": "1e9"}, {"image": "99999", "draw": "٣"}]
)
def test_a_hostile_address_shows_the_first_image(params):
    app = open_playground(**params)
    assert not app.error
    assert "Test image" in words(app)


def test_my_picture_is_resized_and_answered():
    app = open_playground()
    app.radio(key="playground where").set_value("A picture of mine").run()
    assert "Choose a picture" in words(app)
    app.file_uploader(key="playground upload").upload("shoe.png", png(np.full((90, 60, 3), 200, np.uint8)), "image/png")
    app.run()
    assert "Your picture, 28 × 28 pixels" in words(app)
    assert sum(str(m.value).startswith("### ") for m in app.markdown) == 2
    assert "It is" not in words(app)


def test_a_file_that_is_no_picture_is_one_clear_line():
    app = open_playground()
    app.radio(key="playground where").set_value("A picture of mine").run()
    app.file_uploader(key="playground upload").upload("photo.png", b"MZ this is a program", "image/png")
    app.run()
    assert len(app.error) == 1
    assert "not a whole PNG or JPEG" in app.error[0].value
    assert not any(str(m.value).startswith("### ") for m in app.markdown)


def test_a_file_that_is_gone_is_told_where_its_answer_would_be(monkeypatch):
    monkeypatch.setattr("pages.shared.queries.network_file", lambda row, trial: None)
    app = open_playground()
    assert "The file of this recipe is gone" in words(app)


@pytest.mark.parametrize(
    "sent", [None, 7, "data:image/svg+xml;base64,AA==", "data:image/png;base64,***", "x" * 5_000_000]
)
def test_what_a_browser_sends_as_a_drawing_is_checked(monkeypatch, sent):
    monkeypatch.setattr(drawing, "_canvas", lambda **_: SimpleNamespace(picture=sent))
    assert drawing.square("k") is None
