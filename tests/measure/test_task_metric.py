"""A metric of the user's own, called on outputs and targets."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import DatasetError, StepError
from engine.measure.task_metric import metric_of, metric_options, scored
from engine.spec.metric import MetricChoice

OUTPUTS = np.arange(12, dtype=np.float32).reshape(6, 2)
TARGETS = np.array([1, 2, 5, 7, 9, 10], np.float32)


def own(folder, body: str, **more: object) -> MetricChoice:
    (folder / "mine.py").write_text(f"import numpy as np\n\n\ndef f(outputs, targets):\n    {body}\n")
    return MetricChoice(source=f"{folder / 'mine.py'}:f", higher_is_better=False, **more)


def test_a_number_for_each_sample(tmp_path):
    found, took = scored(own(tmp_path, "return np.abs(outputs[:, 1] - targets)"), OUTPUTS, TARGETS)
    assert found.samples.tolist() == [0, 1, 0, 0, 0, 1]
    assert took is None


def test_one_number_for_all_is_drawn(tmp_path):
    found, _ = scored(own(tmp_path, "return np.abs(outputs[:, 1] - targets).max()"), OUTPUTS, TARGETS)
    assert found.value == 1
    # Now and then none of the two samples that are off is drawn.
    assert 0 < (found.draws == 0).mean() < 0.3


def test_what_decodes_is_timed_apart(tmp_path):
    (tmp_path / "text.py").write_text("def words(outputs):\n    return ['a b'] * len(outputs)\n")
    choice = MetricChoice(name="wer", decode=f"{tmp_path / 'text.py'}:words")
    found, took = scored(choice, OUTPUTS, np.array(["a b", "a c", "a b", "a b", "a b", "a b"]))
    assert found.value == pytest.approx(1 / 12)
    assert took > 0


def test_its_code_is_in_the_key(tmp_path):
    first = metric_options(own(tmp_path, "return 1.0"))
    assert metric_of(first) == own(tmp_path, "return 1.0")
    assert metric_options(own(tmp_path, "return 2.0")) != first
    with pytest.raises(DatasetError, match=r"gone.py does not exist; give the path of a Python file"):
        metric_options(MetricChoice(source=str(tmp_path / "gone.py:f"), higher_is_better=True))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return outputs",
            r"returned an array of shape \(6, 2\); return one number for each of 6 samples, or one for all",
        ),
        ("return 'good'", "returned a str of 4; return one number"),
        ("return targets / 0", "is not a number for 6 of 6 samples"),
        ("return outputs[99]", r"failed: IndexError: .* \(mine.py, line 5\); fix the function"),
    ],
)
def test_what_a_function_gets_wrong_is_one_line(tmp_path, body, message):
    with pytest.raises(StepError, match=message), np.errstate(divide="ignore"):
        scored(own(tmp_path, body), OUTPUTS, TARGETS)


def test_without_targets_there_is_nothing_to_count(tmp_path):
    with pytest.raises(StepError, match="needs targets, but the test samples have none"):
        scored(own(tmp_path, "return 1.0"), OUTPUTS, None)
    with pytest.raises(StepError, match="has no function 'g'"):
        scored(own(tmp_path, "return 1.0").model_copy(update={"source": f"{tmp_path / 'mine.py'}:g"}), OUTPUTS, TARGETS)


def test_a_function_that_compares_every_sample_with_every_other_is_refused(tmp_path):
    column = TARGETS[:, None] + np.float32(0.5)
    with pytest.raises(
        StepError, match=r"for outputs \(6, 1\) and targets \(6,\), and 0.5 for the same numbers in one shape"
    ):
        scored(own(tmp_path, "return float(np.abs(outputs - targets).mean())"), column, TARGETS)
    for body in ("return np.abs(outputs[:, 0] - targets)", "return float(np.abs(outputs.ravel() - targets).mean())"):
        assert scored(own(tmp_path, body), column, TARGETS)[0].value == pytest.approx(0.5)


def test_a_function_may_import_what_lies_beside_it_as_it_runs(tmp_path):
    (tmp_path / "lazy_sibling_of_a_metric.py").write_text("def half(x):\n    return x / 2\n")
    body = "from lazy_sibling_of_a_metric import half; return half(np.abs(outputs[:, 1] - targets))"
    assert scored(own(tmp_path, body), OUTPUTS, TARGETS)[0].value == pytest.approx(1 / 6)
    with pytest.raises(StepError, match="No module named 'nothing_of_the_kind'"):
        scored(own(tmp_path, "import nothing_of_the_kind"), OUTPUTS, TARGETS)
