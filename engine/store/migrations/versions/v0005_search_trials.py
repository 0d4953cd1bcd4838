"""The budget of a run is called `search.trials` in a spec; sweeps of before have it as `search.recipes`."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Rename the key in the stored specs; ids stay, which scripts and addresses name."""
    connection = op.get_bind()
    for sweep_id, text in connection.execute(sa.text("SELECT id, spec FROM sweeps")).all():
        spec = json.loads(text)
        search = spec.get("search") or {}
        if "recipes" in search:
            spec["search"] = {"trials" if key == "recipes" else key: value for key, value in search.items()}
            change = sa.text("UPDATE sweeps SET spec = :spec WHERE id = :id")
            connection.execute(change, {"spec": json.dumps(spec), "id": sweep_id})
