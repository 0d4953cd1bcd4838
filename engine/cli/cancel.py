"""`paretoscope cancel`: stopping a sweep."""

from __future__ import annotations

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.errors import SpecError


def cancel(sweep: SweepRef, as_json: JsonFlag = False) -> None:
    """Stop a running sweep; what is finished stays."""
    from engine.store.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    if row.state != "running":
        raise SpecError(f"{row.id} is not running, it is {row.state}; there is nothing to cancel")
    store.request_cancel(row.id)
    print_json({"sweep": row.id, "state": "cancelling"}) if as_json else print(f"{row.id} will stop in a moment")
