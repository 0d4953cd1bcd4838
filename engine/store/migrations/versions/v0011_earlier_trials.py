"""The run of a sweep before its last one, so that it can be told what changed; and what a run has under way."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """A table like `trials`, and a column of the sweep's row."""
    found = sa.inspect(op.get_bind())
    if not found.has_table("earlier_trials"):
        op.create_table(
            "earlier_trials",
            sa.Column("sweep_id", sa.String(80), primary_key=True),
            sa.Column("id", sa.String(64), primary_key=True),
            sa.Column("position", sa.Integer, nullable=False),
            sa.Column("record", sa.Text, nullable=False),
            sa.Column("kept", sa.String(40), nullable=False),
        )
    if "under_way" not in {c["name"] for c in found.get_columns("sweeps")}:
        op.add_column("sweeps", sa.Column("under_way", sa.Text))
