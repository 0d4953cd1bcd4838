"""Imported points on Explore: drawn and marked, counted when ticked, all in the address; without a file there is nothing to take home."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.elsewhere.points import import_points
from engine.store.store import Store
from tests.helpers.pages import address, enter, open_app, words


@pytest.fixture
def sweep(home: Path, tmp_path: Path) -> str:
    sweep = enter()
    (tmp_path / "r.csv").write_text("name,accuracy,size_bytes\ntheirs,0.99,100\n")
    import_points(Store.open(), sweep.id, str(tmp_path / "r.csv"))
    return sweep.id


def front(app) -> list[str]:
    return [b.key for b in app.button if str(b.key).startswith("front ")]


def test_the_tick_lets_them_onto_the_frontier(sweep: str):
    app = open_app(sweep=sweep, x="size_bytes")
    point = Store.open().points.of(sweep)[0]
    assert "beside them 1 imported" in words(app)
    (tick,) = [c for c in app.checkbox if c.label == "Imported points count"]
    assert not tick.value
    assert f"front {point.id}" not in front(app)
    assert "all 24 recipes remain" in words(app)
    tick.check().run()
    assert not app.exception
    assert front(app) == [f"front {point.id}"]
    assert address(app)["imported"] == "1"
    again = open_app(sweep=sweep, x="size_bytes", imported="1", trial=point.id)
    assert front(again) == []  # the point itself is shown there
    assert "all 25 recipes remain" in words(again)
    assert "stated by r\\.csv, without intervals" in words(again)
    assert [b.label for b in again.button if b.label == "Add to comparison"] == []


@pytest.mark.parametrize("chart", ["3d", "parallel", "matrix", "map", "progress"])
def test_every_chart_takes_them(sweep: str, chart: str):
    assert not open_app(sweep=sweep, x="size_bytes", imported="1", chart=chart).exception


def test_of_them_alone_there_is_no_recipe_to_limit_and_no_option_to_compare(sweep: str):
    said = words(open_app(sweep=sweep, x="size_bytes", where="label ~ theirs"))
    assert "only imported points are left, which do not count" in said
    assert "**Of all 24 measured recipes of the sweep**, also of those that are left out above." in said


def test_a_sweep_without_them_has_no_tick(home: Path):
    app = open_app(sweep=enter().id)
    assert [c for c in app.checkbox if c.label == "Imported points count"] == []


def test_the_page_forgets_what_is_removed(sweep: str):
    app = open_app(sweep=sweep, x="size_bytes")
    Store.open().points.remove(sweep, "theirs")
    app.run()
    assert "imported" not in words(app)
