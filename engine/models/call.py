"""Calls a function of the user that returns a network: in a file, which is run anew each time, or in a module, which is imported."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
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
from engine.spec.sent_code import working_folder
from engine.spec.user_code import forget_if_changed, importing, run_file


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
    folder = path.resolve().parent if names_file(source) else working_folder()
    try:
        with importing(folder, first=names_file(source)):
            if names_file(source):
                module = run_file(path, code_sha256(source))
                if module is None:
                    raise ModelError(f"model {source!r}: {path} is not a Python file")
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


def _import(source: str) -> ModuleType:
    name = split_function(source)[0]
    top = name.partition(".")[0]
    forget_if_changed(top, code_sha256(source), lambda n, file: n == top or n.startswith(f"{top}."))
    return importlib.import_module(name)
