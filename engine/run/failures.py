"""Why a node failed, in one line; for a worker process that died, by what its nanny saw."""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable

from distributed import KilledWorker
from distributed.scheduler import NoValidWorkerError

from engine.errors import ParetoscopeError, SetupError
from engine.measure.fresh_process import signal_text
from engine.run.plan import Node
from engine.spec.labels import source_name

_NANNY = "distributed.nanny"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DEATH = re.compile(r"Worker process \d+ (?:was killed by signal (?P<signal>\d+)|exited with status (?P<status>\d+))")


class WorkerDeaths(logging.Handler):
    """Listens, as a context, to the nannies of this process, who tell how a worker ended in their log alone. Other hosts' are not heard.

    `last`: `signal 6 (SIGABRT)` or `exit status 1`; None where no death was seen.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.last: str | None = None

    def __enter__(self) -> WorkerDeaths:
        logger = logging.getLogger(_NANNY)
        self._before = logger.level, logger.propagate, logger.handlers
        # Heard here, and nowhere else: the nanny's own words are for developers.
        logger.propagate, logger.handlers = False, [self]
        logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logger = logging.getLogger(_NANNY)
        level, logger.propagate, logger.handlers = self._before
        logger.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what a line says of a death."""
        found = _DEATH.search(record.getMessage())
        if found and found["signal"]:
            self.last = signal_text(int(found["signal"]))
        elif found:
            self.last = f"exit status {found['status']}"


class Pulse:
    """Notices when there has been no worker for so long that none will come: a run would wait for it for ever."""

    LONGEST_S = 300.0

    def __init__(self, lives: Callable[[], bool]) -> None:
        self._lives, self._seen = lives, time.monotonic()

    def check(self) -> None:
        """Look again; raises SetupError after five minutes without a worker."""
        if self._lives():
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > self.LONGEST_S:
            raise SetupError(
                f"no worker process has started on this host for {self.LONGEST_S:.0f} s; free memory or processors: `paretoscope resume` "
                "goes on where this run was"
            )


def reason(error: BaseException | None, node: Node, recipe: str, network: str, deaths: WorkerDeaths | None) -> str:
    """A step that does not fit says so itself; a dead worker is told of with what it worked on; anything else is named as our fault.

    A dead worker is the fault of `node` only where that ran alone, as the runner sees to.
    `recipe`: the label of one that waits for the node; `network`: the sweep's model source. Raises SetupError where there is no error:
    the connection to the scheduler was lost; and where the scheduler gave up for want of workers.
    """
    if error is None:
        # So ends what nobody answers for any more: it is not the node's fault.
        raise SetupError(
            "the Dask scheduler is gone, with all that was under way; start it again, and `paretoscope resume` goes on where this run was"
        )
    if isinstance(error, NoValidWorkerError):
        raise SetupError(
            "the Dask scheduler waits no longer for a worker that can go on (its own distributed.scheduler.no-workers-timeout); start one, "
            "and `paretoscope resume` goes on where this run was"
        )
    if isinstance(error, ParetoscopeError):
        return str(error)
    if getattr(error, "errno", None) in _NO_ROOM or "No space left on device" in str(error):
        said = str(error).splitlines()[0]
        return f"{node.kind}: no room for the file of this step of {recipe!r} ({said}); make some, then `paretoscope resume` tries it again"
    if isinstance(error, MemoryError):
        return f"{node.kind}: out of memory at this step of {recipe!r}: {str(error).splitlines()[0] if str(error) else 'no size was said'}"
    if isinstance(error, KilledWorker):
        what = source_name(str(node.options.get("student", network)))
        how = (
            f"by {deaths.last}" if deaths and deaths.last else f"on {error.last_worker.address}, whose log says by what"
        )
        if deaths and deaths.last and "SIGKILL" in deaths.last:
            how += " (which is how a system without free memory ends a process)"
        return (
            f"{node.kind}: the worker process died {error.allowed_failures + 1} times {how} at this step of {recipe!r} "
            f"on the network {what}, with no other step under way"
        )
    return f"{node.kind}: internal error, {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
