"""Which process runs a sweep, in a form by which it is known to have ended at once."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """A column beside `runner`, which is for people; runs of before have none, and count as gone by their silence."""
    if "process" not in {c["name"] for c in sa.inspect(op.get_bind()).get_columns("sweeps")}:
        op.add_column("sweeps", sa.Column("process", sa.String(300)))
