"""`paretoscope sweeps`: every sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import print_table

if TYPE_CHECKING:
    from engine.store.rows import SweepRow


def sweeps(as_json: JsonFlag = False) -> None:
    """Every sweep, newest first."""
    from engine.store.store import Store

    rows = Store.open().sweeps()
    print_json([asdict(r) for r in rows]) if as_json else print_sweeps(rows)


def print_sweeps(rows: Sequence[SweepRow]) -> None:
    """Every sweep."""
    columns = {"sweep": "left", "name": "left", "state": "left", "trials": "right", "created (UTC)": "left"}
    print_table(
        columns,
        [
            (
                r.id,
                r.name,
                r.state + (" (shipped example)" if r.example else ""),
                f"{r.trials}/{r.recipes}",
                r.created[:16],
            )
            for r in rows
        ],
    )
