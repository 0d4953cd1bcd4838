"""What narrows Explore down, and how its table is laid out, in the address.

&where=FILTER&brush=METRIC~LOW~HIGH&cuts=keep~…!out~…&columns=KEY,KEY&pin=KEY,KEY&sort=-KEY&every=1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.frontier.brush import Brush, Cut, brush_of, brush_text, cuts_of, cuts_text
from engine.frontier.filter import LONGEST as LONGEST_FILTER

MOST_COLUMNS = 40
_LONGEST_NAMES = 2000


@dataclass(frozen=True)
class Columns:
    """The table's columns by name, in their order; () is the usual ones. `sort`: "" by standing, a name, upwards, or `-name`, downwards.

    `pinned` stay in sight while the table is moved sideways. `every`: columns that do not vary are not hidden.
    """

    names: tuple[str, ...] = ()
    pinned: tuple[str, ...] = ()
    sort: str = ""
    every: bool = False


USUAL = Columns()
"""What is shown where nobody chose."""


@dataclass(frozen=True)
class Narrowing:
    """Which recipes there are to look at, after `where` and `cuts`, and which of those are marked, by `brush`."""

    where: str = ""
    cuts: tuple[Cut, ...] = ()
    brush: Brush | None = None

    @property
    def key(self) -> str:
        """What is left follows from this."""
        return f"{self.where}\n{cuts_text(self.cuts)}"


def parse(params: Mapping[str, str]) -> tuple[Narrowing, Columns]:
    """An address's parameters -> what narrows and the table's columns; what is impossible in them is left out."""

    def names(key: str) -> tuple[str, ...]:
        text = params.get(key, "")
        parts = text.split(",", MOST_COLUMNS)[:MOST_COLUMNS] if len(text) <= _LONGEST_NAMES else []
        return tuple(dict.fromkeys(_unquoted(p) for p in parts if p and p.isprintable()))

    where, sort = params.get("where", "").strip(), params.get("sort", "")
    return (
        Narrowing(
            where if len(where) <= LONGEST_FILTER else where[: LONGEST_FILTER + 1],
            cuts_of(params.get("cuts")),
            brush_of(params.get("brush")),
        ),
        Columns(
            names("columns"),
            names("pin"),
            sort if len(sort) <= _LONGEST_NAMES and sort.isprintable() else "",
            params.get("every") == "1",
        ),
    )


def to_params(found: Narrowing, columns: Columns) -> dict[str, str]:
    """The inverse of `parse`; defaults are left out."""
    pairs = {
        "where": found.where,
        "cuts": cuts_text(found.cuts),
        "brush": brush_text(found.brush) if found.brush else "",
        "columns": ",".join(map(_quoted, columns.names)),
        "pin": ",".join(map(_quoted, columns.pinned)),
        "sort": columns.sort,
        "every": "1" if columns.every else "",
    }
    return {key: value for key, value in pairs.items() if value}


def _quoted(name: str) -> str:
    # A sweep's own metric has any name.
    return name.replace("%", "%25").replace(",", "%2C")


def _unquoted(text: str) -> str:
    return text.replace("%2C", ",").replace("%25", "%")
