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
    Parameters,
    accepted,
    builder_file,
    code_sha256,
    missing_function,
    names_file,
    split_function,
)

# What the code of a module was when this process imported it.
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
            module = _run_file(path, source) if names_file(source) else _import(source)
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
    try:
        yield
    finally:
        at = sys.path[:: 1 if first else -1].index(str(folder))
        del sys.path[at if first else -1 - at]


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
    """The module, anew where its code has changed since this process imported it: keys are of the code as it lies there."""
    name, code = split_function(source)[0], code_sha256(source)
    top = name.partition(".")[0]
    if _IMPORTED.get(top, code) != code:
        for loaded in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
            del sys.modules[loaded]
    module = importlib.import_module(name)
    _IMPORTED[top] = code
    return module
