"""How many trials of a sweep are done is asked on every page; an index answers without reading their records."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """One index; no data changes."""
    op.create_index("trials_state", "trials", ["sweep_id", "state"])
