"""The part of a node's key that stands for code: a cache cannot outlive the code that filled it."""

from __future__ import annotations

import ast
from functools import cache
from importlib.metadata import version
from pathlib import Path

from engine.spec.canonical import digest

_ENGINE = Path(__file__).resolve().parents[1]
# The modules that do the work of each kind of node. Their code, and that of what they import, is part of the node's key.
_CODE: dict[str, tuple[str, ...]] = {
    "source": ("models/sources.py",),
    "teacher": ("compress/teacher.py",),
    "distill": ("compress/distill.py",),
    "prune": ("compress/prune.py",),
    "finetune": ("compress/finetune.py",),
    "export": ("models/export.py",),
    "quantize": ("compress/quantize.py",),
    "qat": ("compress/qat.py",),
    "sensitivity": ("compress/quantization/sensitivity.py",),
    "layer_times": ("compress/quantization/sensitivity.py",),
    "facts": ("measure/size_parts.py", "graph/read_demand.py", "graph/graph.py"),
    "accuracy": ("measure/accuracy.py",),
    "latency": ("measure/latency.py",),
    "why": ("measure/operators.py",),
    "portability": ("measure/portability.py",),
}
# Of these the keys hold the content (options, checksums, the machine), so their code may change without emptying the cache.
_NOT_CODE = {
    "errors.py",
    "spec/frozen.py",
    "spec/runtime.py",
    "spec/sweep.py",
    "spec/steps.py",
    "trials/trial.py",
    "paths.py",
    "datasets/dataset.py",
    "datasets/npz.py",
    "models/catalog.py",
    "measure/machine.py",
}
_LIBRARY = {
    "prune": "torch-pruning",
    "export": "torch",
    "accuracy": "onnxruntime",
    "latency": "onnxruntime",
    "why": "onnxruntime",
}


@cache
def code_digest(kind: str) -> str:
    """SHA-256, in hex, of the code of a kind of node and all that it imports, blind to comments, layout and docstrings."""
    library = _LIBRARY.get(kind)
    trees = [ast.dump(_undocumented(_tree(name))) for name in sorted(_with_imports(*_CODE[kind]))]
    return digest([trees, version(library) if library else None])


@cache
def _tree(name: str) -> ast.Module:
    return ast.parse((_ENGINE / name).read_text())


def _with_imports(*names: str) -> frozenset[str]:
    """Modules of the engine and those that they import, directly or not, as paths below `engine/`."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        current = waiting.pop()
        if current in found or current in _NOT_CODE:
            continue
        found.add(current)
        for part in ast.walk(_tree(current)):
            if isinstance(part, ast.ImportFrom) and part.module and part.module.split(".")[0] == "engine":
                inside = "/".join(part.module.split(".")[1:])
                paths = [f"{inside}.py", *(f"{inside}/{a.name}.py".lstrip("/") for a in part.names)]
                waiting += [p for p in paths if (_ENGINE / p).is_file()]
    return frozenset(found)


def _undocumented(tree: ast.Module) -> ast.Module:
    for part in ast.walk(tree):
        body = getattr(part, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value.value = ""
    return tree
