"""Functions of the user that return a network, `path/to/file.py:function` or `pkg.module:function`: where they are and what they take.

Nothing of theirs is run here, and torch is not imported: files are found and read, so that a plan can say what is wrong.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.spec import code_hash
from engine.spec.canonical import digest
from engine.spec.sent_code import lies_at, working_folder
from engine.spec.user_code import INSTALLED

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
# Through so many `from .x import name` is a function followed.
_MOST_HOPS = 5


def names_file(source: str) -> bool:
    """Whether a source has the form `path/to/file.py:function`."""
    return ".py:" in source


def names_module(source: str) -> bool:
    """Whether a source has the form `pkg.module:function`."""
    return _MODULE.fullmatch(source) is not None


def split_function(source: str) -> tuple[str, str]:
    """The file or module of a source, and the function's name."""
    where, _, function = source.rpartition(":")
    return where, function


@dataclass(frozen=True)
class Parameters:
    """The names that a function takes as keywords, those that it must be given, and whether it takes any other."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    anything: bool

    @classmethod
    def of(cls, build: Any) -> Parameters:
        """Of a function that is at hand."""
        found = list(inspect.signature(build).parameters.values())
        return cls(
            tuple(p.name for p in found if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}),
            tuple(p.name for p in found if p.default is p.empty and p.kind not in {p.VAR_KEYWORD, p.VAR_POSITIONAL}),
            any(p.kind is p.VAR_KEYWORD for p in found),
        )

    @classmethod
    def read(cls, arguments: ast.arguments, method: bool) -> Parameters:
        """Of a function's text; of a `method`, what stands first is not asked for."""
        positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        needed = positional[: len(positional) - len(arguments.defaults)]
        alone = [a.arg for a in arguments.kwonlyargs]
        needed += [name for name, given in zip(alone, arguments.kw_defaults, strict=True) if given is None]
        first = int(method)
        names = [*(a.arg for a in arguments.args), *alone]
        return cls(tuple(names[first:]), tuple(needed[first:]), arguments.kwarg is not None)


def accepted(
    source: str, parameters: Parameters, offered: Mapping[str, Any], options: Collection[str]
) -> dict[str, Any]:
    """What of `offered`, and all of `options`, a function is called with; raises ModelError for what does not fit.

    Both hold values by name; `options` are those that somebody asked for, the rest is taken by whoever wants it.
    """
    if parameters.anything:
        return dict(offered)
    unknown = next((name for name in options if name not in parameters.names), None)
    if unknown is not None:
        takes = ", ".join(parameters.names) or "none"
        raise ModelError(
            f"model {source!r} has no option {unknown!r}; it takes {takes}: correct model.options, or leave it out"
        )
    for name in parameters.required:
        if name not in offered:
            raise ModelError(
                f"model {source!r} needs an argument {name!r}; give it a default value, or write it under model.options"
            )
    return {name: value for name, value in offered.items() if name in parameters.names}


def _find(name: str) -> ModuleSpec | None:
    """Where `pkg.module` is, without importing it or what it lies in; the working folder counts after all others."""
    top, *inner = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        spec = None
    spec = spec or PathFinder.find_spec(top, [str(working_folder())])
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # By its last name alone: with all of them, folders without an __init__.py are looked up among what is imported already.
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


def _module_file(name: str, source: str) -> Path:
    if name.partition(".")[0] in sys.stdlib_module_names:
        raise ModelError(f"model {source!r}: {name} is Python's own and builds no networks; name a module of yours")
    spec = _find(name)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ModelError(
            f"model {source!r}: no module {name} is found; install its package, run where it lies, or set PYTHONPATH to its folder "
            "(other sources: torchvision:NAME, timm:NAME, path/to/file.py:function)"
        )
    return Path(spec.origin)


def builder_file(source: str) -> Path:
    """The file that a source's function is looked for in. Raises ModelError where there is none, and for Python's own modules."""
    where, _ = split_function(source)
    if not names_file(source):
        return _module_file(where, source)
    path = lies_at(Path(where))
    if not path.is_file():
        raise ModelError(f"model {source!r}: {path} does not exist; give the path of a Python file")
    library = Path(sysconfig.get_path("stdlib")).resolve()
    inside = path.resolve()
    if inside.is_relative_to(library) and not INSTALLED & set(inside.parts):
        raise ModelError(f"model {source!r}: {path} is Python's own and builds no networks; name a file of yours")
    return path


