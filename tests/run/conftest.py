"""What tests of runs start from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `home` is the home of this test."""
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PARETOSCOPE_STORE", raising=False)
    monkeypatch.delenv("PARETOSCOPE_ARTIFACTS", raising=False)
    return tmp_path
