"""Views of Explore under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """A view is an address under a name: what it shows follows from the sweep as it is when the view is opened."""
    op.create_table(
        "views",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(400), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("sweep_id", sa.String(300), nullable=False),
        sa.Column("params", sa.String, nullable=False),
        sa.Column("author", sa.String),
        sa.Column("changed", sa.String(40), nullable=False),
        sa.UniqueConstraint("owner", "name", name="views_owner_name"),
        if_not_exists=True,
    )
