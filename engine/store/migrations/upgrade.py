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

SCHEMA_REVISION = "0010"
"""The newest migration; a test holds it against `versions`."""


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
    """Bring the schema to this version; a store from a newer one is left alone with a SetupError."""
    with engine.begin() as connection:
        present = sa.inspect(connection).has_table("alembic_version")
        version = connection.scalar(sa.text("SELECT version_num FROM alembic_version")) if present else None
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
