"""`--where`: the trials that a filter matches."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from engine.trials.trial import Trial

Where = Annotated[
    str | None,
    typer.Option(
        metavar="FILTER",
        help="Only recipes that it matches, as `accuracy > 92 and size < 50 kB and not label ~ int8`; docs/explore.md has all of it.",
    ),
]


def matching(trials: Sequence[Trial], where: str | None, device: str) -> list[Trial]:
    """Those that the filter matches, all without one; how many lack what it asks for is said on stderr."""
    if where is None:
        return list(trials)
    from engine.frontier.matching import match

    found = match(trials, where, device)
    said(int(found.rows.sum()), len(trials), found.lacking_text())
    return [t for t, is_one in zip(trials, found.rows.tolist(), strict=True) if is_one]


def said(matched: int, total: int, lacking: str) -> None:
    """How many a filter matches, and how many lack what it asks for, on stderr."""
    silent = f"; {lacking}, and are not matched" if lacking else ""
    sys.stderr.write(f"{matched:,} of {total:,} recipes match{silent}\n")
