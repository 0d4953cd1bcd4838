"""Saved views: names of every kind, whose they are, and what outlives what."""

from __future__ import annotations

import pytest

from engine.errors import NotFoundError, SpecError
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.store.views import LONGEST_NAME, LONGEST_VIEW, view_name
from tests.helpers.trial_factory import SPACE, sweep_trials

SWEEP = parse_sweep({"name": "s", "model": {"source": "resnet8"}, "space": SPACE})
PARAMS = {"sweep": SWEEP.id, "where": "label ~ '*' and size < 50 kB", "x": "size_bytes"}


@pytest.mark.parametrize(
    "name", ["*", "[x](http://evil)", "größer 😀 日本", "a" * LONGEST_NAME, "'; DROP TABLE views; --"]
)
def test_a_view_is_kept_as_it_is_under_any_name_and_found_in_another_session(store: Store, name: str):
    made = store.views.save(name, SWEEP.id, PARAMS)
    assert [(v.name, dict(v.params), v.owner, v.sweep_id) for v in store.views.of()] == [(name, PARAMS, "", SWEEP.id)]
    assert store.views.find(made.id) == made


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("a" * 81, "has 81 characters; 80"),
        ("a\x00b", "cannot be shown"),
        ("a\u202eb", "cannot be shown"),
    ],
)
def test_what_is_no_name_is_refused_in_one_line(store: Store, name: str, said: str):
    with pytest.raises(SpecError, match=said):
        store.views.save(name, SWEEP.id, PARAMS)
    assert store.views.of() == []


def test_a_name_is_kept_in_one_form():
    assert view_name("  fast \n and   small ") == "fast and small"
    assert view_name("e\u0301") == "é"


def test_a_name_is_taken_once_among_everybodys_and_once_among_each_persons(store: Store):
    first = store.views.save("fast", "s", PARAMS)
    mine = store.views.save("fast", "s", PARAMS, "idp ana", "ana@example.org")
    for owner in ("", "idp ana"):
        with pytest.raises(SpecError, match="there is a view 'fast' already"):
            store.views.save("fast", "s", {}, owner)
    other = store.views.save("slow", "s", PARAMS)
    with pytest.raises(SpecError, match="'fast' already"):
        store.views.rename(other.id, " fast ")
    assert store.views.find(other.id).name == "slow"
    assert {v.id for v in store.views.of("idp ana")} == {first.id, mine.id, other.id}
    assert {v.id for v in store.views.of("idp bob")} == {first.id, other.id}


def test_a_view_is_renamed_renewed_and_deleted(store: Store):
    made = store.views.save("fast", "s", PARAMS)
    store.views.rename(made.id, "faster", "bob")
    store.views.replace(made.id, "t", {"sweep": "t"}, "bob")
    found = store.views.find(made.id)
    assert (found.name, dict(found.params), found.sweep_id, found.author) == ("faster", {"sweep": "t"}, "t", "bob")
    store.views.delete(made.id)
    store.views.delete(made.id)
    assert store.views.of() == []
    with pytest.raises(NotFoundError, match="deleted"):
        store.views.rename(made.id, "again")


def test_a_view_has_a_length(store: Store):
    with pytest.raises(SpecError, match="the view has"):
        store.views.save("long", "s", {"where": "a" * LONGEST_VIEW})


def test_views_of_a_sweep_go_with_it_and_others_stay(store: Store):
    store.begin(SWEEP, sweep_trials(), 1, 0)
    store.end(SWEEP.id, "done")
    store.views.save("of it", SWEEP.id, PARAMS)
    store.views.save("of another", "another", {})
    store.delete_sweep(SWEEP.id)
    assert [v.name for v in store.views.of()] == ["of another"]
