"""`paretoscope datasets --clear-cache`, and what `doctor` says of the cache."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from engine.cli import doctor
from engine.cli.datasets import datasets
from engine.datasets.cache import cached
from engine.errors import SpecError


def test_the_cache_is_told_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path))
    n = 60_000_000
    cached("key", n, "it", lambda file: file.write(bytes(n)), ((n,), np.dtype(np.uint8)))
    _, disk = doctor._disk()
    assert disk.endswith("takes 0.1 GB (`paretoscope datasets --clear-cache`)")
    datasets(clear_cache=True, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"freed_bytes": n + 128}
    assert not list((tmp_path / "cache").iterdir())
    datasets(clear_cache=True)
    assert capsys.readouterr().out == f"0.00 GB freed in {tmp_path / 'cache'}\n"
    with pytest.raises(SpecError, match="--clear-cache stands beside --prepare"):
        datasets(clear_cache=True, prepare="torchvision:CIFAR10")
