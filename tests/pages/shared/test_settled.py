"""What is loaded counts as settled once for each page, and what nobody refers to goes all the same."""

import gc
import weakref

from pages.shared import settled


class _Round:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


def test_a_page_is_settled_once_and_later_garbage_is_found(monkeypatch):
    monkeypatch.setattr(settled, "_seen", set())
    before = gc.get_freeze_count()
    lost = weakref.ref(_Round())
    try:
        settled.settle("explore")
        # What was garbage already is not kept.
        assert lost() is None
        first = gc.get_freeze_count()
        assert first > before
        kept = [_Round() for _ in range(100)]
        settled.settle("explore")
        assert gc.get_freeze_count() <= first
        found = weakref.ref(kept[0])
        del kept
        gc.collect()
        assert found() is None
    finally:
        gc.unfreeze()
