"""The part of a node's key that stands for code: a cache cannot outlive the code that filled it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from engine.measure.machine import runtime_version
from engine.spec.canonical import digest

_ENGINE = Path(__file__).resolve().parents[1]
# The modules that do the work of each kind of node. Their code, and that of what they import, is part of the node's key.
_CODE: dict[str, tuple[str, ...]] = {
    "source": ("models/sources.py", "models/files.py"),
    "convert": ("models/converted.py", "models/sources.py"),
    "teacher": (
        "run/steps_graph.py",
        "compress/teacher.py",
    ),
    "distill": ("compress/distill.py",),
    "prune": ("compress/prune.py",),
    "finetune": ("compress/finetune.py", "compress/teacher.py", "compress/pruning/weights.py"),
    "export": ("models/export.py", "models/agreement.py", "graph/one_output.py"),
    "quantize": ("run/steps_graph.py", "compress/shared_bits.py"),
    "fewest": ("run/float_layers.py",),
    "qat": ("run/steps_graph.py", "compress/qat.py", "compress/quantization/allocation.py"),
    "sensitivity": (
        "run/steps_graph.py",
        "compress/quantization/sensitivity.py",
    ),
    "layer_times": (
        "run/steps_graph.py",
        "compress/quantization/sensitivity.py",
    ),
    "imported": ("models/made_elsewhere.py",),
    "facts": ("measure/size.py", "measure/size_parts.py", "graph/count_demand.py", "graph/counts.py"),
    "accuracy": ("measure/answers.py", "measure/batches.py", "measure/elsewhere.py"),
    "latency": ("measure/latency.py", "measure/energy_counter.py"),
    "why": ("measure/operators.py", "explain/advice.py"),
    "portability": ("measure/portability.py",),
    "layers": ("explain/divergence.py", "explain/layers.py"),
    "layer_harm": ("explain/layer_harm.py", "measure/operators.py"),
}
# What items and labels a split holds is decided where a dataset is read, from whatever source.
_READ_DATA = frozenset(
    {
        "convert", "teacher", "distill", "prune", "finetune", "export", "quantize", "fewest", "qat", "sensitivity",
        "layer_times", "accuracy",
    }
)  # fmt: skip
# Of these the keys hold the content (options, checksums, the machine), nothing but last digits depends on them (the cores), or they keep
# what is there already (the store), so their code may change without emptying the cache.
_NOT_CODE = (
    "errors.py",
    "paths.py",
    "metrics.py",
    "cores.py",
    "spec/",
    "trials/",
    "models/catalog.py",
    "measure/machine.py",
    "store/",
)
_LIBRARY = {
    "convert": "onnx2torch",
    "distill": "torch-pruning",
    "prune": "torch-pruning",
    "export": "torch",
    "accuracy": "onnxruntime",
    "latency": "onnxruntime",
    "why": "onnxruntime",
    "layers": "onnxruntime",
    "layer_harm": "onnxruntime",
}


def code_digests() -> dict[str, str]:
    """The digest of every kind of node."""
    return {kind: code_digest(kind) for kind in _CODE}


@cache
def code_digest(kind: str) -> str:
    """SHA-256, in hex, of the code of a kind of node and all that it imports; see `tree_text` for what it does not see."""
    library = _LIBRARY.get(kind)
    # Sorted as texts: a module that is called otherwise, or lies elsewhere, is the same code.
    texts = sorted(_module(name).text for name in code_files(kind))
    return digest([texts, _version(library) if library else None])


def code_text_digest() -> str:
    """SHA-256, in hex, of the code of every kind of node, whatever the libraries' versions."""
    return digest([sorted(_module(name).text for name in code_files(kind)) for kind in sorted(_CODE)])


def library_versions() -> dict[str, str | None]:
    """The libraries that figures depend on, with their versions here; None of one that is not installed."""
    return {library: _version(library) for library in sorted({*_LIBRARY.values(), "onnx", "numpy", "torchvision"})}


def _version(library: str) -> str | None:
    """None for an optional one that is not installed."""
    try:
        return runtime_version() if library == "onnxruntime" else version(library)
    except PackageNotFoundError:
        return None


