"""The shipped example of pictures in an empty home."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.artifacts import Artifacts
from engine.store.store import Store


@pytest.fixture
def example(home: Path):
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    return store, Artifacts.open(), row.id, {t.label: t.id for t in store.trials(row.id)}
