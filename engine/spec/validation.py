"""pydantic's findings as one line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from engine.errors import SpecError
from engine.spec.steps import FAMILIES


def _where(prefix: str, location: tuple[str | int, ...]) -> str:
    names = [str(part) for part in location if part not in (*FAMILIES, "imported")]
    return ".".join([prefix, *names] if prefix else names)


def _first_line(error: ValidationError, prefix: str) -> str:
    """pydantic's findings as one line: where, what was wrong, the value, and the names that would do."""
    finding = error.errors()[0]
    where, value = _where(prefix, finding["loc"]), finding["input"]
    message = finding["msg"]
    if finding["type"] == "value_error":
        return ": ".join(part for part in (where, message.removeprefix("Value error, ")) if part)
    if finding["type"] == "extra_forbidden":
        parent, _, key = where.rpartition(".")
        return f"{where}: {key!r} is not a known key{' of ' + parent if parent else ''}; see README, “A spec”"
    if finding["type"] == "missing":
        return f"{where} is missing; add it to the spec"
    shown = repr(value)
    return f"{where}: {message[0].lower()}{message[1:]}, but is {shown if len(shown) < 80 else shown[:77] + '…'}"


def validated(kind: type[BaseModel], value: Any, where: str) -> Any:
    """`value` as a model of the kind; raises SpecError in one line that starts with `where`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise SpecError(_first_line(error, where)) from None
