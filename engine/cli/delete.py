"""`paretoscope delete`: forgetting a sweep."""

from __future__ import annotations

from engine.cli._options import JsonFlag, SweepRef, print_json


def delete(sweep: SweepRef, as_json: JsonFlag = False) -> None:
    """Delete a sweep and its trials. Its files stay: other sweeps may share them, and the same spec finds them again."""
    from engine.paths import forget_run
    from engine.store.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    store.delete_sweep(row.id)
    forget_run(row.id)
    print_json({"sweep": row.id, "state": "deleted"}) if as_json else print(f"{row.id} is deleted")
