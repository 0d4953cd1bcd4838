"""Trials know at which revision of their sweep they last changed, so that a page reads only what is new."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What is there already counts as changed at revision 0: a page that knows nothing reads it."""
    with op.batch_alter_table("trials") as table:
        table.add_column(sa.Column("revision", sa.Integer, nullable=False, server_default="0"))
    op.create_index("trials_revision", "trials", ["sweep_id", "revision"])
