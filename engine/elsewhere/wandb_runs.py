"""Runs that Weights & Biases exported as a table: one row each, what is known here among the columns taken, the rest named as left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.elsewhere.headings import heading, numbers
from engine.elsewhere.rows import Found, Row
from engine.errors import InputError
from engine.spec.names import fitting_name

_OWN = ("Name", "State", "Notes", "User", "Tags", "Created", "Runtime", "Sweep")
# What their page writes where a run has no such value.
_NOTHING = {"", "-", "NaN", "nan", "null"}


def is_runs(names: Sequence[str]) -> bool:
    """Whether these are the headings of such a table: a run's name, how it ended, and one more that only their table has."""
    return {"Name", "State"} <= set(names) and bool({"Created", "Runtime", "Sweep"} & set(names))


def read_runs(source: str, where: str, columns: Mapping[str, Sequence[str]], ignore: Sequence[str] = ()) -> Found:
    """Runs that finished, with the numbers whose columns are called as they are here; others are left out, and named.

    Raises InputError for a number that cannot be, or in an unclear unit, and where nothing is left.
    """
    left_out, found = [], {}
    for name, cells in columns.items():
        if name in _OWN or name in ignore:
            continue
        try:
            kind = heading(name, where)
        except InputError:
            left_out.append(name)
            continue
        if kind.key in found:
            raise InputError(f"{where} has {kind.key} twice, as a share and in percent; keep one")
        finished = [
            c if state == "finished" and c.strip() not in _NOTHING else ""
            for c, state in zip(cells, columns["State"], strict=True)
        ]
        found[kind.key] = numbers(kind, finished, f"{where}, column {name!r}")
    rows = []
    for i, (label, state) in enumerate(zip(columns["Name"], columns["State"], strict=True)):
        values = {k: v for k, column in found.items() if (v := column[i]) is not None}
        if values:
            rows.append(Row(fitting_name(label), values))
        else:
            left_out.append(f"{label} ({state}{', no number' * (state == 'finished')})")
    if not rows:
        raise InputError(
            f"{where} has no finished run with a number that is known here; call a column by its unit, such as accuracy (a share), "
            "accuracy_%, size_bytes or latency_ms"
        )
    return Found(source, tuple(rows), tuple(left_out))
