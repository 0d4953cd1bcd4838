"""Shared by the tests of data: loading them as if they were too large for memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.datasets import load
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.spec.sections import Data


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Loads data as if they were too large for memory, into a home of their own."""
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))

    def loaded(data: Data) -> Dataset:
        monkeypatch.setenv("PARETOSCOPE_IN_MEMORY_MB", "0")
        load._loaded.cache_clear()
        try:
            return load_dataset(data)
        finally:
            monkeypatch.delenv("PARETOSCOPE_IN_MEMORY_MB")
            load._loaded.cache_clear()

    return loaded
