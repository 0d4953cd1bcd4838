"""Rich tables. Numbers get units and sensible digits here, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def console() -> Console:
    """Where tables go."""
    # A pipe gets a fixed width that fits every table, so that nothing is cut where a script or a log reads it.
    # What stands in brackets is a name of somebody's, or an extra to install, and no markup.
    found = Console(highlight=False, markup=False)
    return found if found.is_terminal else Console(highlight=False, markup=False, width=160)


def print_table(columns: dict[str, str], rows: Sequence[Sequence[str | Text]], caption: str | None = None) -> None:
    """Print rows under `columns`, a mapping from heading to `left` or `right`."""
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, justify in columns.items():
        table.add_column(name, justify=justify, no_wrap=justify == "right")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*row)
    console().print(table)


def counted(count: int, noun: str) -> str:
    """`1 file`, `2,000 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share as whole percent; an en dash for None."""
    return "–" if share is None else f"{share * 100:.0f} %"


def kilobytes(size: int | None) -> str:
    """Bytes as kB of 1000; an en dash for None."""
    return "–" if size is None else f"{size / 1000:.1f}"
