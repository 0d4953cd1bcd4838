"""Calls a function of the user that returns a network: in a file, which is run anew each time, or in a module, which is imported."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.errors import ModelError
from engine.models.catalog import one_line
from engine.models.functions import (
    INSTALLED,
    Parameters,
    accepted,
    builder_file,
    code_sha256,
    missing_function,
    names_file,
    split_function,
)

# What the code of a package, or of a file and those beside it, was when this process ran it.
_IMPORTED: dict[str, str] = {}


def call_function(
    source: str,
    offered: Mapping[str, Any],
    options: Mapping[str, Any],
    check: Callable[[set[str], str], None] = lambda known, function: None,
) -> Any:
    """What the function of a source returns, called with all of `options` and those of `offered` that it takes, which hold `options` too.

    `check` is given the names of all that it would be called with, and the function's, before. Raises ModelError, in one line, for whatever
    goes wrong in the user's code.
    """
    path, (_, function) = builder_file(source), split_function(source)
    folder = path.resolve().parent if names_file(source) else Path.cwd()
    try:
        with _importing(folder, first=names_file(source)):
            if names_file(source):
                _forget_if_changed(source, str(path.resolve()), lambda name, file: _is_sibling(name, file, folder))
                module = _run_file(path, source)
            else:
                module = _import(source)
            build = getattr(module, function, None)
            if not callable(build):
                raise missing_function(source)
            taken = accepted(source, Parameters.of(build), offered, options)
            check(set(taken), function)
            return build(**taken)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {source!r} failed: {type(error).__name__}: {one_line(error)}; fix the function"
        ) from None


@contextmanager
def _importing(folder: Path, first: bool) -> Iterator[None]:
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


def _is_sibling(name: str, file: Path, folder: Path) -> bool:
    """Whether a module is one of those that a file in `folder` imports from beside itself: no installed one, none of ours."""
    own = name.partition(".")[0] != __name__.partition(".")[0]
    return own and file.is_relative_to(folder) and not INSTALLED & set(file.parts)


def _run_file(path: Path, source: str) -> ModuleType:
    # A name of its own for each file; dataclasses and the like look their module up by it.
    name = f"paretoscope_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"model {source!r}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _import(source: str) -> ModuleType:
    name = split_function(source)[0]
    top = name.partition(".")[0]
    _forget_if_changed(source, top, lambda n, file: n == top or n.startswith(f"{top}."))
    return importlib.import_module(name)


def _forget_if_changed(source: str, key: str, belongs: Callable[[str, Path], bool]) -> None:
    """Imported modules whose code has changed since this process ran it are imported anew: keys are of the code as it lies there."""
    code = code_sha256(source)
    if _IMPORTED.get(key, code) != code:
        for name, module in list(sys.modules.items()):
            if belongs(name, Path(getattr(module, "__file__", None) or "")):
                del sys.modules[name]
    _IMPORTED[key] = code