def check_function(source: str, options: Mapping[str, Any]) -> None:
    """A source's file is there, and takes the options as far as its text tells; raises ModelError.

    What a decorator or an assignment makes of a function shows when it is built.
    """
    path, (_, function) = builder_file(source), split_function(source)
    if not function.isidentifier():
        raise ModelError(f"model {source!r}: {function!r} is not a function's name; write the function after the colon")
    found = _parameters(path, function)
    if found is False:
        raise missing_function(source)
    if isinstance(found, Parameters):
        accepted(source, found, {"num_classes": 1, "in_channels": 1, **options}, options)


def missing_function(source: str) -> ModelError:
    """The error for a file or module without the function."""
    where, function = split_function(source)
    return ModelError(f"model {source!r}: {where} has no function {function!r}; check the name after the colon")


def _parameters(path: Path, function: str, hops: int = _MOST_HOPS) -> Parameters | bool:
    """What a function takes by its text; True where it may be there and the text does not tell, False where it is not."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return True  # building tells, with the line
    found: Parameters | bool = False
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            found = bool(node.decorator_list) or Parameters.read(node.args, method=False)
        elif isinstance(node, ast.ClassDef) and node.name == function:
            found = _constructor(node)
        elif isinstance(node, ast.ImportFrom):
            found = _imported(path, node, function, hops) or found
    if found is False:
        # Bound some other way, perhaps: an assignment, an import inside a `try`, a module's __getattr__.
        bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        bound |= {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        bound |= {
            a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names
        }
        return bool({function, "*", "__getattr__"} & bound) or "globals" in path.read_text(errors="replace")
    return found


def _constructor(node: ast.ClassDef) -> Parameters | bool:
    own = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if own is None or own.decorator_list or node.decorator_list or node.keywords:
        return True
    return Parameters.read(own.args, method=True)


def _imported(path: Path, node: ast.ImportFrom, function: str, hops: int) -> Parameters | bool:
    """As `_parameters`, of a function that `from .x import …` brings in from a file of the same package."""
    alias = next((a for a in node.names if (a.asname or a.name) == function), None)
    if alias is None:
        return False
    folder = path.parent
    for _ in range(max(0, node.level - 1)):
        folder = folder.parent
    inside = folder.joinpath(*(node.module or "").split(".")) if node.level else None
    files = [inside.with_suffix(".py"), inside / "__init__.py"] if inside and node.module else []
    file = next((f for f in files if f.is_file()), None)
    return (_parameters(file, alias.name, hops - 1) or True) if file is not None and hops else True


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; raises ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); give the path of a file that can") from None


def code_sha256(source: str) -> str:
    """Hash of the code behind a source's function. Raises ModelError.

    Of a file: it and, transitively, the files beside it that it imports. Of a module: all Python files of its outermost package, what they
    import from beside it unless it is installed among others, and the version of its distribution.
    """
    files, root, follows = code_behind(source)
    sha256 = code_hash.code_sha256(files, root, file_sha256, follows)
    if names_file(source):
        return sha256
    return digest([sha256, _distributions(split_function(source)[0].partition(".")[0])])


def code_behind(source: str) -> tuple[list[Path], Path, bool]:
    """The first files of a source's function, the folder that they lie in, and whether what they import from beside them counts too: not
    where they are installed among others. Raises ModelError.
    """
    path = builder_file(source)
    if names_file(source):
        return [path], path.parent, True
    outermost = _find(split_function(source)[0].partition(".")[0])
    folders = list(outermost.submodule_search_locations or ()) if outermost else []
    # A namespace package may lie in several folders.
    package = next((Path(f) for f in folders if path.is_relative_to(f)), None)
    files = [path] if package is None else sorted(package.rglob("*.py"))
    root = path.parent if package is None else package.parent
    return files, root, not INSTALLED & set(root.parts)


@lru_cache(maxsize=1)
def _providers() -> Mapping[str, list[str]]:
    """Importable name -> the distributions that it is of; reading it takes a tenth of a second."""
    return packages_distributions()


def _distributions(top: str) -> list[str]:
    """The distributions that an importable name is of, with their versions."""
    return [f"{name} {package_version(name)}" for name in sorted(set(_providers().get(top, ())))]


def package_version(name: str) -> str:
    """An installed package's version, without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
