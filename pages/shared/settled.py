"""What a server has loaded stays: told to Python's garbage collector, which Streamlit runs whole after every script.

Modules and what they hold are 170,000 objects. Looking through them took 0.11 s of computing with every change on a page, half of all of
it, and nothing is sent meanwhile (tried with 1.67, `runner.postScriptGC`). Only what came since is looked through; what nobody refers to
goes as ever.
"""

from __future__ import annotations

import gc
from threading import Lock

_lock, _seen = Lock(), set[str]()


def settle(page: str) -> None:
    """Call it at the end of a page: the first time its modules are counted among what stays."""
    with _lock:
        if page in _seen:
            return
        _seen.add(page)
    gc.collect()
    gc.freeze()
