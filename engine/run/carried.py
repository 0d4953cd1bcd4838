"""What of a sweep goes with its nodes to workers elsewhere: the user's own Python, by its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import SetupError
from engine.models.catalog import source_kind
from engine.models.functions import code_behind, names_file
from engine.spec.code_hash import code_files
from engine.spec.sent_code import MOST_BYTES, SentCode
from engine.spec.steps import Distill
from engine.spec.sweep import Sweep


def code_of(sweep: Sweep) -> SentCode | None:
    """The Python files that a sweep names, and those that they import from beside themselves; None where it names none.

    Packages that are installed among others are not among them: they must be installed on the workers too. Raises InputError.
    """
    folders: dict[Path, int] = {}
    files: dict[tuple[int, str], bytes] = {}
    named: dict[str, tuple[int, str]] = {}
    modules: int | None = None

    def packed(first: list[Path], root: Path, follows: bool) -> int:
        number = folders.setdefault(root, len(folders))
        for file in code_files(first, root, follows):
            try:
                files[number, file.relative_to(root).as_posix()] = file.read_bytes()
            except OSError as error:
                raise SetupError(f"{file} cannot be read ({error.strerror}); give a file that can") from None
        return number

    for source in sorted(_function_files(sweep.model_dump())):
        path = Path(source)
        named[str(path)] = (packed([path], path.parent, True), path.name)
    for source in sorted(_modules(sweep)):
        first, root, follows = code_behind(source)
        if follows:
            modules = packed(first, root, follows)
    size = sum(map(len, files.values()))
    if size > MOST_BYTES:
        raise SetupError(
            f"the Python that the spec names, with what it imports from beside it, has {size / 2**20:.1f} MiB, more than the "
            f"{MOST_BYTES // 2**20} that go with every node; install it as a package on the workers, and name it pkg.module:function"
        )
    return (
        SentCode(
            tuple(map(str, folders)),
            tuple((number, name, content) for (number, name), content in sorted(files.items())),
            tuple((called, number, name) for called, (number, name) in named.items()),
            modules,
        )
        if files
        else None
    )


def function_sources(sweep: Sweep) -> frozenset[str]:
    """Every `path/to/file.py:function` of a sweep."""
    return frozenset(_strings(sweep.model_dump()))


def _function_files(dumped: Mapping[str, Any]) -> set[str]:
    return {source.rpartition(":")[0] for source in _strings(dumped)}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        path, _, function = value.rpartition(":")
        if path.endswith(".py") and function.isidentifier() and Path(path).is_file():
            yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _strings(part)


def _modules(sweep: Sweep) -> set[str]:
    teachers = {s.teacher for r in sweep.all_recipes for s in r.steps if isinstance(s, Distill)}
    sources = {sweep.model.source, *(teachers - {"baseline", "previous"})}
    return {s for s in sources if source_kind(s) == "python" and not names_file(s)}
