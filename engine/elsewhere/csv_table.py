"""A table of points: a CSV file with a name and metrics as columns, or Weights & Biases' table of runs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engine.elsewhere.headings import heading, numbers
from engine.elsewhere.rows import Found, Row
from engine.elsewhere.wandb_runs import is_runs, read_runs
from engine.errors import InputError

NAME = "name"
_LARGEST = 4 << 20


def read_csv(path: Path, ignore: Sequence[str] = ()) -> Found:
    """The rows of a CSV file, commas between its cells; raises InputError, in one line, for what is not clear."""
    try:
        content = path.read_bytes()
        if len(content) > _LARGEST:
            raise InputError(
                f"{path} has {len(content) / 1e6:.0f} MB; a table of points has {_LARGEST >> 20} MiB at most"
            )
        text = content.decode("utf-8-sig")
        head, *body = [row for row in csv.reader(io.StringIO(text), strict=True) if any(c.strip() for c in row)] or [[]]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a CSV file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file in UTF-8: {' '.join(str(error).split())}; save it as one") from None
    names = [c.strip() for c in head]
    of_wandb = NAME not in names and is_runs(names)
    if NAME not in names and not of_wandb:
        hint = "; divide its cells by commas" if len(names) == 1 and set(names[0]) & {";", "\t"} else ""
        raise InputError(f"{path} has no column {NAME!r} among {', '.join(map(repr, names[:8])) or 'none'}{hint}")
    if twice := [n for n, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path} has two columns {twice[0]!r}; keep one")
    if unknown := [n for n in ignore if n not in names]:
        raise InputError(f"--ignore: {path} has no column {unknown[0]!r}; it has {', '.join(names)}")
    for i, row in enumerate(body, 1):
        if len(row) != len(names):
            raise InputError(
                f"{path}, row {i}: {len(row)} cells under {len(names)} headings; quote cells that hold a comma"
            )
    columns = dict(zip(names, zip(*body, strict=True), strict=True)) if body else dict.fromkeys(names, ())
    if of_wandb:
        return read_runs(path.name, str(path), columns, ignore)
    found = {}
    for name, cells in columns.items():
        if name != NAME and name not in ignore:
            kind = heading(name, str(path))
            if kind.key in found:
                raise InputError(f"{path} has {kind.key} twice, as a share and in percent; keep one")
            found[kind.key] = numbers(kind, cells, f"{path}, column {name!r}")
    rows = [
        Row(label.strip(), {k: v for k, values in found.items() if (v := values[i]) is not None})
        for i, label in enumerate(columns[NAME])
    ]
    return Found(path.name, tuple(rows))
