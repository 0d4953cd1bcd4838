"""`paretoscope du` and `paretoscope gc`: what the artifact store holds, for whom, and what of it nobody needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import console, counted, print_table

if TYPE_CHECKING:
    from engine.run.holdings import Use
    from engine.store.store import Store


def du(
    sweep: Annotated[str | None, typer.Argument(metavar="SWEEP", help="One sweep; left out: every one.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """What each sweep holds of the artifact store; `alone` is what only it holds, and what deleting it and `gc` would free."""
    from engine.run.holdings import in_use
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    store, artifacts = Store.open(), Artifacts.open()
    one = store.sweep(sweep).id if sweep else None
    use = in_use(store, artifacts)
    if as_json:
        print_json(_as_json(use, one) | {"columns": _columns_json(store)})
        return
    shown = [h for h in use.holdings if one in (None, h.sweep)]
    rows = [
        (
            h.sweep,
            str(h.files),
            _mb(h.n_bytes),
            _mb(h.own_bytes),
            f"cannot be planned: {h.problem}" if h.problem else "",
        )
        for h in shown
    ]
    print_table({"sweep": "left", "files": "right", "MB": "right", "alone": "right", "": "left"}, rows)
    console().print(f"{_mb(use.n_bytes)} MB in all; {_freed(use)}")
    if columns := store.columns.held()[0]:
        console().print(f"Beside it {_mb(columns)} MB of columns kept ready, so that pages need not read every record")


def gc(
    remove: Annotated[bool, typer.Option("--remove", help="Remove them; without it nothing is touched.")] = False,
    forget_old_code: Annotated[
        bool, typer.Option("--forget-old-code", help="Also what only `run --keep-old-code` would take.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """How much lies in the artifact store that no sweep needs and that is older than an hour; with --remove it goes."""
    from engine.run.holdings import collect, in_use
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    store, artifacts = Store.open(), Artifacts.open()
    use = (collect if remove else in_use)(store, artifacts, not forget_old_code)
    columns, orphans = _columns_json(store), store.columns.held()[1]
    if remove:
        store.columns.collect()
    if as_json:
        print_json(_as_json(use) | {"columns": columns, "removed": remove})
        return
    if remove:
        console().print(
            f"{counted(len(use.unneeded), 'file')} removed, {_mb(use.unneeded_bytes)} MB of {_mb(use.n_bytes)}"
        )
    else:
        console().print(f"{_freed(use)}{'; `paretoscope gc --remove` removes them' if use.unneeded else ''}")
    if orphans:
        console().print(f"{_mb(orphans)} MB of columns of sweeps that are no more{' removed' if remove else ' too'}")


def _freed(use: Use) -> str:
    verb = "is" if len(use.unneeded) == 1 else "are"
    return f"{counted(len(use.unneeded), 'file')}, {_mb(use.unneeded_bytes)} MB, {verb} needed by no sweep"


def _columns_json(store: Store) -> dict[str, int]:
    n_bytes, unneeded = store.columns.held()
    return {"n_bytes": n_bytes, "unneeded_bytes": unneeded}


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f}"


def _as_json(use: Use, one: str | None = None) -> dict[str, Any]:
    held = [{k: v for k, v in asdict(h).items() if k != "names"} for h in use.holdings if one in (None, h.sweep)]
    unneeded = {"files": len(use.unneeded), "n_bytes": use.unneeded_bytes, "young_files": len(use.young)}
    return {"n_bytes": use.n_bytes, "sweeps": held, "unneeded": unneeded}
