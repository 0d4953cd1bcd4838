"""A process with limits that answers one question after another, so that only the first waits for its start.

A question and its answer are bytes behind their length. One that oversteps, or dies, is ended; the next question starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import subprocess
import threading
import time
from collections import OrderedDict
from typing import IO

from engine.errors import SetupError, StepError
from engine.uploads.limited import ROOT, Ended, Limits, command, end, surroundings

OUT_OF_MEMORY = b"out of memory"
"""The answer of a process that was refused memory; it is not asked again."""
_MOST_ANSWER = 256 << 20
_START_S = 120.0
_REMEMBERED, _REMEMBERED_S = 256, 120.0


def send(pipe: IO[bytes], content: bytes) -> None:
    """Write one question or answer."""
    pipe.write(len(content).to_bytes(8, "little"))
    pipe.write(content)
    pipe.flush()


def receive(pipe: IO[bytes], most: int = _MOST_ANSWER) -> bytes | None:
    """Read one; None where the other side has ended, or sends more than is taken."""
    head = pipe.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or length > most:
        return None
    content = pipe.read(length)
    return content if len(content) == length else None


class Overstepped(StepError):
    """A question that takes more than the limits allow, or ends the process; the message says which: `more than 30 s`."""


class _Process:
    """One process; `answered` counts its answers."""

    def __init__(self, module: str, limits: Limits) -> None:
        self._limits = limits
        self.answered = 0
        try:
            self._process = subprocess.Popen(
                command(module, [str(limits.wall_s)], limits),
                cwd=ROOT,
                env=surroundings(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(
                f"the process that opens networks cannot be started: {error}; start the server anew"
            ) from None
        if self._answer(b"", _START_S)[0] is None:
            self.close()
            raise SetupError(
                "the process that opens networks does not start; is there memory left? Otherwise start the server anew"
            )

    @property
    def lives(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: bytes) -> bytes:
        """Its answer; raises Overstepped, and is of no use afterwards."""
        answer, late = self._answer(question, self._limits.wall_s)
        if answer is not None and answer != OUT_OF_MEMORY:
            self.answered += 1
            return answer
        self.close()
        if answer is not None:
            raise Overstepped(f"more than {self._limits.memory_bytes / 1e9:.1f} GB of memory")
        code = None if late else self._process.returncode
        raise Overstepped(Ended(code, "", "").overstepped(self._limits) or "down the process that opens it")

    def _answer(self, question: bytes, seconds: float) -> tuple[bytes | None, bool]:
        """What it says, None for nothing, and whether its time was over."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            end(self._process)

        timer = threading.Timer(seconds, stop)
        timer.start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(self._process.stdin, question)
            return receive(self._process.stdout), late.is_set()
        except OSError:
            return None, late.is_set()
        finally:
            timer.cancel()

    def close(self) -> None:
        """End it, and wait for that; the pipes are closed."""
        end(self._process)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


class KeptProcesses:
    """Processes of a module that answer, `most` at once; the one asked last is asked next, so that what it keeps is used."""

    def __init__(self, module: str, limits: Limits, most: int = 2) -> None:
        """`module` gets the seconds for a question as its argument; nothing starts before there is a question."""
        self._module, self._limits = module, limits
        self._idle: list[_Process] = []
        self._lock, self._places = threading.Lock(), threading.BoundedSemaphore(most)
        self._overstepped: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        atexit.register(self.close)

    def ask(self, question: bytes) -> bytes:
        """The answer; raises Overstepped, for a while without another try, and SetupError where no process can be started."""
        known = hashlib.sha256(question).digest()
        if why := self._remembered(known):
            raise Overstepped(why)
        with self._places:
            process = self._taken()
            try:
                try:
                    answer = process.ask(question)
                except Overstepped as error:
                    if process.answered == 0 or str(error) == f"more than {self._limits.wall_s:.0f} s":
                        raise
                    # It may have been what it kept of earlier questions.
                    process = _Process(self._module, self._limits)
                    answer = process.ask(question)
            except Overstepped as error:
                self._remember(known, str(error))
                raise
            except BaseException:
                process.close()
                raise
            with self._lock:
                self._idle.append(process)
        return answer

    @property
    def waiting(self) -> int:
        """How many there are that nobody asks now."""
        return len(self._idle)

    def close(self) -> None:
        """End those that wait for questions."""
        with self._lock:
            ended, self._idle = self._idle, []
        for process in ended:
            process.close()

    def _taken(self) -> _Process:
        """One that waits; those that ended by themselves, since nobody asked, are cleared away."""
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return _Process(self._module, self._limits)
            if process.lives:
                return process
            process.close()

    def _remembered(self, question: bytes) -> str | None:
        with self._lock:
            when, why = self._overstepped.get(question, (-_REMEMBERED_S, ""))
        return why if time.monotonic() - when < _REMEMBERED_S else None

    def _remember(self, question: bytes, why: str) -> None:
        with self._lock:
            self._overstepped.pop(question, None)
            self._overstepped[question] = time.monotonic(), why
            while len(self._overstepped) > _REMEMBERED:
                self._overstepped.popitem(last=False)
