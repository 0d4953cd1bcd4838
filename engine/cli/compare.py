"""`paretoscope compare`: trials of a sweep side by side, and which of them the test samples tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, print_json
from engine.cli._tables import counted, print_table
from engine.cli._view import looked_at
from engine.errors import SpecError

if TYPE_CHECKING:
    from engine.explain.compare import Pair, Row
    from engine.trials.trial import Trial

_LEAST, _MOST = 2, 6


def compare(
    sweep: SweepRef,
    trials: Annotated[list[str], typer.Argument(metavar="TRIAL TRIAL…", help="Two to six trials, by their ids.")],
    device: Annotated[str | None, typer.Option(help="Profile that latency and energy are for; default: host.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Two to six trials side by side: numbers, options of their recipes, and which of them the test samples tell apart."""
    from engine.explain.compare import metric_rows, recipe_rows, stored_pairs
    from engine.store.artifacts import Artifacts
    from engine.store.store import Store

    store = Store.open()
    row = store.sweep(sweep)
    ids = list(dict.fromkeys(store.trial(row.id, name).id for name in trials))
    if not _LEAST <= len(ids) <= _MOST:
        raise SpecError(f"{counted(len(ids), 'different trial')} named; name {_LEAST} to {_MOST} of them")
    listed, device, _ = looked_at(row.id, device, None)
    by_id = {t.id: t for t in listed}
    found = [by_id[i] for i in ids]
    numbers, options = metric_rows(found, device), recipe_rows(found)
    tested = stored_pairs(found, Artifacts.open())
    if as_json:
        print_json(
            {
                "trials": [t.to_json(device) for t in found],
                "numbers": [asdict(r) | {"differs": r.differs} for r in numbers],
                "options": [asdict(r) | {"differs": r.differs} for r in options],
                "pairs": [asdict(p) | {"told_apart": p.told_apart} for p in tested],
            }
        )
    else:
        print_comparison(found, [*numbers, *options], tested)


def print_comparison(trials: Sequence[Trial], rows: Sequence[Row], pairs: Sequence[Pair]) -> None:
    """What differs, a column for each trial; then each pair of them."""
    print_table(
        {"": "left", **{t.id: "left" for t in trials}},
        [("recipe", *(t.label for t in trials)), *((r.name, *r.values) for r in rows if r.differs)],
    )
    print()
    verdicts = {None: "not known", True: "told apart", False: "not told apart"}
    columns = {"pair": "left", "difference": "right", "p (Holm)": "right", "": "left"}
    print_table(
        columns,
        [
            (
                f"{p.first} and {p.second}",
                p.difference or "–",
                "–" if p.p_holm is None else f"{p.p_holm:.3f}",
                verdicts[p.told_apart],
            )
            for p in pairs
        ],
    )
