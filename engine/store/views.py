"""Views under a name: an address's parameters, for everybody or for one person."""

from __future__ import annotations

import json
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from engine.errors import NotFoundError, SpecError

LONGEST_NAME = 80
LONGEST_VIEW = 10_000
"""Characters of all parameters of a view together."""
MOST = 500
"""Views of everybody, and of each person."""
EVERYBODY = ""
"""The owner of a view that is for all."""

meta = sa.MetaData()
table = sa.Table(
    "views",
    meta,
    sa.Column("id", sa.String, primary_key=True),
    *(sa.Column(name, sa.String) for name in ("owner", "name", "sweep_id", "params", "author", "changed")),
    sa.UniqueConstraint("owner", "name", name="views_owner_name"),
)


@dataclass(frozen=True)
class SavedView:
    """A view. `owner`: whose it is, `EVERYBODY` for all; `params`: the address; `author` changed it last, None without a login; `changed`
    is UTC, ISO 8601.
    """

    id: str
    owner: str
    name: str
    sweep_id: str
    params: Mapping[str, str]
    author: str | None
    changed: str


def view_name(text: str) -> str:
    """A name as it is kept; SpecError for one that is empty, too long, or holds what cannot be seen."""
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        raise SpecError("the name is empty; give the view one")
    if len(name) > LONGEST_NAME:
        raise SpecError(f"the name has {len(name):,} characters; {LONGEST_NAME} are the most")
    if not name.isprintable():
        raise SpecError("the name holds a character that cannot be shown; leave it out")
    return name


class Views:
    """The views of a store; every method is one short transaction. Who may do what is for the caller to ask."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the database that the store is in."""
        self._engine = engine

    def of(self, owner: str = EVERYBODY) -> list[SavedView]:
        """What everybody sees and what is this owner's own, by name."""
        query = sa.select(table).where(table.c.owner.in_({EVERYBODY, owner}))
        with self._engine.connect() as connection:
            found = [_view(row) for row in connection.execute(query).mappings()]
        return sorted(found, key=lambda v: (v.name.casefold(), v.name, v.owner))

    def find(self, view_id: str) -> SavedView:
        """One view; NotFoundError where somebody has deleted it."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == view_id)).mappings().first()
        if row is None:
            raise NotFoundError("this view has been deleted; reload the page")
        return _view(row)

    def save(
        self, name: str, sweep_id: str, params: Mapping[str, str], owner: str = EVERYBODY, author: str | None = None
    ) -> SavedView:
        """Keep an address under a new name; SpecError for a name that is taken or none, and where there are too many views."""
        made = SavedView(uuid.uuid4().hex, owner, view_name(name), sweep_id, dict(params), author, _now())
        row = {**made.__dict__, "params": _text(params)}
        count = sa.select(sa.func.count()).select_from(table).where(table.c.owner == owner)
        with self._engine.begin() as connection:
            if (connection.scalar(count) or 0) >= MOST:
                raise SpecError(f"there are {MOST} views already; delete one")
        self._write(table.insert().values(**row), made.name)
        return made

    def rename(self, view_id: str, name: str, author: str | None = None) -> None:
        """Give a view another name; SpecError for one that is taken or none."""
        name = view_name(name)
        self._change(view_id, name, {"name": name, "author": author})

    def replace(self, view_id: str, sweep_id: str, params: Mapping[str, str], author: str | None = None) -> None:
        """Let a view show something else from now on."""
        self._change(view_id, "", {"sweep_id": sweep_id, "params": _text(params), "author": author})

    def delete(self, view_id: str) -> None:
        """Forget a view; one that is gone is no mistake."""
        with self._engine.begin() as connection:
            connection.execute(table.delete().where(table.c.id == view_id))

    def _change(self, view_id: str, name: str, values: Mapping[str, str | None]) -> None:
        self.find(view_id)
        self._write(table.update().where(table.c.id == view_id).values(**values, changed=_now()), name)

    def _write(self, statement: sa.Insert | sa.Update, name: str) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(statement)
        except IntegrityError:
            raise SpecError(f"there is a view {name!r} already; choose another name, or delete that one") from None


def _view(row: sa.RowMapping) -> SavedView:
    return SavedView(**{**row, "params": {str(k): str(v) for k, v in json.loads(row["params"]).items()}})


def _text(params: Mapping[str, str]) -> str:
    text = json.dumps(dict(params), ensure_ascii=False)
    if len(text) > LONGEST_VIEW:
        raise SpecError(f"the view has {len(text):,} characters; {LONGEST_VIEW:,} are the most: use fewer brushes")
    return text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
