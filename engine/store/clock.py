"""The clock of the store: whether a run is silent is judged by one clock for all hosts, whatever their own say."""

from __future__ import annotations

import sqlalchemy as sa


def now_s(dialect: str) -> sa.ColumnElement[float]:
    """The time of a database as a column, in seconds since 1970: that of PostgreSQL's host, or of ours, which opens SQLite's file."""
    if dialect == "postgresql":
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Float)
    # Days since noon of 24 November 4714 B.C., as SQLite counts them (lang_datefunc.html); 1970 began after 2,440,587.5 of them.
    return (sa.func.julianday("now") - 2440587.5) * 86400.0
