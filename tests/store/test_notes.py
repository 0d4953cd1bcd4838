"""Pins and notes: kept per trial, removed when they say nothing, untouched by a new run of the sweep."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from engine.errors import SpecError
from engine.spec.sweep import parse_sweep
from engine.store import notes
from engine.store.notes import LONGEST, Note
from engine.store.store import Store
from tests.helpers.trial_factory import SPACE, sweep_trials

SWEEP = parse_sweep({"name": "s", "model": {"source": "resnet8"}, "space": SPACE})


def test_a_note_is_kept_changed_and_removed(store: Store):
    store.notes.say("s", "a", "  ship this  ", "ana@example.org")
    store.notes.pin("s", "a", True, "ana@example.org")
    store.notes.say("s", "b", "too slow")
    store.notes.pin("other", "a", True)
    kept = store.notes.of("s")
    assert (kept["a"].pinned, kept["a"].text, kept["a"].author) == (True, "ship this", "ana@example.org")
    assert kept["a"].changed.endswith("+00:00")
    assert kept["b"] == Note(False, "too slow", None, kept["b"].changed)
    # Who unpins does not take the note away, and who wipes the note does not unpin.
    store.notes.pin("s", "a", False, "bob@example.org")
    assert store.notes.of("s")["a"].text == "ship this"
    store.notes.pin("s", "a", True)
    store.notes.say("s", "a", "")
    assert store.notes.of("s")["a"].pinned
    store.notes.pin("s", "a", False)
    assert set(store.notes.of("s")) == {"b"}
    assert set(store.notes.of("other")) == {"a"}


def test_a_note_has_a_length(store: Store):
    with pytest.raises(SpecError, match="2,001 characters"):
        store.notes.say("s", "a", "x" * (LONGEST + 1))
    assert not store.notes.of("s")


def test_notes_outlive_another_run_of_the_sweep(store: Store):
    trials = sweep_trials()
    store.begin(SWEEP, trials, 1, 0)
    store.end(SWEEP.id, "done")
    store.notes.say(SWEEP.id, trials[1].id, "keep")
    store.notes.pin(SWEEP.id, trials[1].id, True)
    store.begin(SWEEP, trials, 1, 0)
    assert store.notes.of(SWEEP.id)[trials[1].id].text == "keep"


def test_notes_go_with_their_sweep(store: Store):
    store.begin(SWEEP, sweep_trials(), 1, 0)
    store.end(SWEEP.id, "done")
    store.notes.say(SWEEP.id, "a", "keep")
    store.notes.pin(SWEEP.id, "a", True)
    store.notes.pin("other", "a", True)
    store.delete_sweep(SWEEP.id)
    assert not store.notes.of(SWEEP.id)
    assert store.notes.of("other")


def test_the_table_is_the_one_that_the_migrations_make(url: str, store: Store):
    columns = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool)).get_columns("notes")
    assert {c["name"] for c in columns} == {c.name for c in notes.table.columns}
