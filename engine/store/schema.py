"""The tables of the store, as the code names them; `migrations` makes them."""

from __future__ import annotations

import sqlalchemy as sa

meta = sa.MetaData()
sweeps = sa.Table(
    "sweeps",
    meta,
    sa.Column("id", sa.String, primary_key=True),
    *(
        sa.Column(name, sa.String)
        for name in ("name", "spec", "state", "created", "runner", "process", "error", "under_way")
    ),
    *(sa.Column(name, sa.Integer) for name in ("recipes", "nodes_total", "nodes_done", "revision")),
    *(sa.Column(name, sa.Float) for name in ("elapsed_s", "remaining_s", "heartbeat")),
    *(sa.Column(name, sa.Boolean) for name in ("cancel_requested", "example", "keep_old_code")),
)
nodes = sa.Table(
    "nodes",
    meta,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("kind", sa.String),
    sa.Column("work", sa.Float),
    sa.Column("seconds", sa.Float),
    sa.Column("result", sa.String),
)
code_versions = sa.Table(
    "code_versions",
    meta,
    sa.Column("digests", sa.String, primary_key=True),
    sa.Column("seen", sa.String),
)
trials = sa.Table(
    "trials",
    meta,
    sa.Column("sweep_id", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("position", sa.Integer),
    sa.Column("state", sa.String),
    sa.Column("record", sa.String),
    sa.Column("revision", sa.Integer),
    sa.Column("digest", sa.BigInteger),
)
