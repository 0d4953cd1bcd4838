"""Starting a sweep from the form and following it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.store import Store
from tests.helpers.other_code import other_code
from tests.helpers.pages import address, enter, open_app, words

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def started(monkeypatch):
    """The commands, with their options, that the page would have started."""
    commands = []

    class Runner:
        def __init__(self, command, **options):
            commands.append((command, options))

        def poll(self):
            return None

    monkeypatch.setattr("pages.shared.runner.subprocess.Popen", Runner)
    return commands


def test_the_form_previews_the_default_sweep():
    app = open_app("new_sweep")
    tiles = {m.label: m.value for m in app.metric}
    assert tiles["Recipes"] == "24"
    assert int(tiles["Nodes"]) < 205
    assert "are shared" in words(app)
    assert "name: my sweep" in app.code[0].value
    assert next(b for b in app.button if b.label == "Start sweep").disabled is False


def test_the_count_of_recipes_follows_the_chips():
    app = open_app("new_sweep")
    app.pills(key="form channels").set_value([0.5]).run()
    assert {m.label: m.value for m in app.metric}["Recipes"] == "12"


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("form name", "", "name"),
        ("form model path", "no_such_net", "no_such_net"),
        ("form data path", "/no/data.npz", "data.npz"),
    ],
)
def test_a_mistake_in_the_form_is_one_clear_line(key, value, complaint):
    app = open_app("new_sweep")
    if key != "form name":
        app.selectbox(key=key.removesuffix(" path")).set_value("by path or name …").run()
    app.text_input(key=key).set_value(value).run()
    assert len(app.error) == 1
    assert complaint in app.error[0].value.replace("\\", "")
    assert not any(b.label == "Start sweep" for b in app.button)


def test_starting_writes_the_spec_and_starts_a_process_of_its_own(started, home):
    app = open_app("new_sweep")
    next(b for b in app.button if b.label == "Start sweep").click().run()
    ((command, options),) = started
    assert command[1:4] == ["-m", "engine.cli", "run"]
    assert options["start_new_session"] is True
    assert Path(command[4]).parent == home / "specs"
    assert Path(command[4]).stem == address(app)["run"]
    assert "the sweep goes on" in words(app)


def test_what_earlier_code_has_finished_is_offered_and_kept_when_ticked(monkeypatch, started):
    """The form opens with the recipes of the shipped example, whose nodes are in every store."""
    with other_code(monkeypatch) as code:
        assert "earlier version" not in words(open_app("new_sweep"))
        code.change("measure/size.py")
        app = open_app("new_sweep")
        assert "of these nodes were finished by an earlier version" in words(app)
        next(c for c in app.checkbox if c.label == "Keep them as they are").check().run()
        next(b for b in app.button if b.label == "Start sweep").click().run()
        assert started[0][0][-1] == "--keep-old-code"


def test_going_on_after_an_upgrade_asks_for_what_earlier_code_has_finished(monkeypatch, started):
    with other_code(monkeypatch) as code:
        code.change("measure/size.py")
        sweep = enter(state="cancelled", pending=20)
        app = open_app("new_sweep", run=sweep.id)
        assert "of these nodes were finished by an earlier version" in words(app)
        next(c for c in app.checkbox if c.label == "Keep them as they are").check().run()
        next(b for b in app.button if b.label == "Go on with it").click().run()
        assert started[0][0][-1] == "--keep-old-code"


def test_a_runner_that_ends_at_once_leaves_its_last_words(monkeypatch, home):
    class Runner:
        def __init__(self, command, stdout, **options):
            stdout.write(b"paretoscope: the disk is full; make room\n")

        def poll(self):
            return 2

    monkeypatch.setattr("pages.shared.runner.subprocess.Popen", Runner)
    app = open_app("new_sweep")
    next(b for b in app.button if b.label == "Start sweep").click().run()
    assert "the disk is full; make room" in words(app)


def test_progress_counts_and_cancel_asks_the_runner_to_stop():
    sweep = enter(state="running", pending=20)
    store = Store.open()
    store.beat(sweep.id, nodes_done=30, elapsed_s=42, remaining_s=100)
    app = open_app("new_sweep", run=sweep.id)
    next(b for b in app.button if b.label == "Cancel").click().run()
    assert store.beat(sweep.id, 31, 43, 99) is True


@pytest.mark.parametrize(
    ("state", "text"),
    [("done", "The sweep is done"), ("cancelled", "was cancelled"), ("failed", "The sweep failed: the disk is full")],
)
def test_an_ended_sweep_says_how_it_ended(state, text):
    sweep = enter(state=state, pending=20)
    assert text in words(open_app("new_sweep", run=sweep.id))


def test_following_a_sweep_that_does_not_exist_says_so():
    assert "There is no sweep '../../x' here" in words(open_app("new_sweep", run="../../x")).replace("\\", "")
