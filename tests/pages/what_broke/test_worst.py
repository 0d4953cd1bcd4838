"""The worst samples of tasks other than classes, drawn as what they are."""

from __future__ import annotations

import numpy as np
from streamlit.testing.v1 import AppTest


def drawn(shape, target_shape, kind):
    def script(shape, target_shape, kind):
        from types import SimpleNamespace

        import numpy as np

        from engine.quality.changed_values import changes
        from engine.quality.values import Values
        from pages.what_broke import worst

        made = np.random.default_rng(1)
        before = made.normal(size=(5, *shape)).astype(np.float32)
        after = before.copy()
        after[3] += 2.0
        after[1] += np.linspace(0, 0.5, after[1].size, dtype=np.float32).reshape(shape)
        targets = None if target_shape is None else made.integers(0, 3, size=(5, *target_shape)).astype(kind)
        split = SimpleNamespace(inputs=made.normal(size=(5, 3, 8, 8)).astype(np.float32), targets=targets)
        measured_on = SimpleNamespace(split=split, are_pictures=True)
        old, new = Values.of(before, None), Values.of(after, None)
        worst.show(changes(old, new, targets, None), None, measured_on, old, new)

    app = AppTest.from_function(script, args=(shape, target_shape, kind), default_timeout=60).run()
    assert not app.exception
    return app


def titles(app):
    return [c.value for c in app.caption]


def test_maps_are_shown_beside_input_and_target_the_worst_first():
    app = drawn((4, 8, 8), (8, 8), np.int64)
    assert titles(app)[1:6] == ["Input", "Target", "Baseline", "This recipe", "Apart"]
    assert [m.value.split("**")[1] for m in app.markdown] == ["Sample 3", "Sample 1"]
    assert app.dataframe[0].value["Sample"].tolist() == [3, 1]
    assert app.dataframe[0].value["Furthest apart"][0].startswith("at ")


def test_lines_are_shown_as_lines_and_numbers_beside_their_input():
    assert titles(drawn((2, 40), (2, 40), np.float32))[1:5] == ["Input", "Target", "Baseline", "This recipe"]
    assert titles(drawn((2, 40), None, None))[1:4] == ["Input", "Baseline", "This recipe"]
    numbers = drawn((2,), (2,), np.float32)
    assert "→" in titles(numbers)[1]
    assert "Furthest apart" not in numbers.dataframe[0].value


def test_without_labels_the_samples_that_got_another_answer_are_listed():
    def script():
        from types import SimpleNamespace

        import numpy as np

        from engine.quality.predictions import Predictions
        from pages.what_broke import changed_answers

        before = Predictions(np.array([0, 1, 2, 0], np.uint16))
        after = Predictions(np.array([0, 2, 2, 1], np.uint16))
        split = SimpleNamespace(labels=np.full(4, -1), inputs=np.zeros((4, 1, 8, 8), np.float32))
        measured_on = SimpleNamespace(split=split, are_pictures=True, noun="image", classes=("cat", "dog", "cow"))
        changed_answers.show(before, after, measured_on)

    app = AppTest.from_function(script, default_timeout=60).run()
    assert not app.exception
    assert app.dataframe[0].value[["Sample", "Baseline says", "This recipe says"]].values.tolist() == [
        [1, "dog", "cow"],
        [3, "cat", "dog"],
    ]
    assert any("2 of 4" in c.value for c in app.caption)
