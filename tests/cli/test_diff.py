"""`paretoscope diff`: this home, the run before, a home or a backup elsewhere, a file; what is told, and exit codes."""

import json
from dataclasses import replace

import pytest
import typer

from engine.cli.diff import diff
from engine.errors import InputError, NotFoundError, SpecError
from engine.paths import home_path
from engine.store.backup import back_up
from engine.store.store import Store
from tests.helpers.pages import enter
from tests.helpers.trial_factory import sweep_trials

pytestmark = pytest.mark.usefixtures("home")


def changed():
    """The usual 24 recipes: one is much worse, one has grown, one fails."""
    trials = sweep_trials()
    worse = replace(trials[4], accuracy=replace(trials[4].accuracy, value=0.80, low=0.792, high=0.808))
    larger = replace(trials[2], size_bytes=trials[2].size_bytes * 2)
    failed = replace(trials[7], state="failed", error="no such kernel")
    return {4: worse, 2: larger, 7: failed}


@pytest.fixture
def sweep():
    """One that ran, and of which a later run has other numbers."""
    found, store = enter(), Store.open()
    store.earlier.keep(found.id, sweep_trials())
    for trial in changed().values():
        store.save_trial(found.id, trial)
    return found


def told(capsys, *arguments, **options):
    diff(*arguments, as_json=True, **options)
    return json.loads(capsys.readouterr().out)


def test_a_sweep_alone_is_compared_with_its_run_before_the_last(sweep, capsys):
    found = told(capsys, "first")
    trials = sweep_trials()
    assert found["counts"] == {"regression": 2, "new failure": 1, "improvement": 0, "unchanged": 21}
    # Losses of quality first, then of size, then what fails now.
    assert [r["id"] for r in found["recipes"][:3]] == [trials[i].id for i in (4, 2, 7)]
    assert found["recipes"][0]["changes"][0]["verdict"] == "worse"
    assert found["recipes"][0]["changes"][0]["then"] == pytest.approx(trials[4].accuracy.value)
    assert found["recipes"][2]["error"] == "no such kernel"
    assert found["regressions"]
    # Who was on the frontier and cannot be made any more has left it.
    front = {t["id"] for t in found["frontier"]["left"]} | set(found["frontier"]["stayed"])
    from engine.frontier.front import find_front

    assert {t.id for t in find_front(trials, found["frontier"]["objectives"]).trials} == front
    assert found["recommendation"]["then"]["sentence"].startswith("Ship")
    diff("first")
    text = capsys.readouterr().out
    assert "2 worse, 1 failed now, 0 better, 21 unchanged." in text
    assert "▼" in text
    assert text.index("Worse") < text.index("Failed now")
    with pytest.raises(typer.Exit) as ended:
        diff("first", fail_on_regression=True)
    assert ended.value.exit_code == 1


def test_tolerances_are_in_points_and_percent(sweep, capsys):
    found = told(capsys, "first", max_drop=50.0, max_growth=150.0)
    assert found["counts"]["regression"] == 0
    assert found["counts"]["new failure"] == 1
    with pytest.raises(SpecError, match="0 or more"):
        diff("first", max_drop=-1.0)


def test_the_other_side_may_be_a_backup_a_home_or_a_file(sweep, tmp_path, capsys):
    back_up(tmp_path / "yesterday.zip")
    records = [t.to_json() | {"measured": []} for t in Store.open().trials(sweep.id)]
    (tmp_path / "trials.json").write_text(json.dumps(records))
    for side in (str(tmp_path / "yesterday.zip"), f"{home_path()}:first", str(tmp_path / "trials.json")):
        found = told(capsys, side, "first", fail_on_regression=True)
        assert found["counts"] == {"regression": 0, "new failure": 0, "improvement": 0, "unchanged": 24}, side
        # A run that is worse than this one, seen from there: `first` has grown better.
        assert told(capsys, side, "first@before")["counts"]["improvement"] == 3


def test_what_the_specs_differ_in_is_told(capsys):
    enter("one")
    enter("two", space={"quantize": [None, {"weight_bits": 8, "activation_bits": 8}]})
    found = told(capsys, "one", "two")
    assert any(line.startswith("space.prune: ") and line.endswith("nothing now") for line in found["differs"])
    assert found["gone"] == []


@pytest.mark.parametrize(
    ("then", "error", "says"),
    [
        ("example-resnet8", NotFoundError, "has no earlier run here"),
        ("/no/such/folder:first", NotFoundError, "is no home folder"),
        ("gone.json", NotFoundError, "does not exist"),
        ("nobody", NotFoundError, "there is no sweep"),
    ],
)
def test_mistakes_are_told_in_a_line(then, error, says):
    with pytest.raises(error, match=says):
        diff(then)


def test_a_file_that_holds_something_else_and_a_sweep_without_results_are_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"id": 3}')
    with pytest.raises(InputError, match="is not what `paretoscope trials SWEEP --json` prints"):
        diff(str(tmp_path / "x.json"), "example-resnet8")
    enter("still", pending=24)
    with pytest.raises(SpecError, match="has no measured recipe"):
        diff("still", "example-resnet8")
