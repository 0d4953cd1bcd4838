"""The versions of the code that nodes were made by, so that a later one can tell what it finds, and whether a sweep took it."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# Digests of the code of each kind of node in the last version that did not write them down, as it computed them (with torch 2.14.1,
# torch-pruning 1.6.1 and onnxruntime 1.32.0, which its constraints pinned).
BEFORE = {
    "source": "9ca9e4a41995137bab692ef31f1a647f02907742c90f4bb513b9ef6991bfdcf6",
    "teacher": "10783f1c6aa57a99f2eb6e71db7e0c0a268d5d5af308219777460b6c72bddf44",
    "distill": "79b8c09df19da63f4451c0cff389d4b2d6c1ef29e77189b9860f495212e39896",
    "prune": "1635e092ba9fed04ea85084ba89b4b80ab86cea895ffbdf26763805473a00e28",
    "finetune": "c3dac14ab69701a5f79ad66cbcaf6ec987c43afa7b078e9b6ac233401fbd2354",
    "export": "8afb9a414347a4c235e6caf1d6699c34cb6f72a815f52be3248474b9fb73c901",
    "quantize": "a0699c6a2b92ac5feb70d5036315145867ae2e28ce0dfc11f7b03fafd82cb120",
    "qat": "29dc343f256c4c3ec55cbf83cefbe8e237616711469d9aa74883217955a2a8bf",
    "sensitivity": "337b38e6b79aad70e79f31eec21be3d56019b12bd17d6882f2133e9d4174353b",
    "layer_times": "337b38e6b79aad70e79f31eec21be3d56019b12bd17d6882f2133e9d4174353b",
    "facts": "9774239bb5cc04255c4ab2698a4d6399e3fc2269438162abb83e2ebae62f2245",
    "accuracy": "f2dab3189d140d2037a5cf6ef25bf6f6f4fd3b1a847cf1c712db7d5f76c2a187",
    "latency": "d7cb87d6c7f38ccbe434c75b0838e654e6796b4e49f9d18209f564e7f6d80f3c",
}


def upgrade() -> None:
    """The column, the table and, where nodes are there already, the version that made them."""
    table = op.create_table(
        "code_versions",
        sa.Column("digests", sa.String, primary_key=True),
        sa.Column("seen", sa.String, nullable=False),
        if_not_exists=True,
    )
    connection = op.get_bind()
    if "keep_old_code" not in {c["name"] for c in sa.inspect(connection).get_columns("sweeps")}:
        op.add_column("sweeps", sa.Column("keep_old_code", sa.Boolean, nullable=False, server_default=sa.false()))
    digests = json.dumps(BEFORE, sort_keys=True, separators=(",", ":"))
    known = connection.scalar(sa.text("SELECT count(*) FROM code_versions WHERE digests = :d"), {"d": digests})
    if connection.scalar(sa.text("SELECT count(*) FROM nodes")) and not known:
        op.bulk_insert(table, [{"digests": digests, "seen": "2026-11-23T00:00:00+00:00"}])
