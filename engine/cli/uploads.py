"""`paretoscope uploads`: files that came through the browser, and room for more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import console, kilobytes, print_table

if TYPE_CHECKING:
    from engine.uploads.keep import Upload


def uploads(
    remove_unused: Annotated[
        bool, typer.Option("--remove-unused", help="Remove those that no sweep names and that are older than an hour.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Files that were uploaded in the browser, which sweeps use them, and how much room is left."""
    from engine.store.store import Store
    from engine.uploads import bounds, keep

    store = Store.open()
    gone = keep.remove_unused(store) if remove_unused else []
    kept = keep.kept_uploads()
    used, most = keep.users(store, kept), bounds.kept_at_most()
    if as_json:
        shown = [asdict(u) | {"path": str(u.path), "sweeps": used[u.sha256]} for u in kept]
        print_json({"uploads": shown, "removed": [asdict(u) for u in gone], "most_bytes": most})
        return
    print_uploads(kept, used)
    if remove_unused:
        console().print(f"{len(gone)} removed, {bounds.size(sum(u.n_bytes for u in gone))}")
    console().print(f"{bounds.size(sum(u.n_bytes for u in kept))} of {bounds.size(most)} (PARETOSCOPE_UPLOADS_GB)")


def print_uploads(kept: Sequence[Upload], used: dict[str, list[str]]) -> None:
    """One line for each."""
    columns = {"upload": "left", "name": "left", "kB": "right", "came (UTC)": "left", "sweeps": "left", "path": "left"}
    rows = [
        (
            u.kind,
            u.name,
            kilobytes(u.n_bytes),
            datetime.fromtimestamp(u.came_s, UTC).strftime("%Y-%m-%d %H:%M"),
            ", ".join(used[u.sha256]) or "none",
            str(u.path),
        )
        for u in kept
    ]
    if rows:
        print_table(columns, rows)
