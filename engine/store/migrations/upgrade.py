"""Bringing a database to the schema of this version."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from engine.errors import SetupError
from engine.store.backup import copied_database

SCHEMA_REVISION = "0011"
"""The newest migration; a test holds it against `versions`."""
# Any number that other programs of the same database are not likely to lock.
_LOCK = 0x9A4E7_05C09E


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to this version. Two processes may come to a new store at once: who is second finds it made, a moment later."""
    for wait_s in (0.2, 0.5, 1.0, 2.0):
        try:
            _migrate_once(engine)
            return
        except (OperationalError, IntegrityError, ProgrammingError) as error:
            if not any(sign in str(error).lower() for sign in ("exists", "duplicate", "unique", "locked")):
                raise
            time.sleep(wait_s)
    _migrate_once(engine)


def _kept_as_it_was(engine: sa.Engine, version: str) -> None:
    """Copy a database file beside itself before it changes: an update that goes wrong, or is taken back, loses nothing."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or not Path(path).is_file():
        return
    copy = Path(f"{path}.before-{SCHEMA_REVISION}")
    partial = Path(f"{copy}.{os.getpid()}.part")
    try:
        copied_database(Path(path), partial)
        partial.replace(copy)
    except (OSError, sqlite3.Error) as error:
        raise SetupError(
            f"the store {path} of version {version} cannot be copied to {copy} before it is updated: {error}; make room, or move it"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _migrate_once(engine: sa.Engine) -> None:
    """Bring the schema to this version, alone; a store from a newer one is left alone with a SetupError."""
    with engine.begin() as connection:
        if _version(connection) == SCHEMA_REVISION:
            return
        _wait_for_turn(connection)
        version = _version(connection)
        if version == SCHEMA_REVISION:
            return
        if version is not None and version > SCHEMA_REVISION:
            raise SetupError(
                f"the store {engine.url} is of version {version}, newer than this program's {SCHEMA_REVISION}; "
                "update Paretoscope, or set PARETOSCOPE_HOME to another folder"
            )
        if version is not None:
            _kept_as_it_was(engine, version)
        # Imported here because only a first start or an update needs it, and every command opens the store.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _version(connection: sa.Connection) -> str | None:
    present = sa.inspect(connection).has_table("alembic_version")
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if present else None
    return found


def _wait_for_turn(connection: sa.Connection) -> None:
    """Until the end of the transaction nobody else migrates: the copy is of the store before any change, and no step is taken twice."""
    if connection.dialect.name == "sqlite":
        # Its driver begins none by itself before a change of the schema.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
