"""What identifies a Python file of the user's: its bytes and those of the files beside it that it imports. Nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from engine.spec.canonical import digest


def local_imports(path: Path) -> list[Path]:
    """Python files beside `path` that it imports, packages whole: what a change of may change what its functions do."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return []  # Loading the file reports it, with the line.
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    found: list[Path] = []
    for name in sorted({name.partition(".")[0] for name in names}):
        if (path.parent / f"{name}.py").is_file():
            found.append(path.parent / f"{name}.py")
        elif (path.parent / name).is_dir():
            found += sorted((path.parent / name).rglob("*.py"))
    return found


def code_sha256(path: Path, file_sha256: Callable[[Path], str]) -> str:
    """Hash of a Python file and, transitively, of the files beside it that it imports; `file_sha256` reads one, or says why it cannot."""
    seen: dict[Path, str] = {}
    queue = [path]
    while queue:
        file = queue.pop()
        if file not in seen:
            seen[file] = file_sha256(file)
            queue += local_imports(file)
    return digest(sorted((file.relative_to(path.parent).as_posix(), sha256) for file, sha256 in seen.items()))
