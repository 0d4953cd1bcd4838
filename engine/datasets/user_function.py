"""Functions of the user's own files that take arrays or tensors: `path/to/file.py:function`, found, hashed and loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.datasets.file_hash import file_sha256
from engine.errors import InputError, StepError
from engine.spec.code_hash import code_sha256
from engine.spec.sent_code import lies_at
from engine.spec.user_code import importing, run_file


def function_code(source: str, what: str) -> str:
    """SHA-256, in hex, of the function's file and of what that imports from beside it; nothing is run. Raises DatasetError.

    `what` is what messages call it: metric, loss.
    """
    path = lies_at(Path(source.rpartition(":")[0]))

    def hashed(file: Path) -> str:
        return file_sha256(file, f"{what} {source!r}: {file}", "give the path of a Python file")

    return code_sha256([path], path.parent, hashed)


def load_function(source: str, what: str, refusal: type[Exception] = StepError) -> Callable[..., Any]:
    """The function, of its file as it lies there now, which may import what lies beside it as it runs, too. Raises `refusal`, in one line,
    where the file fails or has no such function.
    """
    path, function = lies_at(Path(source.rpartition(":")[0])), source.rpartition(":")[2]
    folder = path.resolve().parent
    try:
        with importing(folder, first=True):
            module = run_file(path, function_code(source, what))
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code
        raise refusal(f"{what} {source!r} cannot be loaded: {failure(error)}; fix the file") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise refusal(f"{what} {source!r}: {path} has no function {function!r}; check the name after the colon")

    def beside(*arguments: Any) -> Any:
        try:
            return found(*arguments)
        except ModuleNotFoundError:
            # Not around every call: the path of imports is one for all threads.
            with importing(folder, first=True):
                return found(*arguments)

    return beside


def called(
    source: str, what: str, function: Callable[..., Any], *arguments: Any, refusal: type[Exception] = StepError
) -> Any:
    """What it returns; raises `refusal`, in one line with the place, where it fails."""
    try:
        return function(*arguments)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's own code
        raise refusal(f"{what} {source!r} failed: {failure(error)}; fix the function") from None


def failure(error: BaseException) -> str:
    """An exception as one line, with the place where it was raised."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        # Python's own way of importing is no place to look.
        place = place if file.startswith("<") else f" ({Path(file).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}{place}"
