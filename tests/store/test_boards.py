"""What boards measured is kept by trial and board, goes with its sweep, and lies in tables that the migrations make."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from engine.errors import NotFoundError
from engine.store import boards, points
from engine.store.store import Store
from tests.helpers.board import board_run


def test_the_same_board_replaces_and_another_is_added(store: Store):
    first, second = board_run("a", "x"), board_run("a", "x", p95=9.0)
    assert store.boards.keep("s", first) is None
    assert store.boards.keep("s", second) == first
    store.boards.keep("s", board_run("a", "x", board="other"))
    store.boards.keep("s", board_run("b", "x"))
    store.boards.keep("elsewhere", first)
    assert [(r.board, r.trial) for r in store.boards.of("s")] == [("other", "a"), ("pi", "a"), ("pi", "b")]
    assert store.boards.remove("s", "pi") == 2
    with pytest.raises(NotFoundError, match=r"no board 'pi'.*known: other"):
        store.boards.remove("s", "pi")
    assert store.boards.of("elsewhere") == [first]


@pytest.mark.parametrize("table", [boards.table, points.table])
def test_the_tables_are_those_that_the_migrations_make(url: str, store: Store, table: sa.Table):
    columns = sa.inspect(sa.create_engine(url, poolclass=sa.NullPool)).get_columns(table.name)
    assert {c["name"] for c in columns} == {c.name for c in table.columns}
