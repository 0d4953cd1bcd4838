"""What tests of several pages start from."""

from __future__ import annotations

import pytest

from engine.store.rows import SweepRow
from engine.store.store import Store
from engine.trials.trial import Trial


@pytest.fixture
def example(home: object) -> tuple[SweepRow, dict[str, Trial]]:
    """The shipped sweep and its trials by label."""
    store = Store.open()
    row = next(r for r in store.sweeps() if r.example)
    return row, {t.label: t for t in store.trials(row.id)}
