"""Pages with an access file: who sees what, who may do what, and that no way around the guard is left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from engine.errors import AccessError, SetupError
from engine.store.store import Store
from pages.shared import access as page_access
from tests.helpers.pages import enter, words
from tests.helpers.trial_factory import sweep_trials
from tests.helpers.visitors import (
    ANONYMOUS,
    EDITOR,
    PATIENCE_S,
    STRANGER,
    TEAM,
    VIEWER,
    labels,
    person,
    shows_nothing,
    visit,
    write,
)

pytestmark = pytest.mark.usefixtures("home")


def test_without_an_access_file_everything_is_as_it_was():
    enter()
    app = visit({}, "new_sweep")
    assert "Start sweep" in labels(app)
    assert "Sign out" not in labels(app)


@pytest.mark.parametrize("script", ["app.py", "pages/explore/page.py", "pages/new_sweep/page.py"])
@pytest.mark.parametrize("user", [ANONYMOUS, {}, STRANGER, person("bob@example.org", iat=0)])
def test_nobody_without_a_role_sees_anything_by_whatever_way(home: Path, script: str, user: dict[str, Any]):
    sweep = enter("secret sweep")
    write(home)
    app = visit(user, script=script, sweep=sweep.id, run=sweep.id)
    assert shows_nothing(app)
    assert sweep.name not in words(app)
    if user is STRANGER:
        assert "has no role here" in words(app)
        assert labels(app) == ["Sign out"]
    else:
        assert labels(app) == ["Sign in", "Sign in with okta"]
        assert ("run out" in words(app)) == ("iat" in user)


def test_a_viewer_looks_and_exports_and_is_told_who_they_are(home: Path):
    enter()
    write(home)
    app = visit(VIEWER, "explore", trial=sweep_trials()[4].id)
    app.run()
    assert app.dataframe
    assert "bob@example.org" in words(app).replace("\\", "")
    assert "viewer" in words(app)
    assert "Sign out" in labels(app)


def test_a_viewer_gets_no_form_and_no_button_that_changes_anything(home: Path):
    running = enter("now", state="running", pending=20)
    ended = enter("then", state="cancelled", pending=20)
    write(home)
    form = visit(VIEWER, "new_sweep")
    assert "Your role here is viewer" in words(form)
    assert labels(form) == ["Sign out"]
    assert not form.text_input
    # Looking at the progress is looking.
    followed = visit(VIEWER, "new_sweep", run=running.id)
    assert followed.get("progress")
    assert labels(followed) == ["Sign out"]
    assert "was cancelled" in words(visit(VIEWER, "new_sweep", run=ended.id))
    assert "Go on with it" not in labels(visit(VIEWER, "new_sweep", run=ended.id))


def test_a_viewer_reads_notes_and_an_editors_name_stands_under_theirs(home: Path):
    sweep, trial = enter(), sweep_trials()[4]
    write(home)
    editor = visit(EDITOR, "explore", trial=trial.id).run()
    next(b for b in editor.button if b.label == "Pin").click().run()
    next(t for t in editor.text_area if "remember" in t.label).set_value("for Tuesday").run()
    next(b for b in editor.button if b.label == "Save").click().run()
    assert Store.open().notes.of(sweep.id)[trial.id].author == "ana@example.org"
    viewer = visit(VIEWER, "explore", trial=trial.id).run()
    assert "for Tuesday" in words(viewer)
    assert not {"Pin", "Unpin", "Save"} & set(labels(viewer))


def test_only_an_editor_has_the_button_that_deletes(home: Path):
    sweep = enter("then", state="cancelled", pending=20)
    write(home)
    for user, offered in ((VIEWER, False), (EDITOR, True)):
        assert ("Delete" in labels(visit(user, "overview"))) == offered
        assert ("Delete" in labels(visit(user, "new_sweep", run=sweep.id))) == offered


def test_who_loses_the_role_deletes_nothing_with_the_dialog_that_is_open(home: Path):
    sweep = enter("then", state="cancelled", pending=20)
    write(home)
    app = visit(EDITOR, "new_sweep", run=sweep.id)
    next(b for b in app.button if b.label == "Delete").click().run()
    write(home, TEAM.replace("ana@", "someone.else@"))
    next(b for b in app.button if b.label == "Delete it").click().run()
    assert Store.open().sweep(sweep.id).name == "then"


def test_an_editor_has_the_form_and_may_cancel(home: Path):
    sweep = enter(state="running", pending=20)
    write(home)
    assert "Start sweep" in labels(visit(EDITOR, "new_sweep"))
    app = visit(EDITOR, "new_sweep", run=sweep.id)
    next(b for b in app.button if b.label == "Cancel").click().run()
    assert Store.open().beat(sweep.id, 31, 43, 99) is True


def test_who_loses_the_role_loses_the_button_that_is_already_on_screen(home: Path, monkeypatch: pytest.MonkeyPatch):
    write(home)
    started: list[object] = []
    monkeypatch.setattr("pages.shared.runner.subprocess.Popen", lambda *a, **k: started.append(a))
    app = visit(EDITOR, "new_sweep")
    write(home, TEAM.replace("ana@", "someone.else@"))
    next(b for b in app.button if b.label == "Start sweep").click().run()
    assert started == []
    assert "Your role here is viewer" in words(app)


def test_who_is_removed_loses_the_page_at_the_next_run(home: Path):
    enter()
    write(home)
    app = visit(VIEWER, "explore")
    # The first run of a page may show its chart alone.
    app.run()
    assert app.dataframe
    write(home, "[editor]\nemails = ['ana@example.org']\n")
    app.run()
    assert shows_nothing(app)
    assert "has no role here" in words(app)


def changes_as_viewer() -> None:
    import streamlit as st

    from engine.errors import AccessError
    from engine.spec.sweep import parse_sweep
    from pages.shared import runner

    for act in (
        lambda: runner.start(parse_sweep({"name": "x", "model": {"source": "resnet8"}})),
        lambda: runner.cancel("x"),
        lambda: runner.delete("x"),
    ):
        try:
            act()
        except AccessError as error:
            st.error(str(error))


@pytest.mark.parametrize("user", [ANONYMOUS, {}, STRANGER, VIEWER])
def test_the_helpers_that_change_things_refuse_by_themselves(
    home: Path, monkeypatch: pytest.MonkeyPatch, user: dict[str, Any]
):
    write(home)
    started: list[object] = []
    monkeypatch.setattr("pages.shared.runner.subprocess.Popen", lambda *a, **k: started.append(a))
    app = AppTest.from_function(changes_as_viewer, default_timeout=PATIENCE_S)
    app.user = user
    app.run()
    assert len(app.error) == 3
    assert all("nothing was done" in e.value for e in app.error)
    assert started == []
    assert not (home / "specs").exists()


def test_a_download_is_made_only_while_the_role_lasts(home: Path, monkeypatch: pytest.MonkeyPatch):
    write(home)
    monkeypatch.setattr(page_access, "_claims", lambda: VIEWER)
    made = page_access.later(lambda: b"bundle")
    # Made outside of any session, where nobody is signed in.
    monkeypatch.setattr(page_access, "_claims", dict)
    assert made() == b"bundle"
    write(home, "[editor]\nemails = ['ana@example.org']\n")
    with pytest.raises(AccessError, match="takes the role viewer"):
        made()


def test_a_download_offered_before_there_was_a_login_is_not_made_after(home: Path):
    made = page_access.later(lambda: b"bundle")
    assert made() == b"bundle"
    write(home)
    with pytest.raises(AccessError, match="not signed in"):
        made()


@pytest.mark.parametrize("text", ["[editor\n", "[admin]\nemails = ['ana@example.org']"])
def test_a_file_with_a_mistake_lets_nobody_in_and_tells_the_log_alone(
    home: Path, caplog: pytest.LogCaptureFixture, text: str
):
    enter()
    write(home, text)
    app = visit(EDITOR)
    assert shows_nothing(app)
    assert "Nobody can be let in" in words(app)
    assert "access.toml" not in words(app)
    assert str(home / "access.toml") in caplog.text


def test_a_name_from_outside_is_shown_and_not_obeyed(home: Path):
    enter()
    write(home, "[viewer]\nclaims = {sub = ['1']}")
    app = visit({"is_logged_in": True, "iat": time.time(), "sub": "1", "name": "**x** [y](http://evil.net) :red[z]"})
    (shown,) = [c.value for c in app.caption if "viewer" in c.value]
    assert r"\*\*x\*\* \[y\]\(http\://evil\.net\) \:red\[z\]" in shown


# What a server says before it starts.

SAFE = {"server.address": "localhost", "server.enableXsrfProtection": True, "server.enableAgentApi": False}


def starting(monkeypatch: pytest.MonkeyPatch, **options: object) -> None:
    settings = SAFE | {f"server.{name}": value for name, value in options.items()}
    monkeypatch.setattr("pages.shared.access.st.get_option", settings.get)
    page_access.check_server()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "", None])
def test_a_server_that_lets_everybody_in_says_so_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str | None
):
    starting(monkeypatch, address=address)
    said = capsys.readouterr().err
    assert said.startswith("paretoscope: warning: whoever reaches")
    assert str(home / "access.toml") in said
    assert said.count("\n") == 1


def test_a_server_on_this_machine_alone_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    starting(monkeypatch)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trustedUserHeaders": {"X-User": "email"}}, "trustedUserHeaders is set"),
        ({"enableAgentApi": True}, "enableAgentApi is set"),
        ({"enableXsrfProtection": False}, "enableXsrfProtection is off"),
    ],
)
def test_settings_that_go_around_the_login_are_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], said: str
):
    write(home)
    monkeypatch.setattr("pages.shared.access.access.check_login", lambda *_: None)
    starting(monkeypatch)
    with pytest.raises(SetupError, match=said):
        starting(monkeypatch, **options)


# The structure that keeps it so, as pages are added.


# Back to the page after the login.
