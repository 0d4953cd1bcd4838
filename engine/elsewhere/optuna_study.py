"""Points of an Optuna study, whose storage is read by Optuna itself and never written to: an SQLite file or a journal."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.elsewhere.headings import Heading, heading, numbers
from engine.elsewhere.rows import Found, Row
from engine.errors import InputError
from engine.metrics import METRICS
from engine.spec.names import fitting_name

if TYPE_CHECKING:
    from optuna import Study

SQLITE = "sqlite:///"
_SQLITE_FILES = {".db", ".sqlite", ".sqlite3"}


def is_study(source: str) -> bool:
    """Whether a source names an Optuna storage: an SQLite URL or file, or a journal (`.log`, `.journal`)."""
    return "://" in source or Path(source).suffix in {*_SQLITE_FILES, ".log", ".journal"}


def read_study(source: str, study: str | None, values: str | None) -> Found:
    """The complete trials of a study.

    `values`: what its objectives are, by name as the columns of a table, divided by commas; without it the study's own metric names have
    to say. Raises InputError, in one line, for what cannot be read or is not clear.
    """
    found = _load(source, study)
    names = [v.strip() for v in values.split(",")] if values is not None else list(found.metric_names or ())
    if not names:
        raise InputError(
            f"study {found.study_name!r} does not say what its {len(found.directions)} objectives are; name them in their order, as in "
            "--values accuracy,size_bytes"
        )
    if len(names) != len(found.directions):
        raise InputError(
            f"--values names {len(names)}, but study {found.study_name!r} has {len(found.directions)} objectives"
        )
    where = f"study {found.study_name!r}" if values is None else "--values"
    heads = [heading(name, where) for name in names]
    for head, name, direction in zip(heads, names, found.directions, strict=True):
        if METRICS[head.key].maximise != (direction.name == "MAXIMIZE"):
            better = "more" if METRICS[head.key].maximise else "less"
            raise InputError(
                f"study {found.study_name!r} has {direction.name.lower()}d {name!r}, but {better} of it is better; name it by --values"
            )
    return Found(fitting_name(found.study_name), _rows(found, heads))


def _rows(study: Study, heads: Sequence[Heading]) -> tuple[Row, ...]:
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if not done:
        raise InputError(f"study {study.study_name!r} has no complete trial; import it when it has")
    columns: dict[str, list[float | None]] = {}
    for i, head in enumerate(heads):
        if head.key in columns:
            raise InputError(f"study {study.study_name!r} has {head.key} twice; name the right one in --values")
        columns[head.key] = numbers(head, [repr(t.values[i]) for t in done], f"study {study.study_name!r}, {head.key}")
    return tuple(
        Row(
            fitting_name(f"{study.study_name[:80]} trial {t.number}"),
            {key: v for key, values in columns.items() if (v := values[i]) is not None},
            (f"parameters: {', '.join(f'{k} {v}' for k, v in t.params.items())}",) if t.params else (),
        )
        for i, t in enumerate(done)
    )


def _load(source: str, name: str | None) -> Study:
    bare = source.removeprefix(SQLITE)
    path = Path(bare)
    if "://" in bare:
        raise InputError(
            f"{source.split('://')[0]}:// is not read; give an SQLite file ({SQLITE}study.db) or a journal (study.log)"
        )
    # Optuna would make an empty one.
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the file of an Optuna storage")
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise InputError("optuna is not installed; `pip install optuna` to read studies") from None
    try:
        with warnings.catch_warnings():
            # Journals and metric names are called experimental.
            warnings.simplefilter("ignore")
            if source.startswith(SQLITE) or path.suffix in _SQLITE_FILES:
                storage: object = optuna.storages.RDBStorage(f"{SQLITE}file:{path.resolve()}?mode=ro&uri=true")
            else:
                storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
            known = optuna.study.get_all_study_names(storage)  # type: ignore[arg-type]
            if not known:
                raise InputError(f"{path} holds no Optuna study; give an SQLite file or a journal that does")
            if (name is not None and name not in known) or (name is None and len(known) > 1):
                names = ", ".join(map(repr, known[:8])) or "none"
                what = (
                    "--study: there is no study " + repr(name) if name else f"{path} has {len(known)} studies, not one"
                )
                raise InputError(f"{what}; it has {names}; name one with --study")
            study: Study = optuna.load_study(study_name=name or known[0], storage=storage)  # type: ignore[arg-type]
            study.metric_names  # noqa: B018  (asked here, where warnings are off)
            return study
    except InputError:
        raise
    except Exception as error:  # optuna's own, sqlalchemy's, sqlite's, and of the journal's JSON
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path} cannot be read as an Optuna storage: {said}; give one of this machine's optuna"
        ) from None
