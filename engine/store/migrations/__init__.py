"""The store's schema, as Alembic migrations."""
