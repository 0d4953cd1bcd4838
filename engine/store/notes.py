"""What people say of trials: a pin, so that everybody finds it again, and a note."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from engine.errors import SpecError

LONGEST = 2000
"""Characters of a note."""

meta = sa.MetaData()
table = sa.Table(
    "notes",
    meta,
    sa.Column("sweep_id", sa.String, primary_key=True),
    sa.Column("trial_id", sa.String, primary_key=True),
    sa.Column("pinned", sa.Boolean),
    *(sa.Column(name, sa.String) for name in ("text", "author", "changed")),
)


@dataclass(frozen=True)
class Note:
    """What is said of one trial. `text` may be empty; `author` is who changed it last, None without a login; `changed` is UTC, ISO 8601."""

    pinned: bool = False
    text: str = ""
    author: str | None = None
    changed: str = ""


class Notes:
    """The notes of a store; every method is one short transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        """Of the database that the store is in."""
        self._engine = engine

    def of(self, sweep_id: str) -> dict[str, Note]:
        """The notes of a sweep by trial."""
        query = sa.select(table).where(table.c.sweep_id == sweep_id)
        with self._engine.connect() as connection:
            return {
                row["trial_id"]: Note(row["pinned"], row["text"], row["author"], row["changed"])
                for row in connection.execute(query).mappings()
            }

    def pin(self, sweep_id: str, trial_id: str, pinned: bool, author: str | None = None) -> None:
        """Pin a trial, or no longer; its note stays as it is."""
        self._change(sweep_id, trial_id, author, pinned=pinned)

    def say(self, sweep_id: str, trial_id: str, text: str, author: str | None = None) -> None:
        """Say this of a trial from now on; its pin stays as it is. SpecError for a text that is too long."""
        text = text.strip()
        if len(text) > LONGEST:
            raise SpecError(f"the note has {len(text):,} characters; {LONGEST:,} are the most")
        self._change(sweep_id, trial_id, author, text=text)

    def _change(self, sweep_id: str, trial_id: str, author: str | None, **values: bool | str) -> None:
        """Change what is named and nothing else; a row that neither pins nor says anything goes."""
        mine = (table.c.sweep_id == sweep_id) & (table.c.trial_id == trial_id)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._engine.begin() as connection:
            found = connection.execute(table.update().where(mine).values(**values, author=author, changed=now))
            if not found.rowcount:
                row = {"sweep_id": sweep_id, "trial_id": trial_id, "pinned": False, "text": "", **values}
                connection.execute(table.insert().values(**row, author=author, changed=now))
            connection.execute(table.delete().where(mine & ~table.c.pinned & (table.c.text == "")))
