"""What identifies Python files of the user's: their bytes and those of the files beside them that they import. Nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.spec.canonical import digest


def _local_imports(path: Path, folder: Path) -> list[Path]:
    """Python files in `folder` that a file imports, packages whole: what a change of may change what its functions do."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return []  # Loading the file reports it, with the line.
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    found: list[Path] = []
    for name in sorted({name.partition(".")[0] for name in names}):
        if (folder / f"{name}.py").is_file():
            found.append(folder / f"{name}.py")
        elif (folder / name).is_dir():
            found += sorted((folder / name).rglob("*.py"))
    return found


def code_sha256(first: Iterable[Path], root: Path, file_sha256: Callable[[Path], str], follows: bool = True) -> str:
    """Hash of files and, if it `follows` imports, of what they import from beside themselves and from `root`, transitively.

    `file_sha256` reads one, or says why it cannot.
    """
    seen = {file: file_sha256(file) for file in code_files(first, root, follows)}
    return digest(sorted((file.relative_to(root).as_posix(), sha256) for file, sha256 in seen.items()))


def code_files(first: Iterable[Path], root: Path, follows: bool = True) -> list[Path]:
    """Those files and, if it `follows` imports, what they import from beside themselves and from `root`, transitively; nothing twice."""
    seen: dict[Path, None] = {}
    queue = list(first)
    while queue:
        file = queue.pop()
        if file not in seen:
            seen[file] = None
            if follows:
                queue += [f for folder in dict.fromkeys((file.parent, root)) for f in _local_imports(file, folder)]
    return list(seen)
