"""What was measured elsewhere: boards' latencies of a sweep's files, and points that were imported."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Tables of their own: a run of the sweep rewrites its trials, and has nothing to do with these."""
    op.create_table(
        "boards",
        sa.Column("sweep_id", sa.String, primary_key=True),
        sa.Column("trial_id", sa.String, primary_key=True),
        sa.Column("board", sa.String, primary_key=True),
        sa.Column("record", sa.String, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "points",
        sa.Column("sweep_id", sa.String, primary_key=True),
        sa.Column("trial_id", sa.String, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("record", sa.String, nullable=False),
        if_not_exists=True,
    )
