"""`paretoscope import`: somebody else's numbers beside a sweep, marked as such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.cli._tables import counted
from engine.errors import SpecError

if TYPE_CHECKING:
    from engine.elsewhere.points import ImportedPoints


def import_points(
    sweep: SweepRef,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE", help="A .csv table, Olive’s footprint.json, or an Optuna storage (.db, .log)."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What measured its times and energy: a profile’s name or your own."),
    ] = None,
    ignore: Annotated[str, typer.Option(metavar="COLUMN,…", help="Columns of the table to leave out.")] = "",
    study: Annotated[str | None, typer.Option(metavar="NAME", help="Which study of an Optuna storage.")] = None,
    values: Annotated[
        str | None, typer.Option(metavar="METRIC,…", help="What a study’s objectives are, as the columns of a table.")
    ] = None,
    remove: Annotated[
        str | None, typer.Option(metavar="NAME", help="Forget an imported point, or all of that file or study.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Put numbers that were measured elsewhere beside a sweep, as points marked `imported`; on the frontier only when asked."""
    from engine.elsewhere import points
    from engine.store.store import Store

    if (source is None) == (remove is None):
        raise SpecError("give a SOURCE to import, or --remove NAME, one of the two")
    store = Store.open()
    if source is None:
        row = store.sweep(sweep)
        count = store.points.remove(row.id, str(remove))
        known = {"sweep": row.id, "name": remove, "removed": count}
        print_json(known) if as_json else print(f"{row.id}: {remove} is forgotten, {counted(count, 'imported point')}")
        return
    skipped = [name.strip() for name in ignore.split(",") if name.strip()]
    found = points.import_points(store, sweep, source, device, skipped, study, values)
    if as_json:
        print_json(
            {
                "sweep": found.sweep,
                "points": [p.to_json() for p in found.points],
                "replaced": list(found.replaced),
                "left_out": list(found.left_out),
            }
        )
    else:
        print_imported(found)


def print_imported(found: ImportedPoints) -> None:
    """What came, what it replaced, what was left out."""
    metrics = sorted({key for p in found.points if p.stated for key in p.stated.values})
    devices = sorted({p.stated.device for p in found.points if p.stated and p.stated.device})
    on = f" (times on {', '.join(devices)})" if devices else ""
    print(f"{found.sweep}: {counted(len(found.points), 'point')} imported with {', '.join(metrics)}{on}")
    if found.replaced:
        print(f"{len(found.replaced)} of them take the place of points of the same names")
    if found.left_out:
        print(f"left out, not known here: {', '.join(found.left_out)}")
    print(f"they are off the frontier unless asked for: paretoscope front {found.sweep} --imported")
