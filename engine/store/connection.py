"""Connections to the database, and addresses as they may be shown."""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

# Seconds that a database's host has to answer in.
_PATIENCE_S = 15
_PASSWORD = re.compile(r"//[^/@]*@")


def connect(url: str) -> sa.Engine:
    """An engine for an SQLAlchemy URL; ImportError without its driver, ValueError or SQLAlchemyError for an address that is none."""
    address = _with_driver(sa.make_url(url))
    # A host that is not there says nothing; its driver would wait for minutes.
    served = address.get_backend_name() == "postgresql"
    limits = {"connect_timeout": _PATIENCE_S} if served else {}
    # A server may have been restarted since a connection was last used; a file has not.
    engine = sa.create_engine(address, connect_args=limits, pool_pre_ping=served)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _tune_sqlite)
    return engine


def without_password(address: str) -> str:
    """The address of a database or of files, as messages show it."""
    return _PASSWORD.sub("//…@", address)


def _with_driver(url: sa.URL) -> sa.URL:
    """PostgreSQL by its one driver that comes with us, whichever way the address begins that its own tools take."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """Readers must not wait for the runner: write-ahead log, and patience where two do write."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=20000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
