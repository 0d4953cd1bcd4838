"""A filter in plain form, read and written: `accuracy > 92 and (size < 50 kB or label ~ int8)`. What it matches: `matching.py`.

    filter      = all {"or" all}
    all         = one {"and" one}
    one         = "not" one | "(" filter ")" | comparison
    comparison  = name ("<" | "<=" | ">" | ">=" | "=" | "!=" | "~" | "!~") value
    value       = number [unit] | word | "text"

Words are read in any case; a name or a value that holds a blank, a bracket or a sign is quoted, a name with ` and a value with " or '.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from engine.errors import SpecError

LONGEST = 600
"""Characters of a filter."""
DEEPEST = 40
"""Brackets and `not`s within each other."""
ORDERED = frozenset({"<", "<=", ">", ">="})
"""The signs that only numbers have."""

_SIGNS = {"==": "=", "≤": "<=", "≥": ">=", "≠": "!=", "=~": "~"}
_SIGN = re.compile(r"<=|>=|==|!=|!~|=~|[<>=~≤≥≠]")
_RUN = re.compile(r"[^\s()<>=!~≤≥≠\"'`]+")
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
"""A number as it may be typed."""
_KEYWORDS = frozenset({"and", "or", "not"})


@dataclass(frozen=True)
class Compare:
    """`name sign text`; `unit` follows a number. `quoted`: text whatever it looks like. `at`: the first character's place, from 0."""

    name: str
    sign: str
    text: str
    unit: str = ""
    quoted: bool = False
    at: int = field(default=0, compare=False)

    @property
    def number(self) -> str | None:
        """The text, where it is a number."""
        return self.text if not self.quoted and NUMBER.fullmatch(self.text) else None


@dataclass(frozen=True)
class Not:
    """What the part does not match."""

    part: Filter


