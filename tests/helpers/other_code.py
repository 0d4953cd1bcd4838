"""The program as if some of its modules had been changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.run import code_digest as digests


class OtherCode:
    """Changes what modules say, as far as digests of code see."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch, self.real = monkeypatch, digests._module

    def change(self, *names: str) -> None:
        def changed(name: str) -> digests._Module:
            found = self.real(name)
            return found._replace(text=found.text + "later") if name in names else found

        self.monkeypatch.setattr(digests, "_module", changed)
        digests.code_digest.cache_clear()


@contextmanager
def other_code(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtherCode]:
    try:
        yield OtherCode(monkeypatch)
    finally:
        monkeypatch.undo()
        digests.code_digest.cache_clear()
