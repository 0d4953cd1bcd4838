"""A store for a runner: a database that is being restarted, or that others hold, is waited for, since hours of computing hang on it.

Every method of a store is one short transaction, and writing the same twice is writing it once, so each can be tried again.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from engine.errors import SetupError

_Store = TypeVar("_Store")
PATIENCE_S = 120.0
"""How long a runner waits for its database before it ends; `paretoscope resume` goes on."""
_METHODS = (
    "spec", "with_added", "trials", "failed", "begin", "beat", "save_trial", "save_trials", "end", "nodes", "save_node", "save_nodes",
    "save_code", "earlier_code", "rates",
)  # fmt: skip
# SQLSTATE classes (PostgreSQL's manual, appendix A): no connection, operator intervention (shutdown, start, a dead postmaster), a rollback
# because two waited for each other.
_AWAY = ("08", "57P", "40")
_LONGEST_PAUSE_S = 2.0


class ChangedMeanwhileError(Exception):
    """Another process wrote between our reading and our writing; read again."""


def reason(error: SQLAlchemyError) -> str:
    """What the database said, in one line."""
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]


def is_away(error: Exception) -> bool:
    """Whether trying again later may help: nobody answers, or others hold the database."""
    if isinstance(error, ChangedMeanwhileError | IntegrityError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if type(error.orig).__module__.startswith("psycopg"):
        return error.connection_invalidated or (state or "08").startswith(_AWAY)
    return any(sign in str(error.orig) for sign in ("locked", "busy"))


def patient(
    store: _Store, patience_s: float = PATIENCE_S, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
) -> _Store:  # fmt: skip
    """The same store, whose methods that a runner calls wait for a database that is away; SetupError in one line for what is final."""
    waited = copy.copy(store)
    # Once in vain is enough: the run then ends, and says so.
    left = [patience_s]

    def trying(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def tried(*arguments: Any, **options: Any) -> Any:
            began, pause = clock(), 0.05
            while True:
                try:
                    return method(*arguments, **options)
                except (SQLAlchemyError, ChangedMeanwhileError) as error:
                    gone = clock() - began
                    if not is_away(error) or gone >= left[0]:
                        left[0] = 0.0
                        said = reason(error) if isinstance(error, SQLAlchemyError) else "others change it all the time"
                        after = f" after {gone:.0f} s" if gone >= 1 else ""
                        raise SetupError(
                            f"the store cannot be used{after}: {said}; when it can, `paretoscope resume` goes on where this run was"
                        ) from None
                sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

        return tried

    for name in _METHODS:
        setattr(waited, name, trying(getattr(store, name)))
    return waited
