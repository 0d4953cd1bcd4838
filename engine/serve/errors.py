"""What a request can be told when it is not answered, as HTTP says it."""

from __future__ import annotations


class Refused(Exception):
    """A request that is not answered: `status` is HTTP's, the message one line for whoever sent it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Malformed(Refused):
    """A request that says something that cannot be: 400, or another 4xx."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(status, message)


class Busy(Refused):
    """No room at the moment: 503; the same request may do later."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)
