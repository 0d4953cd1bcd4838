"""Saved views: saved, opened elsewhere, renamed, renewed and deleted, by those who may."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.frontier.brush import box, brush_text
from engine.store.store import Store
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.visitors import EDITOR, VIEWER, person, visit, write

pytestmark = pytest.mark.usefixtures("home")
SHOWN = {
    "chart": "parallel",
    "x": "size_bytes",
    "metrics": "accuracy,latency_ms,macs",
    "colour": "energy_mj",
    "max_size_bytes": "60000",
    "where": "label !~ '*[]'",
    "brush": brush_text(box({"accuracy": (0.88, 0.92)})),
    "columns": "accuracy,weight_bits",
    "sort": "-accuracy",
}


def save(app, name: str):
    app.text_input(key="explore view name").set_value(name).run()
    return app.button(key="explore view save").click().run()


def names() -> list[str]:
    return [v.name for v in Store.open().views.of()]


def test_a_view_holds_all_that_the_address_says_and_opens_in_another_session():
    sweep = enter()
    app = save(open_app(sweep=sweep.id, **SHOWN), "  größer *[1] ")
    assert "größer \\*\\[1\\] is saved" in words(app)
    saved = Store.open().views.of()[0]
    assert saved.sweep_id == sweep.id
    assert dict(saved.params) == {"sweep": sweep.id, **SHOWN} == address(app)
    other = open_app(chart="map")
    other.button(key=f"explore view open {saved.id}").click().run()
    assert address(other) == address(app)
    assert list(other.dataframe[0].value["recipe"]) == list(app.dataframe[0].value["recipe"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (" ", "the name is empty"),
        ("a" * 81, "80 are the most"),
        ("taken", "there is a view 'taken' already"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line(name, said):
    enter()
    Store.open().views.save("taken", "s", {"sweep": "s"})
    app = save(open_app(), name)
    assert said in words(app).replace("\\", "")
    assert names() == ["taken"]


def test_a_view_is_renamed_renewed_and_deleted():
    sweep = enter()
    view = Store.open().views.save("first", sweep.id, {"sweep": sweep.id})
    app = open_app(x="macs")
    app.selectbox(key="explore view chosen").set_value(view.id).run()
    app.text_input(key=f"explore view chosen {view.id}").set_value("second").run()
    app.button(key="explore view rename").click().run()
    assert names() == ["second"]
    app.button(key="explore view replace").click().run()
    assert Store.open().views.find(view.id).params["x"] == "macs"
    app.button(key="explore view delete").click().run()
    assert names() == []
    assert "second is deleted" in words(app)


def test_a_view_that_somebody_else_has_deleted_is_told_so():
    sweep = enter()
    view = Store.open().views.save("first", sweep.id, {"sweep": sweep.id})
    app = open_app()
    app.selectbox(key="explore view chosen").set_value(view.id).run()
    Store.open().views.delete(view.id)
    app.button(key="explore view replace").click().run()
    assert not app.exception
    assert "has been deleted" in words(app)


def test_a_viewer_saves_for_herself_alone_and_changes_nobody_elses(home: Path):
    sweep = enter()
    Store.open().views.save("everybodys", sweep.id, {"sweep": sweep.id})
    write(home)
    app = visit(VIEWER, "explore", sweep=sweep.id).run()
    assert not [s for s in app.selectbox if s.key == "explore view chosen"]
    app = save(app, "mine")
    assert "mine is saved" in words(app)
    assert names() == ["everybodys"]
    own = Store.open().views.of(f"None {VIEWER['sub']}")
    assert [(v.name, v.author) for v in own] == [("everybodys", None), ("mine", "bob@example.org")]
    # Of an editor it is no business either, while what is everybody's is.
    app = visit(EDITOR, "explore", sweep=sweep.id).run()
    assert len(app.selectbox(key="explore view chosen").options) == 1
    assert "mine" not in [b.label for b in app.button]
    app.text_input(key="explore view name").set_value("ours").run()
    app.segmented_control(key="explore view whose").set_value("For everybody").run()
    app.button(key="explore view save").click().run()
    assert sorted(names()) == ["everybodys", "ours"]


def test_who_has_lost_a_role_or_is_another_changes_nothing(home: Path):
    sweep = enter()
    write(home)
    app = visit(VIEWER, "explore", sweep=sweep.id).run()
    app = save(app, "mine")
    own = Store.open().views.of(f"None {VIEWER['sub']}")[0]
    app.selectbox(key="explore view chosen").set_value(own.id).run()
    # The same page, from then on of somebody else.
    app.user = person("carol@example.org")
    app.button(key="explore view delete").click().run()
    assert Store.open().views.find(own.id) == own
