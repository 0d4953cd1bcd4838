"""A digest of every trial's record, so that what was made of it and kept beside the store is known to be of this record."""

import sqlalchemy as sa
from alembic import op

from engine.store.rows import digest_of

revision = "0009"
down_revision = "0008"
_AT_ONCE = 500


def upgrade() -> None:
    """A column, filled in for the trials that are there, and an index that answers what changed without reading a record."""
    connection = op.get_bind()
    if "digest" not in {c["name"] for c in sa.inspect(connection).get_columns("trials")}:
        op.add_column("trials", sa.Column("digest", sa.BigInteger))
    trials = sa.table("trials", *(sa.column(name) for name in ("sweep_id", "id", "record", "digest")))
    keys = connection.execute(sa.select(trials.c.sweep_id, trials.c.id).where(trials.c.digest.is_(None))).all()
    one = (trials.c.sweep_id == sa.bindparam("sweep")) & (trials.c.id == sa.bindparam("trial"))
    change = sa.update(trials).where(one).values(digest=sa.bindparam("found"))
    for sweep_id in dict.fromkeys(sweep for sweep, _ in keys):
        ids = [trial for sweep, trial in keys if sweep == sweep_id]
        for start in range(0, len(ids), _AT_ONCE):
            mine = (trials.c.sweep_id == sweep_id) & trials.c.id.in_(ids[start : start + _AT_ONCE])
            found = connection.execute(sa.select(trials.c.id, trials.c.record).where(mine)).all()
            rows = [{"sweep": sweep_id, "trial": trial, "found": digest_of(record)} for trial, record in found]
            connection.execute(change, rows)
    if "trials_digests" not in {index["name"] for index in sa.inspect(connection).get_indexes("trials")}:
        op.create_index("trials_digests", "trials", ["sweep_id", "position", "revision", "digest"])
