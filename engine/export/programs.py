"""The programs that people take home, put together from the templates in this folder: one text each, without an import of ours."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

from engine.export import (
    board_template,
    measure_template,
    predict_template,
    stream_template,
    verify_main_template,
    verify_template,
)

_OURS = "engine."
_FUTURE = "from __future__ import annotations\n"
_QUIET = """
import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.32 reports to its maker from its import on
"""


def predict_program() -> str:
    """predict.py: the template, with what it imports of ours in the places of the imports."""
    whole = _text(predict_template).replace(_FUTURE, _FUTURE + _QUIET, 1)
    for line in [line for line in whole.splitlines() if line.startswith(f"from {_OURS}")]:
        text = _text(import_module(line.split()[1]))
        whole = whole.replace(line, text.replace(_FUTURE, ""), 1)
    return whole


def verify_program() -> str:
    """verify.py, which imports predict.py from beside it."""
    # Python may be told not to look beside a script (-I).
    beside = "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).resolve().parent))\n"
    names = sorted(
        {
            alias.name
            for part in (verify_template, board_template, verify_main_template)
            for node in ast.parse(_text(part)).body
            if isinstance(node, ast.ImportFrom) and node.module in (predict_template.__name__, stream_template.__name__)
            for alias in node.names
        }
    )
    imported = f"{beside}\nfrom predict import (  # noqa: E402\n" + "".join(f"    {name},\n" for name in names) + ")\n"
    parts = [_text(part) for part in (verify_template, board_template, verify_main_template)]
    return _joined(parts, _doc(verify_template), imported)


def measure_program() -> str:
    """measure.py, which has all that it needs in itself."""
    others = [_text(part) for part in (verify_template, board_template, measure_template)]
    return _joined([predict_program(), *others], _doc(measure_template))


def _text(part: ModuleType) -> str:
    return Path(str(part.__file__)).read_text("utf-8")


def _doc(part: ModuleType) -> str:
    return str(part.__doc__)


def _joined(parts: list[str], doc: str, before: str = "") -> str:
    """The parts one after another under one docstring: without theirs, what they import of each other, and every `main` but the last."""
    bodies = [_body(part, last=part is parts[-1]) for part in parts]
    return f'#!/usr/bin/env python3\n"""{doc}"""\n\nfrom __future__ import annotations\n\n{before}' + "\n\n".join(
        bodies
    )


def _body(text: str, last: bool) -> str:
    lines, dropped = text.splitlines(keepends=True), list[ast.stmt]()
    for number, node in enumerate(ast.parse(text).body):
        doc = number == 0 and isinstance(node, ast.Expr)
        ours = isinstance(node, ast.ImportFrom) and (node.module == "__future__" or str(node.module).startswith(_OURS))
        begins = isinstance(node, ast.If) or (isinstance(node, ast.FunctionDef) and node.name == "main")
        if doc or ours or (begins and not last):
            dropped.append(node)
    for node in dropped:
        lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "".join(line for line in lines if not line.startswith("#!")).strip("\n") + "\n"
