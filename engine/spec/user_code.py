"""Runs Python files of the user's, in networks' sources and in data's: with what lies beside them, and as it lies there now."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

INSTALLED = {"site-packages", "dist-packages"}
"""Folders with one of these above them hold what was installed, not what the user writes."""
# What the code of a package, or of a file and those beside it, was when this process ran it.
_RUN: dict[str, str] = {}


@contextmanager
def importing(folder: Path, first: bool) -> Iterator[None]:
    """With a folder on the path of imports: before all others for a file's siblings, after them for the working folder."""
    sys.path.insert(0 if first else len(sys.path), str(folder))
    importlib.invalidate_caches()
    # Compiled files are told apart by the second and the size: a change within both would be missed.
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        at = sys.path[:: 1 if first else -1].index(str(folder))
        del sys.path[at if first else -1 - at]


def run_file(path: Path, code: str) -> ModuleType | None:
    """The module of a file, run anew, its siblings too where `code`, their digest, has changed; None for what is no Python file.

    Called while `importing` the file's folder. Raises whatever the file does.
    """
    forget_if_changed(str(path.resolve()), code, lambda name, file: _is_sibling(name, file, path.resolve().parent))
    # A name of its own for each file; dataclasses and the like look their module up by it.
    name = f"paretoscope_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def forget_if_changed(key: str, code: str, belongs: Callable[[str, Path], bool]) -> None:
    """Imported modules whose code has changed since this process ran it are imported anew: keys are of the code as it lies there."""
    if _RUN.get(key, code) != code:
        for name, module in list(sys.modules.items()):
            if belongs(name, Path(getattr(module, "__file__", None) or "")):
                del sys.modules[name]
    _RUN[key] = code


def _is_sibling(name: str, file: Path, folder: Path) -> bool:
    """Whether a module is one of those that a file in `folder` imports from beside itself: no installed one, none of ours."""
    own = name.partition(".")[0] != __name__.partition(".")[0]
    return own and file.is_relative_to(folder) and not INSTALLED & set(file.parts)
