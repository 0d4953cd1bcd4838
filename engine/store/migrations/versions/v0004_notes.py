"""Pins and notes on trials."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """A table of its own: what people say of a trial outlives a run that measures it again."""
    op.create_table(
        "notes",
        sa.Column("sweep_id", sa.String, primary_key=True),
        sa.Column("trial_id", sa.String, primary_key=True),
        sa.Column("pinned", sa.Boolean, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("author", sa.String),
        sa.Column("changed", sa.String, nullable=False),
    )