@dataclass(frozen=True)
class And:
    """What all of two or more parts match."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """What any of two or more parts matches."""

    parts: tuple[Filter, ...]


Filter = Compare | Not | And | Or


def parse_filter(text: str) -> Filter:
    """Read a filter; SpecError says in one line what is wrong with it, and at which character."""
    if len(text) > LONGEST:
        raise SpecError(f"the filter has {len(text):,} characters; {LONGEST} are the most")
    return _Reader(text).whole()


def filter_text(found: Filter) -> str:
    """A filter as `parse_filter` reads it: the same again."""
    match found:
        case Compare():
            value = _quoted(found.text, found.quoted) + f" {found.unit}" * bool(found.unit)
            return f"{_named(found.name)} {found.sign} {value}"
        case Not():
            return f"not {_bracketed(found.part, And | Or)}"
        case And():
            return " and ".join(_bracketed(part, And | Or) for part in found.parts)
        case Or():
            return " or ".join(_bracketed(part, Or) for part in found.parts)


def comparisons(found: Filter) -> Iterator[Compare]:
    """Every comparison of a filter, in its order."""
    match found:
        case Compare():
            yield found
        case Not():
            yield from comparisons(found.part)
        case _:
            for part in found.parts:
                yield from comparisons(part)


def _bracketed(part: Filter, kinds: object) -> str:
    text = filter_text(part)
    return f"({text})" if isinstance(part, kinds) else text  # type: ignore[arg-type]


def _is_word(text: str) -> bool:
    return bool(_RUN.fullmatch(text)) and text.lower() not in _KEYWORDS


def _named(name: str) -> str:
    return name if _is_word(name) else f"`{name}`"


def _quoted(text: str, quoted: bool) -> str:
    # A word that begins like a number would be read as one with a unit.
    if NUMBER.fullmatch(text) and not quoted:
        return text
    if _is_word(text) and not NUMBER.match(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class _Reader:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def whole(self) -> Filter:
        for at, letter in enumerate(self._text):
            if not (letter.isprintable() or letter.isspace()):
                self._refuse(f"{letter!r} is no letter or sign", at)
        if not self._text.strip():
            self._refuse("it is empty; write, for instance, `accuracy > 92 and size < 50 kB`", 0)
        found = self._any(0)
        self._skip()
        if self._at < len(self._text):
            what = "a `)` too many" if self._text[self._at] == ")" else "`and`, `or` or the end is missing before this"
            self._refuse(what, self._at)
        return found

    def _refuse(self, what: str, at: int) -> NoReturn:
        letters = (c if c.isprintable() else "?" for c in " ".join(self._text[at : at + 20].split()))
        shown = "".join(letters) or "its end"
        raise SpecError(f"filter, character {at + 1} ({shown}): {what}")

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _next(self) -> str:
        """The next letter that is not blank, empty at the end; nothing is taken."""
        self._skip()
        return self._text[self._at : self._at + 1]

    def _word(self) -> str | None:
        """The keyword that is next, in lower case; nothing is taken."""
        self._skip()
        found = _RUN.match(self._text, self._at)
        return found[0].lower() if found and found[0].lower() in _KEYWORDS else None

    def _take(self, word: str) -> bool:
        if self._word() != word:
            return False
        self._at += len(word)
        return True

    def _any(self, depth: int) -> Filter:
        parts = [self._all(depth)]
        while self._take("or"):
            parts.append(self._all(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, depth: int) -> Filter:
        parts = [self._one(depth)]
        while self._take("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self, depth: int) -> Filter:
        self._skip()
        if depth > DEEPEST:
            self._refuse(f"more than {DEEPEST} brackets or `not`s within each other", self._at)
        if self._take("not"):
            return Not(self._one(depth + 1))
        if self._next() != "(":
            return self._comparison()
        opened = self._at
        self._at += 1
        found = self._any(depth + 1)
        if not self._next():
            self._refuse("this `(` is not closed", opened)
        if self._next() != ")":
            self._refuse("`and`, `or` or `)` is missing before this", self._at)
        self._at += 1
        return found

    def _comparison(self) -> Compare:
        letter, at = self._next(), self._at
        if letter == "`":
            name = self._quote("`")
        else:
            found = _RUN.match(self._text, at)
            if not found or self._word():
                self._refuse("a name is missing here, as in `accuracy > 92`", at)
            name = found[0]
            self._at = found.end()
        if not name:
            self._refuse("the name is empty", at)
        self._skip()
        sign = _SIGN.match(self._text, self._at)
        if not sign:
            self._refuse(f"a sign is missing after `{name}`: one of < <= > >= = != ~ !~", self._at)
        self._at = sign.end()
        text, unit, quoted = self._value(sign[0])
        return Compare(name, _SIGNS.get(sign[0], sign[0]), text, unit, quoted, at)

    def _value(self, sign: str) -> tuple[str, str, bool]:
        letter, at = self._next(), self._at
        if letter and letter in "\"'":
            return self._quote(letter), "", True
        found = _RUN.match(self._text, at)
        if not found or self._word():
            self._refuse(f"a value is missing after `{sign}`", at)
        run = found[0]
        self._at = found.end()
        begun = NUMBER.match(run)
        if not begun:
            # `quoted` is how it was meant, not how it was typed: a word is text either way.
            return run, "", True
        if begun.end() < len(run):
            unit = run[begun.end() :]
        else:
            self._skip()
            after = _RUN.match(self._text, self._at)
            if not after or self._word():
                return run, "", False
            unit = after[0]
            self._at = after.end()
        return begun[0], unit, False

    def _quote(self, mark: str) -> str:
        opened = self._at
        letters: list[str] = []
        at = opened + 1
        while at < len(self._text) and self._text[at] != mark:
            if mark != "`" and self._text[at] == "\\" and at + 1 < len(self._text):
                at += 1
            letters.append(self._text[at])
            at += 1
        if at >= len(self._text):
            self._refuse(f"this {mark} is not closed", opened)
        self._at = at + 1
        return "".join(letters)