def code_files(kind: str) -> frozenset[str]:
    """The modules whose code makes a kind of node, as paths below `engine/`."""
    found: set[str] = set()
    waiting = [*_CODE[kind], *(("datasets/load.py",) if kind in _READ_DATA else ())]
    while waiting:
        current = waiting.pop()
        if current not in found and not current.startswith(_NOT_CODE):
            found.add(current)
            waiting += _module(current).imports
    return frozenset(found)


class _Module(NamedTuple):
    """The text of a module's tree, and what it imports of the engine, as paths below `engine/`."""

    text: str
    imports: tuple[str, ...]


@cache
def _module(name: str) -> _Module:
    tree = _parsed((_ENGINE / name).read_text())
    imported = list(_imports(tree))
    imports: list[str] = []
    for part in imported:
        if isinstance(part, ast.ImportFrom) and part.module and part.module.split(".")[0] == "engine":
            inside = "/".join(part.module.split(".")[1:])
            paths = [f"{inside}.py", *(f"{inside}/{a.name}.py".lstrip("/") for a in part.names)]
            imports += [p for p in paths if (_ENGINE / p).is_file()]
    return _Module(_text(tree, imported), tuple(imports))


_PARSING = Lock()


def _parsed(source: str) -> ast.Module:
    # One at a time: Python counts the depth of a tree for all threads together, and of two that parse at once one may end in
    # "AST constructor recursion depth mismatch" (seen with 3.11.7, two visitors' pages at once).
    with _PARSING:
        return ast.parse(source)


def tree_text(source: str) -> str:
    """The syntax tree of a module as text, blind to comments, layout, docstrings and import statements.

    Where a name comes from is not lost with them: one from another library stands for that library's (`np.rint` is numpy's under whatever
    alias), one from the engine for itself, wherever in the engine it lies.
    """
    tree = _parsed(source)
    return _text(tree, list(_imports(tree)))


def _text(tree: ast.Module, imported: Sequence[ast.Import | ast.ImportFrom]) -> str:
    return _dump(tree, _meanings(imported)) or ""


def _imports(part: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, at whatever depth: they are statements, so expressions are not searched."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        statements = getattr(part, name, ())
        # What a lambda or `a if b else c` calls so is an expression.
        for one in statements if isinstance(statements, list) else ():
            if isinstance(one, ast.Import | ast.ImportFrom):
                yield one
            else:
                yield from _imports(one)


def _dump(part: Any, meant: Mapping[str, str]) -> str | None:
    """As `ast.dump`, the same in every version of Python: they differ in whether they show fields that are empty.

    None of an import, and of an `if` that held imports alone, as under TYPE_CHECKING; docstrings are empty and names are what they are
    `meant` to be. One pass, since a page waits for it: it is of a hundred modules.
    """
    if isinstance(part, list):
        # Where an expression is left out, as a default that is not there, the list has a None of its own.
        texts = [repr(one) if one is None else _dump(one, meant) for one in part]
        kept = [text for text in texts if text is not None]
        return f"[{', '.join(kept)}]" if kept else None
    if not isinstance(part, ast.AST):
        return repr(part)
    if isinstance(part, ast.Import | ast.ImportFrom):
        return None
    body = getattr(part, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body[0].value.value = ""
    fields: dict[str, str] = {}
    for name in part._fields:
        value = getattr(part, name, None)
        if value is not None and (text := _dump(value, meant)) is not None:
            fields[name] = text
    if isinstance(part, ast.Name):
        fields["id"] = repr(meant.get(part.id, part.id))
    if isinstance(part, ast.If) and "body" not in fields and "orelse" not in fields:
        return None
    return f"{type(part).__name__}({', '.join([f'{name}={text}' for name, text in fields.items()])})"


def _meanings(imported: Sequence[ast.Import | ast.ImportFrom]) -> dict[str, str]:
    """What the names that a module imports stand for."""
    meant: dict[str, set[str]] = {}
    for part in imported:
        if isinstance(part, ast.Import):
            for alias in part.names:
                whole = alias.name if alias.asname else alias.name.partition(".")[0]
                meant.setdefault(alias.asname or whole, set()).add(whole)
        else:
            ours = (part.module or "").partition(".")[0] == "engine"
            for alias in part.names:
                whole = alias.name if ours else f"{part.module}.{alias.name}"
                meant.setdefault(alias.asname or alias.name, set()).add(whole)
    return {name: " or ".join(sorted(whole)) for name, whole in meant.items()}
